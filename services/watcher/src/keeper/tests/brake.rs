//! Very many files gone at once.

use std::fs;
use std::time::Duration;

use lookalike_bus::{WatcherAnswer, WatcherQuestion};

use super::world::World;
use crate::inbox::HintKind;

const WAIT: Duration = Duration::from_secs(60);

/// Ten files in `one`, and a brake that four of six hold.
fn with_files() -> World {
    let mut w = World::with(|settings| {
        settings.brake_files = 3;
        settings.brake_share = 0.5;
        settings.brake_wait = WAIT;
    });
    w.mkdir("one/sub");
    for n in 0..10 {
        w.write(&format!("one/sub/{n}.jpg"), &n.to_string());
    }
    w.settle_and_check();
    w
}

fn lose(w: &mut World, count: usize) {
    fs::create_dir_all(w.full("away")).unwrap();
    for n in 0..count {
        let (from, to) = (format!("one/sub/{n}.jpg"), format!("away/{n}.jpg"));
        w.rename(&from, &to);
    }
}

#[track_caller]
fn assert_held(w: &mut World, gone: u64) {
    for _ in 0..20 {
        w.settle();
        w.pass(Duration::from_millis(20));
    }
    assert_eq!(w.degraded(), ["mass_delete"]);
    assert_eq!(w.index.len(), 10, "nothing is removed");
    assert_eq!(w.counts().on_disk, 10 - gone);
    let shown = w.shown.borrow();
    let detail = shown[0].degraded[0].detail.clone();
    assert!(
        detail.starts_with(&format!("{gone} of 10 files have vanished.")),
        "{detail}"
    );
    assert!(detail.contains("`lookalike confirm one`"), "{detail}");
}

#[test]
fn few_go_at_once() {
    let mut w = with_files();
    lose(&mut w, 3);
    w.settle_and_check();
    lose_rest(&mut w, 3, 5);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.index.len(), 5);
}

fn lose_rest(w: &mut World, from: usize, to: usize) {
    for n in from..to {
        w.remove(&format!("one/sub/{n}.jpg"));
    }
}

#[test]
fn many_wait_until_they_are_back() {
    let mut w = with_files();
    let id = w.id("one/sub/0.jpg");
    fs::rename(w.full("one/sub"), w.full("away")).unwrap();
    w.hint("one/sub", HintKind::Gone);
    assert_held(&mut w, 10);
    w.restart();
    assert_held(&mut w, 10);
    fs::rename(w.full("away"), w.full("one/sub")).unwrap();
    w.hint("one/sub", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!((w.id("one/sub/0.jpg"), w.embedded), (id, 10));
}

#[test]
fn many_wait_until_somebody_confirms() {
    let mut w = with_files();
    lose(&mut w, 7);
    assert_held(&mut w, 7);
    let answer = w.question(0, WatcherQuestion::Confirm);
    assert_eq!(answer, WatcherAnswer::Scanning);
    w.restart();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn many_wait_until_the_time_is_over() {
    let mut w = with_files();
    lose(&mut w, 6);
    assert_held(&mut w, 6);
    w.pass(WAIT / 2);
    w.restart();
    assert_held(&mut w, 6);
    // More go meanwhile: each waits its own time, as long as they are too many.
    lose_rest(&mut w, 6, 9);
    assert_held(&mut w, 9);
    w.pass(WAIT / 2);
    w.settle();
    // Those that are left are few.
    w.pass(Duration::from_millis(100));
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
}

#[test]
fn a_clock_set_back_lets_nothing_through() {
    let mut w = with_files();
    lose(&mut w, 7);
    assert_held(&mut w, 7);
    w.set_clock_back();
    assert_held(&mut w, 7);
    w.pass(WAIT + Duration::from_secs(1));
    w.settle_and_check();
}

#[test]
fn what_vanishes_one_after_the_other_is_counted_together() {
    let mut w = with_files();
    for n in 0..10 {
        w.remove(&format!("one/sub/{n}.jpg"));
        w.turn(Vec::new());
        w.pass(Duration::from_millis(5)); // The grace of the first ends before the last is gone.
    }
    assert_held(&mut w, 10);
}

#[test]
fn a_deletion_that_takes_minutes_is_one() {
    let mut w = with_files();
    for n in 0..10 {
        w.remove(&format!("one/sub/{n}.jpg"));
        w.settle();
        w.pass(Duration::from_secs(20));
    }
    assert_eq!(w.degraded(), ["mass_delete"]);
    // The first few were removed; the others wait until somebody says so.
    let left = w.index.len();
    assert!((1..9).contains(&left), "{left}");
    w.question(0, WatcherQuestion::Confirm);
    w.settle_and_check();
    // What is meant to be gone does not count any more.
    w.write("one/new.jpg", "new");
    w.settle_and_check();
    w.remove("one/new.jpg");
    w.settle_and_check();
}

#[test]
fn moves_are_no_deletion() {
    let mut w = with_files();
    let id = w.id("one/sub/0.jpg");
    w.rename("one/sub", "two/sub");
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    // Neither is one by copying, to another file system.
    fs::create_dir(w.full("two/copies")).unwrap();
    for n in 0..10 {
        let (from, to) = (format!("two/sub/{n}.jpg"), format!("two/copies/{n}.jpg"));
        fs::copy(w.full(&from), w.full(&to)).unwrap();
        fs::remove_file(w.full(&from)).unwrap();
    }
    w.rescan();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!((w.id("two/copies/0.jpg"), w.embedded), (id, 10));
}

#[test]
fn ignoring_files_is_no_deletion() {
    let mut w = with_files();
    w.write("one/.lookalikeignore", "sub\n");
    w.settle_and_check();
    assert_eq!((w.degraded().len(), w.index.len()), (0, 0));
}

#[test]
fn an_emptied_root_needs_one_confirmation() {
    let mut w = with_files();
    fs::rename(w.full("one"), w.full("away")).unwrap();
    fs::create_dir(w.full("one")).unwrap();
    w.rescan();
    w.settle();
    assert_eq!(w.degraded(), ["root_missing"]);
    w.question(0, WatcherQuestion::Confirm);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.index.len(), 0);
}
