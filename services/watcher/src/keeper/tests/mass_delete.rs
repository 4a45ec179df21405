//! Very many files missing at once.

use std::fs;
use std::time::Duration;

use lookalike_bus::{WatcherReply, WatcherRequest};

use super::world::KeeperWorld;
use crate::inbox::HintKind;

const CONFIRM_AFTER: Duration = Duration::from_secs(60);

/// Ten files in `one`, and a guard that holds four missing ones of six.
fn with_files() -> KeeperWorld {
    let mut w = KeeperWorld::with_settings(|settings| {
        settings.mass_delete_min_files = 3;
        settings.mass_delete_share = 0.5;
        settings.mass_delete_confirm_after = CONFIRM_AFTER;
    });
    w.make_folder("one/sub");
    for n in 0..10 {
        w.write_file(&format!("one/sub/{n}.jpg"), &n.to_string());
    }
    w.settle_and_check();
    w
}

fn move_files_away(w: &mut KeeperWorld, count: usize) {
    fs::create_dir_all(w.full_path("away")).unwrap();
    for n in 0..count {
        let (from, to) = (format!("one/sub/{n}.jpg"), format!("away/{n}.jpg"));
        w.rename_path(&from, &to);
    }
}

#[track_caller]
fn assert_held(w: &mut KeeperWorld, gone: u64) {
    for _ in 0..20 {
        w.settle();
        w.advance_clock(Duration::from_millis(20));
    }
    assert_eq!(w.degraded(), ["mass_delete"]);
    assert_eq!(w.index.len(), 10, "nothing is removed");
    assert_eq!(w.counts().on_disk, 10 - gone);
    let statuses = w.published.borrow();
    let detail = statuses[0].degraded[0].detail.clone();
    assert!(
        detail.starts_with(&format!("{gone} of 10 files are missing.")),
        "{detail}"
    );
    assert!(detail.contains("`lookalike confirm one`"), "{detail}");
}

#[test]
fn few_are_removed_at_once() {
    let mut w = with_files();
    move_files_away(&mut w, 3);
    w.settle_and_check();
    remove_files(&mut w, 3, 5);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.index.len(), 5);
}

fn remove_files(w: &mut KeeperWorld, from: usize, to: usize) {
    for n in from..to {
        w.remove_file(&format!("one/sub/{n}.jpg"));
    }
}

#[test]
fn many_are_held_until_they_are_back() {
    let mut w = with_files();
    let id = w.id_of("one/sub/0.jpg");
    fs::rename(w.full_path("one/sub"), w.full_path("away")).unwrap();
    w.add_hint("one/sub", HintKind::Gone);
    assert_held(&mut w, 10);
    w.restart();
    assert_held(&mut w, 10);
    fs::rename(w.full_path("away"), w.full_path("one/sub")).unwrap();
    w.add_hint("one/sub", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!((w.id_of("one/sub/0.jpg"), w.embedded), (id, 10));
}

#[test]
fn many_are_held_until_a_user_confirms() {
    let mut w = with_files();
    move_files_away(&mut w, 7);
    assert_held(&mut w, 7);
    let answer = w.send_request(0, WatcherRequest::Confirm);
    assert_eq!(answer, WatcherReply::Scanning);
    w.restart();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn many_are_held_until_the_time_is_over() {
    let mut w = with_files();
    move_files_away(&mut w, 6);
    assert_held(&mut w, 6);
    w.advance_clock(CONFIRM_AFTER / 2);
    w.restart();
    assert_held(&mut w, 6);
    // More go missing: each is held for its own time, as long as they are too many.
    remove_files(&mut w, 6, 9);
    assert_held(&mut w, 9);
    w.advance_clock(CONFIRM_AFTER / 2);
    w.settle();
    // The remaining ones are few.
    w.advance_clock(Duration::from_millis(100));
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn a_clock_set_back_lets_nothing_through() {
    let mut w = with_files();
    move_files_away(&mut w, 7);
    assert_held(&mut w, 7);
    w.set_clock_back();
    assert_held(&mut w, 7);
    w.advance_clock(CONFIRM_AFTER + Duration::from_secs(1));
    w.settle_and_check();
}

#[test]
fn files_that_go_missing_one_after_the_other_are_counted_together() {
    let mut w = with_files();
    for n in 0..10 {
        w.remove_file(&format!("one/sub/{n}.jpg"));
        w.run_tick();
        w.advance_clock(Duration::from_millis(5)); // The grace of the first ends before the last is deleted.
    }
    assert_held(&mut w, 10);
}

#[test]
fn a_deletion_that_takes_minutes_is_counted_together() {
    let mut w = with_files();
    for n in 0..10 {
        w.remove_file(&format!("one/sub/{n}.jpg"));
        w.settle();
        w.advance_clock(Duration::from_secs(20));
    }
    assert_eq!(w.degraded(), ["mass_delete"]);
    // The first few were removed; the others are held until a user confirms.
    let left = w.index.len();
    assert!((1..9).contains(&left), "{left}");
    w.send_request(0, WatcherRequest::Confirm);
    w.settle_and_check();
    // Confirmed deletions do not count any more.
    w.write_file("one/new.jpg", "new");
    w.settle_and_check();
    w.remove_file("one/new.jpg");
    w.settle_and_check();
}

#[test]
fn moves_are_no_deletion() {
    let mut w = with_files();
    let id = w.id_of("one/sub/0.jpg");
    w.rename_path("one/sub", "two/sub");
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    // Neither is a move by copying, to another file system.
    fs::create_dir(w.full_path("two/copies")).unwrap();
    for n in 0..10 {
        let (from, to) = (format!("two/sub/{n}.jpg"), format!("two/copies/{n}.jpg"));
        fs::copy(w.full_path(&from), w.full_path(&to)).unwrap();
        fs::remove_file(w.full_path(&from)).unwrap();
    }
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!((w.id_of("two/copies/0.jpg"), w.embedded), (id, 10));
}

#[test]
fn ignoring_files_is_no_deletion() {
    let mut w = with_files();
    w.write_file("one/.lookalikeignore", "sub\n");
    w.settle_and_check();
    assert_eq!((w.degraded().len(), w.index.len()), (0, 0));
}

#[test]
fn an_emptied_root_needs_one_confirmation() {
    let mut w = with_files();
    fs::rename(w.full_path("one"), w.full_path("away")).unwrap();
    fs::create_dir(w.full_path("one")).unwrap();
    w.rescan_all();
    w.settle();
    assert_eq!(w.degraded(), ["root_missing"]);
    w.send_request(0, WatcherRequest::Confirm);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.index.len(), 0);
}
