//! Two watchers on one library, and catalogs that are lost or of another day.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::World;

#[tokio::test]
async fn of_two_watchers_one_stands_by_and_takes_over() {
    let mut world = World::new("two-watchers");
    world.set("LOOKALIKE_NATS_LEASE", "3s");
    world.fill("", 10);
    let mut roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let first = world.data.clone();
    let second = world.dir.path().join("second");
    let rows = world.rows().await;

    // A second one, with a catalog of its own, does nothing while the first one works.
    world.data = second;
    let mut stand_by = world.run(world.command("watch"), "second");
    stand_by.says("standing by").await;
    let at = |path: &str| world.photos.join(path);
    fs::rename(at("0.jpg"), at("moved.jpg")).unwrap();
    fs::write(at("1.jpg"), fs::read(at("2.jpg")).unwrap()).unwrap();
    world.assert_index_equals_folder().await;
    let before = world.rows().await;
    assert!(rows.keys().eq(before.keys()), "one watcher, one set of ids");

    // The first one is gone: the second takes over, with the ids that are.
    roles.watch.kill();
    fs::rename(at("3.jpg"), at("moved too.jpg")).unwrap();
    fs::remove_file(at("4.jpg")).unwrap();
    world.fill("more", 3);
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert_eq!(after.len(), 12);
    let kept = before.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!(kept, 9, "ids live on: {before:?}\n{after:?}");

    // The first one comes again with its old catalog, and stands by; then the second is frozen,
    // loses its lease, and wakes up in the midst of the other's work.
    world.data = first;
    roles.watch = world.role("watch");
    roles.watch.says("standing by").await;
    stand_by.freeze();
    world.fill("while it is frozen", 3);
    fs::remove_file(world.photos.join("5.jpg")).unwrap();
    fs::rename(world.photos.join("6.jpg"), world.photos.join("again.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    fs::rename(world.photos.join("again.jpg"), world.photos.join("8.jpeg")).unwrap();
    stand_by.wake();
    world.fill("awake", 3);
    stand_by.says("standing by").await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 17);
    stand_by.terminate().await;
    roles.stop().await;
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_lost_catalog_is_made_again_and_keeps_the_ids() {
    let mut world = World::new("lost-catalog");
    world.fill("", 12);
    world.start().await;
    world.assert_index_equals_folder().await;
    // Ids that no rule of names would give again.
    let photos = world.photos.clone();
    let at = |path: &str| photos.join(path);
    fs::rename(at("0.jpg"), at("moved.jpg")).unwrap();
    fs::rename(at("1.jpg"), at("swap")).unwrap();
    fs::rename(at("2.jpg"), at("1.jpg")).unwrap();
    fs::rename(at("swap"), at("2.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    let rows = world.rows().await;
    world.stop().await;
    let backup = world.dir.path().join("backup");
    copy_folder(&world.data, &backup);
    fs::remove_dir_all(&world.data).unwrap();
    // Files change meanwhile.
    fs::remove_file(at("3.jpg")).unwrap();
    fs::write(at("4.jpg"), fs::read(at("5.jpg")).unwrap()).unwrap();
    world.fill("new", 2);
    world.start().await;
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert_eq!(after.len(), 13);
    let kept = rows.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!(kept, 11, "{rows:?}\n{after:?}");
    assert_eq!(
        world.metric("lookalike_embeddings_total").await,
        2.0,
        "only the new ones"
    );

    // Killed in the middle, and the catalog lost again.
    world.fill("in work", 40);
    world
        .stats_where("it works", |stats| stats["indexed"].as_u64() > Some(15))
        .await;
    world.kill();
    fs::remove_dir_all(&world.data).unwrap();
    fs::remove_dir_all(at("new")).unwrap();
    world.start().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 51);
    let newest = world.rows().await;
    world.stop().await;

    // A catalog of another day is put back.
    copy_folder(&backup, &world.data);
    fs::rename(at("in work/0.jpg"), at("in work/moved.jpg")).unwrap();
    world.start().await;
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert_eq!(after.len(), 51);
    let kept = newest.keys().filter(|id| after.contains_key(*id)).count();
    assert!(kept >= 50, "{kept} ids kept");
    world.stop().await;
}
