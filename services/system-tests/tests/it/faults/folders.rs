//! Changes of folders while they are watched, and failures of watching itself.

use std::fs;
use std::path::Path;

use crate::harness::{SystemWorld, namespace, sample_pictures};

fn move_into(world: &SystemWorld, from: &Path, to: &str) {
    fs::rename(from, world.photos.join(to)).unwrap();
}

#[tokio::test]
async fn folders_appear_full_move_in_and_out_and_come_again() {
    let mut world = SystemWorld::with_up("folders").await;
    // Created and filled before a watch can be added, many times and several levels deep.
    for number in 0..20 {
        world.add_pictures(&format!("year {number}/month/day"), 2);
    }
    world.assert_index_equals_folder().await;
    let count = world.read_rows().await.len();
    assert_eq!(count, 40);
    let outside = world.dir.path().join("outside");

    // A tree moves out, and another one moves in: each is half of a rename.
    fs::rename(world.photos.join("year 0"), &outside).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 38);
    move_into(&world, &outside, "moved in");
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 40);
    // Single files as well.
    let one = world.dir.path().join("one.jpg");
    fs::rename(world.photos.join("moved in/month/day/0.jpg"), &one).unwrap();
    world.assert_index_equals_folder().await;
    move_into(&world, &one, "back.jpg");
    world.assert_index_equals_folder().await;

    // Renamed while its children change.
    let id = world.read_row_at("year 1/month/day/0.jpg").await.id;
    world.add_pictures("year 1/month/day/deeper", 3);
    fs::rename(world.photos.join("year 1"), world.photos.join("renamed")).unwrap();
    world.add_pictures("renamed/month/day/deeper still", 3);
    fs::remove_file(world.photos.join("renamed/month/day/1.jpg")).unwrap();
    fs::rename(
        world.photos.join("renamed/month"),
        world.photos.join("renamed/m"),
    )
    .unwrap();
    world.add_pictures("renamed/m/day", 1);
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_row_at("renamed/m/day/0.jpg").await.id, id);

    // Deleted and recreated under the same name, and a file in place of a folder.
    for round in 0..3 {
        fs::remove_dir_all(world.photos.join("year 2")).unwrap();
        world.add_pictures("year 2/month/day", 1 + round);
    }
    fs::remove_dir_all(world.photos.join("year 3")).unwrap();
    world.copy_file(&sample_pictures()[0], "year 3");
    world.assert_index_equals_folder().await;
    fs::remove_file(world.photos.join("year 3")).unwrap();
    world.add_pictures("year 3", 2);
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_move_to_another_library_keeps_the_id() {
    let mut world = SystemWorld::new("libraries");
    let archive = world.add_library("archive");
    world.add_pictures("tree", 5);
    world.add_pictures("", 2);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    let before = world.read_rows().await;
    let embedded = world.read_metric("lookalike_embeddings_total").await;
    fs::rename(world.photos.join("0.jpg"), archive.join("file.jpg")).unwrap();
    fs::rename(world.photos.join("tree"), archive.join("tree")).unwrap();
    world.assert_index_equals_folder().await;
    let after = world.read_rows().await;
    assert!(before.keys().eq(after.keys()), "{before:?}\n{after:?}");
    let moved = after.values().filter(|row| row.library == "archive");
    assert_eq!(moved.count(), 6);
    assert_eq!(
        world.read_metric("lookalike_embeddings_total").await,
        embedded
    );
    // The same picture in both libraries is two images, embedded once.
    fs::copy(world.photos.join("1.jpg"), archive.join("copy.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 8);
    assert_eq!(
        world.read_metric("lookalike_embeddings_total").await,
        embedded
    );
    world.stop_up().await;
}

#[tokio::test]
async fn an_overflow_of_reports_is_repaired_by_a_scan() {
    let mut world = SystemWorld::new("overflow");
    world.log = "info,async_nats=warn,lookalike_watcher=debug";
    world.add_pictures("kept", 20);
    world.add_pictures("gone", 20);
    let roles = world.start_roles().await;
    world.assert_index_equals_folder().await;
    // The kernel queues 16,384 events for a process that does not read them.
    let queued = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queued: usize = queued.trim().parse().unwrap();
    roles.watch.freeze_process();
    let noise = world.photos.join("noise");
    fs::create_dir(&noise).unwrap();
    fs::create_dir(world.photos.join("kept/a")).unwrap();
    // Each pair of these is at least two events that cannot be merged.
    for number in 0..=queued / 2 {
        let kept = world
            .photos
            .join("kept")
            .join(format!("{}.jpg", number % 20));
        let file = fs::File::options().append(true).open(kept).unwrap();
        drop(file);
    }
    world.add_pictures("kept/a", 5);
    world.add_pictures("after", 5);
    fs::remove_dir_all(world.photos.join("gone")).unwrap();
    fs::rename(
        world.photos.join("kept/0.jpg"),
        world.photos.join("after/moved.jpg"),
    )
    .unwrap();
    roles.watch.resume_process();
    roles
        .watch
        .wait_for_log("reports of changes were lost")
        .await;
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 30);
    roles.stop_roles().await;
}

#[tokio::test]
async fn without_watches_for_the_rest_of_a_tree_it_is_polled() {
    let mut world = SystemWorld::new("watches");
    if !namespace::may_limit_watches() {
        return;
    }
    for number in 0..30 {
        world.add_pictures(&format!("{number}"), 1);
    }
    world.set_variable("LOOKALIKE_WATCH_POLL_INTERVAL", "1s");
    let command = namespace::with_watches(12, &world.role_command("up"));
    let up = world.start_command(command, "up");
    world.wait_for_up(up).await;
    world.assert_index_equals_folder().await;
    let stats = world.wait_until_settled().await;
    let degraded = &stats["libraries"][0]["degraded"];
    assert!(!degraded.as_array().unwrap().is_empty(), "{stats}");
    for number in 0..30 {
        world.add_pictures(&format!("{number}/deeper"), 1);
        fs::remove_file(world.photos.join(format!("{number}/0.jpg"))).unwrap();
    }
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 30);
    world.stop_up().await;
}
