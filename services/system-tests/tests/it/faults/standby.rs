//! Two watchers on one library, and catalogs that are lost or of another day.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::SystemWorld;

#[tokio::test]
async fn of_two_watchers_one_is_on_standby_and_takes_over() {
    let mut world = SystemWorld::new("two-watchers");
    world.set_variable("LOOKALIKE_NATS_LEASE_TIMEOUT", "3s");
    world.add_pictures("", 10);
    let mut roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    let first = world.data.clone();
    let second = world.dir.path().join("second");
    let rows = world.read_rows().await;

    // A second one, with a catalog of its own, does nothing while the first one works.
    world.data = second;
    let mut stand_by = world.start_command(world.role_command("watch"), "second");
    stand_by.wait_for_log("standing by").await;
    let at = |path: &str| world.photos.join(path);
    fs::rename(at("0.jpg"), at("moved.jpg")).unwrap();
    fs::write(at("1.jpg"), fs::read(at("2.jpg")).unwrap()).unwrap();
    world.assert_index_equals_folder().await;
    let before = world.read_rows().await;
    assert!(rows.keys().eq(before.keys()), "one watcher, one set of ids");

    // The first one is gone: the second takes over, with the ids that are.
    roles.watch.kill_process();
    fs::rename(at("3.jpg"), at("moved too.jpg")).unwrap();
    fs::remove_file(at("4.jpg")).unwrap();
    world.add_pictures("more", 3);
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert_eq!(after.len(), 12);
    let kept = before.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!(kept, 9, "ids live on: {before:?}\n{after:?}");

    // The first one comes again with its old catalog, and stands by; then the second is frozen,
    // loses its lease, and wakes up in the midst of the other's work.
    world.data = first;
    roles.watch = world.start_role("watch");
    roles.watch.wait_for_log("standing by").await;
    stand_by.freeze_process();
    world.add_pictures("while it is frozen", 3);
    fs::remove_file(world.photos.join("5.jpg")).unwrap();
    fs::rename(world.photos.join("6.jpg"), world.photos.join("again.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    fs::rename(world.photos.join("again.jpg"), world.photos.join("8.jpeg")).unwrap();
    stand_by.resume_process();
    world.add_pictures("awake", 3);
    stand_by.wait_for_log("standing by").await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 17);
    stand_by.terminate_cleanly().await;
    roles.stop_roles().await;
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_lost_catalog_is_made_again_and_keeps_the_ids() {
    let mut world = SystemWorld::new("lost-catalog");
    world.add_pictures("", 12);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    // Ids that no rule of names would give again.
    let photos = world.photos.clone();
    let at = |path: &str| photos.join(path);
    fs::rename(at("0.jpg"), at("moved.jpg")).unwrap();
    fs::rename(at("1.jpg"), at("swap")).unwrap();
    fs::rename(at("2.jpg"), at("1.jpg")).unwrap();
    fs::rename(at("swap"), at("2.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    let rows = world.read_rows().await;
    world.stop_up().await;
    let backup = world.dir.path().join("backup");
    copy_folder(&world.data, &backup);
    fs::remove_dir_all(&world.data).unwrap();
    // Files change meanwhile.
    fs::remove_file(at("3.jpg")).unwrap();
    fs::write(at("4.jpg"), fs::read(at("5.jpg")).unwrap()).unwrap();
    world.add_pictures("new", 2);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert_eq!(after.len(), 13);
    let kept = rows.keys().filter(|id| after.contains_key(*id)).count();
    assert_eq!(kept, 11, "{rows:?}\n{after:?}");
    assert_eq!(
        world.read_metric("lookalike_embeddings_total").await,
        2.0,
        "only the new ones"
    );

    // Killed in the middle, and the catalog lost again.
    world.add_pictures("in work", 40);
    world
        .wait_for_stats("it works", |stats| stats["indexed"].as_u64() > Some(15))
        .await;
    world.kill_up();
    fs::remove_dir_all(&world.data).unwrap();
    fs::remove_dir_all(at("new")).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 51);
    let newest = world.read_rows().await;
    world.stop_up().await;

    // A catalog of another day is put back.
    copy_folder(&backup, &world.data);
    fs::rename(at("in work/0.jpg"), at("in work/moved.jpg")).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert_eq!(after.len(), 51);
    let kept = newest.keys().filter(|id| after.contains_key(*id)).count();
    assert!(kept >= 50, "{kept} ids kept");
    world.stop_up().await;
}
