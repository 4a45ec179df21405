//! Changes of single files while they are watched.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::{Duration, SystemTime};

use crate::harness::{SystemWorld, jpeg_variant, sample_pictures};

/// Returns a picture whose content is unique to the number.
fn picture(number: usize) -> Vec<u8> {
    let samples = sample_pictures();
    jpeg_variant(
        &fs::read(&samples[number % samples.len()]).unwrap(),
        1_000_000 + number,
    )
}

#[tokio::test]
async fn files_replaced_swapped_linked_and_written_slowly() {
    let mut world = SystemWorld::with_up("files").await;
    let at = |path: &str| world.photos.join(path);
    for (number, name) in ["a.jpg", "b.jpg", "replaced.jpg", "edited.jpg", "linked.jpg"]
        .into_iter()
        .enumerate()
    {
        fs::write(at(name), picture(number)).unwrap();
    }
    world.assert_index_equals_folder().await;
    let id = async |path: &str| world.read_row_at(path).await.id;
    let (a, b) = (id("a.jpg").await, id("b.jpg").await);
    let (replaced, linked) = (id("replaced.jpg").await, id("linked.jpg").await);

    // Atomic replace, as editors save: the image keeps its id and gets the new content.
    fs::write(at(".replaced.tmp"), picture(20)).unwrap();
    fs::rename(at(".replaced.tmp"), at("replaced.jpg")).unwrap();
    // a and b are swapped.
    fs::rename(at("a.jpg"), at(".swap")).unwrap();
    fs::rename(at("b.jpg"), at("a.jpg")).unwrap();
    fs::rename(at(".swap"), at("b.jpg")).unwrap();
    // Hard links are separate files; symbolic links and their loops are not followed.
    fs::hard_link(at("linked.jpg"), at("second link.jpg")).unwrap();
    symlink("linked.jpg", at("symbolic.jpg")).unwrap();
    fs::create_dir(at("deep")).unwrap();
    symlink("..", at("deep/loop")).unwrap();
    symlink("nowhere", at("dangling.jpg")).unwrap();
    // A slow writer, and one that never closes its file.
    let bytes = picture(30);
    let mut slow = fs::File::create(at("slow.jpg")).unwrap();
    slow.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let mut never_closed = fs::File::create(at("never closed.jpg")).unwrap();
    never_closed.write_all(&picture(31)).unwrap();
    world
        .wait_for_stats("half a picture is seen", |s| {
            s["failed"].as_u64() >= Some(1) || s["on_disk"].as_u64() >= Some(11)
        })
        .await;
    slow.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(slow);
    world.assert_index_equals_folder().await;
    assert_eq!(id("replaced.jpg").await, replaced);
    assert_eq!((id("a.jpg").await, id("b.jpg").await), (b, a), "swapped");
    assert_eq!(id("linked.jpg").await, linked);
    assert_ne!(id("second link.jpg").await, linked);
    let stats = world.wait_until_settled().await;
    assert_eq!(stats["ignored"], 3, "three symbolic links: {stats}");
    assert_eq!(stats["indexed"], 8, "{stats}");

    drop(never_closed);
    world.stop_up().await;
}

/// inotify reports only the name that was written through.
#[tokio::test]
async fn a_file_written_through_another_link_is_found_by_the_next_rescan() {
    let mut world = SystemWorld::new("links");
    world.set_variable("LOOKALIKE_WATCH_RESCAN_INTERVAL", "3s");
    world.add_pictures("", 1);
    let outside = world.dir.path().join("outside.jpg");
    fs::hard_link(world.photos.join("0.jpg"), world.photos.join("link.jpg")).unwrap();
    fs::hard_link(world.photos.join("0.jpg"), &outside).unwrap();
    world.start_up().await;
    world.assert_index_equals_folder().await;
    fs::write(world.photos.join("link.jpg"), picture(32)).unwrap();
    world.assert_index_equals_folder().await;
    fs::write(&outside, picture(33)).unwrap();
    world.assert_index_equals_folder().await;
    fs::remove_file(world.photos.join("0.jpg")).unwrap();
    world.assert_index_equals_folder().await;
    assert_eq!(world.read_rows().await.len(), 1);
    world.stop_up().await;
}

#[tokio::test]
async fn wrong_mtimes_hide_no_change() {
    let mut world = SystemWorld::with_up("times").await;
    let photos = world.photos.clone();
    let at = |path: &str| photos.join(path);
    let set_time = |path: &str, time: SystemTime| {
        let file = fs::File::options().write(true).open(at(path)).unwrap();
        file.set_modified(time).unwrap();
    };
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let future = SystemTime::now() + Duration::from_secs(10 * 365 * 86_400);
    for (name, number) in [
        ("same.jpg", 0),
        ("whole.jpg", 1),
        ("future.jpg", 2),
        ("epoch.jpg", 3),
    ] {
        fs::write(at(name), picture(number)).unwrap();
    }
    set_time("whole.jpg", second);
    set_time("future.jpg", future);
    set_time("epoch.jpg", SystemTime::UNIX_EPOCH);
    world.assert_index_equals_folder().await;

    // Other content of the same size and with the same mtime: only the inode's change time differs.
    for name in ["same.jpg", "whole.jpg", "future.jpg", "epoch.jpg"] {
        let before = fs::metadata(at(name)).unwrap();
        let mut bytes = fs::read(at(name)).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(at(name), bytes).unwrap();
        set_time(name, before.modified().unwrap());
        let after = fs::metadata(at(name)).unwrap();
        assert_eq!(
            (before.len(), before.mtime_nsec()),
            (after.len(), after.mtime_nsec())
        );
    }
    world.assert_index_equals_folder().await;

    // The same while nothing watches.
    world.stop_up().await;
    let before = fs::metadata(at("same.jpg")).unwrap().modified().unwrap();
    let mut bytes = fs::read(at("same.jpg")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 2;
    fs::write(at("same.jpg"), bytes).unwrap();
    set_time("same.jpg", before);
    world.start_up().await;
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}
