//! Roots that are missing, come back, are replaced or are moved; and changes between two runs.

use std::fs;

use lookalike_bus::{WatcherReply, WatcherRequest};

use super::world::KeeperWorld;
use crate::inbox::HintKind;

fn with_files() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.make_folder("one/sub");
    w.write_file("one/a.jpg", "a");
    w.write_file("one/sub/b.jpg", "b");
    w.write_file("two/c.jpg", "c");
    w.settle_and_check();
    w
}

#[test]
fn a_vanished_root_removes_nothing() {
    let mut w = with_files();
    let before = w.index.clone();
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    w.add_hint("one/a.jpg", HintKind::Gone);
    w.add_hint("one/sub", HintKind::Gone);
    w.add_hint("one", HintKind::Gone);
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    assert_eq!(w.counts().on_disk, 3, "what is known stays counted");
    w.restart();
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    fs::rename(w.full_path("away"), w.full_path("one")).unwrap();
    fs::write(w.full_path("one/new.jpg"), "new").unwrap();
    fs::remove_file(w.full_path("one/a.jpg")).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn an_event_in_flight_waits_for_its_root() {
    let mut w = with_files();
    w.write_file("one/a.jpg", "edited");
    w.remove_file("one/sub/b.jpg");
    w.run_tick();
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    w.settle();
    assert_eq!(w.index.len(), 3);
    fs::rename(w.full_path("away"), w.full_path("one")).unwrap();
    w.rescan_all();
    w.settle_and_check();
}

#[test]
fn another_folder_at_the_root_removes_nothing_until_confirmed() {
    let mut w = with_files();
    let before = w.index.clone();
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    fs::create_dir(w.full_path("one")).unwrap();
    w.add_hint("one/a.jpg", HintKind::Gone);
    w.rescan_all();
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    // Another card of the same camera: the same names, other pictures.
    w.write_file("one/a.jpg", "another picture");
    w.write_file("one/stranger.jpg", "stranger");
    for _ in 0..2 {
        w.rescan_all();
        w.settle();
        assert_eq!(w.index, before);
    }
    let answer = w.send_request(0, WatcherRequest::Confirm);
    assert_eq!(answer, WatcherReply::Scanning);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn an_emptied_folder_confirmed_empties_the_index() {
    let mut w = with_files();
    fs::remove_dir_all(w.full_path("one")).unwrap();
    fs::create_dir(w.full_path("one")).unwrap();
    w.rescan_all();
    w.settle();
    assert_eq!(w.index.len(), 3);
    w.send_request(0, WatcherRequest::Confirm);
    w.settle_and_check();
    assert_eq!(w.index.len(), 1);
}

#[test]
fn the_same_files_in_another_folder_are_the_right_ones() {
    // Restored from a backup, or mounted from another device: names, sizes and times are kept.
    let mut w = with_files();
    let id = w.id_of("one/a.jpg");
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    fs::create_dir(w.full_path("one")).unwrap();
    fs::rename(w.full_path("away/a.jpg"), w.full_path("one/a.jpg")).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn a_known_file_in_a_strange_root_takes_no_place() {
    // A file of `two` is in a strange folder at the root of `one`, at the path of a file of `one`.
    let mut w = with_files();
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    fs::create_dir(w.full_path("one")).unwrap();
    w.rename_path("two/c.jpg", "one/a.jpg");
    w.settle();
    w.send_request(0, WatcherRequest::Confirm);
    w.settle_and_check();
}

#[test]
fn the_settings_name_another_root() {
    let mut w = with_files();
    let (a, b) = (w.id_of("one/a.jpg"), w.id_of("one/sub/b.jpg"));
    w.stop();
    fs::rename(w.full_path("one"), w.full_path("elsewhere")).unwrap();
    w.roots[0].1 = w.full_path("elsewhere");
    w.start();
    w.settle_and_check();
    assert_eq!((w.id_of("one/a.jpg"), w.id_of("one/sub/b.jpg")), (a, b));
    assert_eq!(w.embedded, 3);
}

#[test]
fn a_library_left_out_of_the_settings_blocks_nothing() {
    let mut w = KeeperWorld::new();
    for n in 0..600 {
        w.write_file(&format!("two/{n}.jpg"), &n.to_string());
    }
    w.run_tick();
    w.stop();
    let left_out = w.roots.pop().unwrap();
    w.start();
    w.write_file("one/a.jpg", "a");
    w.settle();
    assert_eq!(w.index.len(), 1);
    w.stop();
    w.roots.push(left_out);
    w.start();
    w.settle_and_check();
}

#[test]
fn whatever_happened_between_two_runs() {
    let mut w = with_files();
    let (a, b) = (w.id_of("one/a.jpg"), w.id_of("one/sub/b.jpg"));
    w.stop();
    fs::rename(w.full_path("one/a.jpg"), w.full_path("two/moved.jpg")).unwrap();
    fs::write(w.full_path("two/moved.jpg"), "moved and edited").unwrap();
    fs::rename(w.full_path("one/sub"), w.full_path("one/renamed")).unwrap();
    fs::write(w.full_path("one/new.jpg"), "new").unwrap();
    fs::remove_file(w.full_path("two/c.jpg")).unwrap();
    w.start();
    w.settle_and_check();
    assert_eq!(
        (w.id_of("two/moved.jpg"), w.id_of("one/renamed/b.jpg")),
        (a, b)
    );
}

#[test]
fn a_lost_catalog_gives_unmoved_files_their_ids() {
    let mut w = with_files();
    let (a, b) = (w.id_of("one/a.jpg"), w.id_of("one/sub/b.jpg"));
    w.write_file("one/sub/b.jpg", "edited");
    w.settle();
    w.stop();
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(w.full_path(name));
    }
    w.start();
    w.settle_and_check();
    assert_eq!((w.id_of("one/a.jpg"), w.id_of("one/sub/b.jpg")), (a, b));
    assert_eq!(w.embedded, 4, "nothing is embedded again");
}

#[test]
fn a_catalog_put_back_from_a_backup_catches_up() {
    let mut w = with_files();
    let _ = w.id_of("one/a.jpg");
    w.stop();
    fs::copy(w.full_path("catalog.sqlite"), w.full_path("backup")).unwrap();
    w.start();
    w.write_file("one/a.jpg", "edited since");
    w.write_file("one/new.jpg", "new since");
    w.settle_and_check();
    w.stop();
    fs::copy(w.full_path("backup"), w.full_path("catalog.sqlite")).unwrap();
    let _ = fs::remove_file(w.full_path("catalog.sqlite-wal"));
    w.start();
    w.settle_and_check();
}

/// Turns the link at the root of `one`.
fn turn(w: &KeeperWorld, target: &str) {
    let link = w.full_path("one");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(w.full_path(target), link).unwrap();
}

#[test]
fn a_root_follows_its_link() {
    let mut w = with_files();
    fs::rename(w.full_path("one"), w.full_path("release1")).unwrap();
    turn(&w, "release1");
    let embedded = w.embedded;
    w.restart();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.embedded, embedded, "the same files");
    fs::create_dir(w.full_path("release2")).unwrap();
    fs::write(w.full_path("release2/a.jpg"), "another").unwrap();
    turn(&w, "release2");
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
    // Nothing is removed while the link leads nowhere, also after a restart.
    let before = w.index.clone();
    turn(&w, "release3");
    w.rescan_all();
    w.settle();
    w.restart();
    w.rescan_all();
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    turn(&w, "release2");
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), [""; 0]);
}

fn with_linked_root() -> KeeperWorld {
    let mut w = with_files();
    fs::rename(w.full_path("one"), w.full_path("release1")).unwrap();
    turn(&w, "release1");
    w.restart();
    w.rescan_all();
    w.settle_and_check();
    fs::create_dir(w.full_path("empty")).unwrap();
    w
}

#[test]
fn a_link_to_an_empty_folder_removes_nothing_until_confirmed() {
    for is_restarted in [false, true] {
        let mut w = with_linked_root();
        let before = w.index.clone();
        turn(&w, "empty");
        if is_restarted {
            w.restart();
        }
        w.add_hint("one/a.jpg", HintKind::Gone);
        for _ in 0..2 {
            w.rescan_all();
            w.settle();
            assert_eq!(w.index, before);
            assert_eq!(w.degraded(), ["root_missing"]);
        }
        // The disk comes back.
        turn(&w, "release1");
        w.rescan_all();
        w.settle_and_check();
        assert_eq!(w.index, before);
        assert_eq!(w.degraded(), [""; 0]);
        turn(&w, "empty");
        w.rescan_all();
        w.settle();
        assert_eq!(w.index, before);
        w.send_request(0, WatcherRequest::Confirm);
        w.settle_and_check();
        assert_eq!(w.index.len(), 1);
        assert_eq!(w.degraded(), [""; 0]);
    }
}

#[test]
fn a_turned_link_is_followed_after_a_discarded_tick() {
    let mut w = with_linked_root();
    fs::create_dir(w.full_path("release2")).unwrap();
    fs::write(w.full_path("release2/a.jpg"), "another").unwrap();
    turn(&w, "release2");
    // The root of this tick is verified, and then nothing of it is kept.
    let now = w.now();
    assert!(w.library(0).root.follow_links());
    w.keeper().discard_tick(now);
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn a_link_turned_to_another_library_is_not_followed() {
    let mut w = with_linked_root();
    let before = w.index.clone();
    fs::create_dir(w.full_path("two/inner")).unwrap();
    // To another library's folder, into it, and above it.
    for target in ["two", "two/inner", "."] {
        turn(&w, target);
        for _ in 0..2 {
            w.rescan_all();
            w.settle();
            assert_eq!(w.index, before, "{target}");
            assert_eq!(w.degraded(), ["root_missing"], "{target}");
        }
        let detail = w.published.borrow()[0].degraded[0].detail.clone();
        assert!(
            detail.contains("overlaps the folder of library two"),
            "{detail}"
        );
        let reply = w.send_request(0, WatcherRequest::Confirm);
        assert!(matches!(reply, WatcherReply::Refused(_)), "{reply:?}");
        // The other library works on.
        w.write_file("two/inner/new.jpg", target);
        w.settle();
        assert_eq!(w.index.len(), before.len() + 1);
        w.remove_file("two/inner/new.jpg");
        w.settle();
    }
    turn(&w, "release1");
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}
