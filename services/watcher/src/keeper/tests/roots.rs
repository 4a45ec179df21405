//! Roots that vanish, come back, are others, or lie elsewhere; and runs with days in between.

use std::fs;

use lookalike_bus::{WatcherAnswer, WatcherQuestion};

use super::world::World;
use crate::inbox::HintKind;

fn with_files() -> World {
    let mut w = World::new();
    w.mkdir("one/sub");
    w.write("one/a.jpg", "a");
    w.write("one/sub/b.jpg", "b");
    w.write("two/c.jpg", "c");
    w.settle_and_check();
    w
}

#[test]
fn a_vanished_root_removes_nothing() {
    let mut w = with_files();
    let before = w.index.clone();
    fs::rename(w.full("one"), w.full("away")).unwrap();
    w.hint("one/a.jpg", HintKind::Gone);
    w.hint("one/sub", HintKind::Gone);
    w.hint("one", HintKind::Gone);
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    assert_eq!(w.counts().on_disk, 3, "what is known stays counted");
    w.restart();
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    fs::rename(w.full("away"), w.full("one")).unwrap();
    fs::write(w.full("one/new.jpg"), "new").unwrap();
    fs::remove_file(w.full("one/a.jpg")).unwrap();
    w.rescan();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn an_event_under_way_waits_for_its_root() {
    let mut w = with_files();
    w.write("one/a.jpg", "edited");
    w.remove("one/sub/b.jpg");
    w.turn(Vec::new());
    fs::rename(w.full("one"), w.full("away")).unwrap();
    w.settle();
    assert_eq!(w.index.len(), 3);
    fs::rename(w.full("away"), w.full("one")).unwrap();
    w.rescan();
    w.settle_and_check();
}

#[test]
fn another_folder_at_the_root_removes_nothing_until_confirmed() {
    let mut w = with_files();
    let before = w.index.clone();
    fs::rename(w.full("one"), w.full("away")).unwrap();
    fs::create_dir(w.full("one")).unwrap();
    w.hint("one/a.jpg", HintKind::Gone);
    w.rescan();
    w.settle();
    assert_eq!(w.index, before);
    assert_eq!(w.degraded(), ["root_missing"]);
    // Another card of the same camera: the same names, other pictures.
    w.write("one/a.jpg", "another picture");
    w.write("one/stranger.jpg", "stranger");
    for _ in 0..2 {
        w.rescan();
        w.settle();
        assert_eq!(w.index, before);
    }
    let answer = w.question(0, WatcherQuestion::Confirm);
    assert_eq!(answer, WatcherAnswer::Scanning);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn an_emptied_folder_confirmed_empties_the_index() {
    let mut w = with_files();
    fs::remove_dir_all(w.full("one")).unwrap();
    fs::create_dir(w.full("one")).unwrap();
    w.rescan();
    w.settle();
    assert_eq!(w.index.len(), 3);
    w.question(0, WatcherQuestion::Confirm);
    w.settle_and_check();
    assert_eq!(w.index.len(), 1);
}

#[test]
fn the_same_files_in_another_folder_are_the_right_ones() {
    // Restored from a backup, or mounted from another device: names, sizes and times are kept.
    let mut w = with_files();
    let id = w.id("one/a.jpg");
    fs::rename(w.full("one"), w.full("away")).unwrap();
    fs::create_dir(w.full("one")).unwrap();
    fs::rename(w.full("away/a.jpg"), w.full("one/a.jpg")).unwrap();
    w.rescan();
    w.settle_and_check();
    assert_eq!(w.id("one/a.jpg"), id);
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn a_known_file_in_a_strange_root_takes_no_place() {
    // A file of `two` lies in a strange folder at the root of `one`, where `one` has another.
    let mut w = with_files();
    fs::rename(w.full("one"), w.full("away")).unwrap();
    fs::create_dir(w.full("one")).unwrap();
    w.rename("two/c.jpg", "one/a.jpg");
    w.settle();
    w.question(0, WatcherQuestion::Confirm);
    w.settle_and_check();
}

#[test]
fn the_settings_name_another_root() {
    let mut w = with_files();
    let (a, b) = (w.id("one/a.jpg"), w.id("one/sub/b.jpg"));
    w.stop();
    fs::rename(w.full("one"), w.full("elsewhere")).unwrap();
    w.roots[0].1 = w.full("elsewhere");
    w.start();
    w.settle_and_check();
    assert_eq!((w.id("one/a.jpg"), w.id("one/sub/b.jpg")), (a, b));
    assert_eq!(w.embedded, 3);
}

#[test]
fn a_library_left_out_of_the_settings_blocks_nothing() {
    let mut w = World::new();
    for n in 0..600 {
        w.write(&format!("two/{n}.jpg"), &n.to_string());
    }
    w.turn(Vec::new());
    w.stop();
    let left_out = w.roots.pop().unwrap();
    w.start();
    w.write("one/a.jpg", "a");
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
    let (a, b) = (w.id("one/a.jpg"), w.id("one/sub/b.jpg"));
    w.stop();
    fs::rename(w.full("one/a.jpg"), w.full("two/moved.jpg")).unwrap();
    fs::write(w.full("two/moved.jpg"), "moved and edited").unwrap();
    fs::rename(w.full("one/sub"), w.full("one/renamed")).unwrap();
    fs::write(w.full("one/new.jpg"), "new").unwrap();
    fs::remove_file(w.full("two/c.jpg")).unwrap();
    w.start();
    w.settle_and_check();
    assert_eq!((w.id("two/moved.jpg"), w.id("one/renamed/b.jpg")), (a, b));
}

#[test]
fn a_lost_catalog_gives_unmoved_files_their_ids() {
    let mut w = with_files();
    let (a, b) = (w.id("one/a.jpg"), w.id("one/sub/b.jpg"));
    w.write("one/sub/b.jpg", "edited");
    w.settle();
    w.stop();
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(w.full(name));
    }
    w.start();
    w.settle_and_check();
    assert_eq!((w.id("one/a.jpg"), w.id("one/sub/b.jpg")), (a, b));
    assert_eq!(w.embedded, 4, "nothing is embedded again");
}

#[test]
fn a_catalog_put_back_from_a_backup_catches_up() {
    let mut w = with_files();
    let _ = w.id("one/a.jpg");
    w.stop();
    fs::copy(w.full("catalog.sqlite"), w.full("backup")).unwrap();
    w.start();
    w.write("one/a.jpg", "edited since");
    w.write("one/new.jpg", "new since");
    w.settle_and_check();
    w.stop();
    fs::copy(w.full("backup"), w.full("catalog.sqlite")).unwrap();
    let _ = fs::remove_file(w.full("catalog.sqlite-wal"));
    w.start();
    w.settle_and_check();
}
