//! What happens to folders while they are watched, and when watching itself fails.

use std::fs;
use std::path::Path;

use crate::harness::{World, namespace, samples};

fn move_into(world: &World, from: &Path, to: &str) {
    fs::rename(from, world.photos.join(to)).unwrap();
}

#[tokio::test]
async fn folders_appear_full_move_in_and_out_and_come_again() {
    let mut world = World::started("folders").await;
    // Made and filled before anybody can watch them, many times and deep.
    for number in 0..20 {
        world.fill(&format!("year {number}/month/day"), 2);
    }
    world.assert_index_equals_folder().await;
    let count = world.rows().await.len();
    assert_eq!(count, 40);
    let outside = world.dir.path().join("outside");

    // A tree moved out, and another one in: the halves of renames that nobody sees whole.
    fs::rename(world.photos.join("year 0"), &outside).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 38);
    move_into(&world, &outside, "moved in");
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 40);
    // … and single files.
    let one = world.dir.path().join("one.jpg");
    fs::rename(world.photos.join("moved in/month/day/0.jpg"), &one).unwrap();
    world.assert_index_equals_folder().await;
    move_into(&world, &one, "back.jpg");
    world.assert_index_equals_folder().await;

    // Renamed while its children change.
    let id = world.row_at("year 1/month/day/0.jpg").await.id;
    world.fill("year 1/month/day/deeper", 3);
    fs::rename(world.photos.join("year 1"), world.photos.join("renamed")).unwrap();
    world.fill("renamed/month/day/deeper still", 3);
    fs::remove_file(world.photos.join("renamed/month/day/1.jpg")).unwrap();
    fs::rename(
        world.photos.join("renamed/month"),
        world.photos.join("renamed/m"),
    )
    .unwrap();
    world.fill("renamed/m/day", 1);
    world.assert_index_equals_folder().await;
    assert_eq!(world.row_at("renamed/m/day/0.jpg").await.id, id);

    // Deleted and made again under the same name, and a file where a folder was.
    for round in 0..3 {
        fs::remove_dir_all(world.photos.join("year 2")).unwrap();
        world.fill("year 2/month/day", 1 + round);
    }
    fs::remove_dir_all(world.photos.join("year 3")).unwrap();
    world.copy(&samples()[0], "year 3");
    world.assert_index_equals_folder().await;
    fs::remove_file(world.photos.join("year 3")).unwrap();
    world.fill("year 3", 2);
    world.assert_index_equals_folder().await;
    world.stop().await;
}

#[tokio::test]
async fn a_move_to_another_library_keeps_the_id() {
    let mut world = World::new("libraries");
    let archive = world.add_library("archive");
    world.fill("tree", 5);
    world.fill("", 2);
    world.start().await;
    world.assert_index_equals_folder().await;
    let before = world.rows().await;
    let embedded = world.metric("lookalike_embeddings_total").await;
    fs::rename(world.photos.join("0.jpg"), archive.join("file.jpg")).unwrap();
    fs::rename(world.photos.join("tree"), archive.join("tree")).unwrap();
    world.assert_index_equals_folder().await;
    let after = world.rows().await;
    assert!(before.keys().eq(after.keys()), "{before:?}\n{after:?}");
    let moved = after.values().filter(|row| row.library == "archive");
    assert_eq!(moved.count(), 6);
    assert_eq!(world.metric("lookalike_embeddings_total").await, embedded);
    // The same picture in both is two images, and embedded once.
    fs::copy(world.photos.join("1.jpg"), archive.join("copy.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 8);
    assert_eq!(world.metric("lookalike_embeddings_total").await, embedded);
    world.stop().await;
}

#[tokio::test]
async fn reports_that_overflow_are_made_good_by_looking() {
    let mut world = World::new("overflow");
    world.log = "info,async_nats=warn,lookalike_watcher=debug";
    world.fill("kept", 20);
    world.fill("gone", 20);
    let roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    // The system keeps 16,384 reports for a process that does not read them.
    let queued = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queued: usize = queued.trim().parse().unwrap();
    roles.watch.freeze();
    let noise = world.photos.join("noise");
    fs::create_dir(&noise).unwrap();
    fs::create_dir(world.photos.join("kept/a")).unwrap();
    // Each pair of these is at least two reports that can't be merged.
    for number in 0..=queued / 2 {
        let kept = world
            .photos
            .join("kept")
            .join(format!("{}.jpg", number % 20));
        let file = fs::File::options().append(true).open(kept).unwrap();
        drop(file);
    }
    world.fill("kept/a", 5);
    world.fill("after", 5);
    fs::remove_dir_all(world.photos.join("gone")).unwrap();
    fs::rename(
        world.photos.join("kept/0.jpg"),
        world.photos.join("after/moved.jpg"),
    )
    .unwrap();
    roles.watch.wake();
    roles.watch.says("reports of changes were lost").await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 30);
    roles.stop().await;
}

#[tokio::test]
async fn without_watches_for_the_rest_of_a_tree_it_is_polled() {
    let mut world = World::new("watches");
    if !namespace::may_limit_watches() {
        return;
    }
    for number in 0..30 {
        world.fill(&format!("{number}"), 1);
    }
    world.set("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    let command = namespace::with_watches(12, &world.command("up"));
    let up = world.run(command, "up");
    world.await_up(up).await;
    world.assert_index_equals_folder().await;
    let stats = world.settled().await;
    let degraded = &stats["libraries"][0]["degraded"];
    assert!(!degraded.as_array().unwrap().is_empty(), "{stats}");
    for number in 0..30 {
        world.fill(&format!("{number}/deeper"), 1);
        fs::remove_file(world.photos.join(format!("{number}/0.jpg"))).unwrap();
    }
    world.assert_index_equals_folder().await;
    assert_eq!(world.rows().await.len(), 30);
    world.stop().await;
}
