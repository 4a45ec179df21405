//! `.lookalikeignore`: what it ignores leaves the index and comes back, and is not watched.

use std::fs;

use super::world::KeeperWorld;
use crate::inbox::HintKind;

fn with_tree() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.make_folder("one/raw/deep");
    w.make_folder("one/kept");
    for place in [
        "one/a.jpg",
        "one/a.bak.jpg",
        "one/raw/b.jpg",
        "one/raw/deep/c.jpg",
        "one/kept/d.jpg",
    ] {
        w.write_file(place, place);
    }
    w.settle_and_check();
    assert_eq!(w.index.len(), 5);
    w
}

#[test]
fn files_and_folders_leave_and_come_back() {
    let mut w = with_tree();
    w.write_file("one/.lookalikeignore", "*.bak.jpg\n/raw/\n");
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
    assert_eq!(
        w.listed_code("one/a.bak.jpg").as_deref(),
        Some("ignore_file")
    );
    // Files in an ignored folder are not listed, as in a hidden one.
    assert_eq!(w.listed_code("one/raw/b.jpg"), None);
    // Changes there have no effect.
    w.write_file("one/raw/new.jpg", "new");
    w.add_hint("one/raw", HintKind::Changed);
    w.settle_and_check();
    let embedded = w.embedded;
    w.write_file("one/.lookalikeignore", "*.bak.jpg\n");
    w.settle_and_check();
    assert_eq!(w.index.len(), 5);
    assert_eq!(w.embedded, embedded + 1, "only the new one");
    w.remove_file("one/.lookalikeignore");
    w.settle_and_check();
    assert_eq!(w.index.len(), 6);
}

#[test]
fn the_rule_and_its_file_are_reported() {
    let mut w = with_tree();
    w.write_file("one/kept/.lookalikeignore", "# not these\nd*\n");
    w.settle_and_check();
    let failure = w.find_failure("one/kept/d.jpg").unwrap();
    assert_eq!(
        failure.detail,
        "The rule `d*` in kept/.lookalikeignore ignores it."
    );
}

#[test]
fn changes_between_runs_or_without_reports_are_found() {
    let mut w = with_tree();
    w.stop();
    fs::write(w.full_path("one/.lookalikeignore"), "raw\n").unwrap();
    w.start();
    w.settle_and_check();
    assert_eq!(w.index.len(), 3);
    fs::write(w.full_path("one/.lookalikeignore"), "kept\n").unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
    // Only one of the ignored folder's files is reported, before any scan of this run.
    w.stop();
    fs::write(w.full_path("one/.lookalikeignore"), "kept\nraw/deep\n").unwrap();
    w.start();
    w.add_hint("one/raw/deep/c.jpg", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.index.len(), 3);
}

#[test]
fn deeper_files_take_back_in_and_broken_rules_do_nothing() {
    let mut w = with_tree();
    w.write_file("one/.lookalikeignore", "*.jpg\na{b\n");
    w.write_file("one/raw/.lookalikeignore", "!b.jpg\n");
    w.settle_and_check();
    let places: Vec<_> = w.index.values().map(|row| row.place.clone()).collect();
    assert_eq!(places, ["one/raw/b.jpg"]);
}

#[test]
fn a_move_into_an_ignored_folder_and_out_keeps_the_id() {
    let mut w = with_tree();
    let id = w.id_of("one/a.jpg");
    w.write_file("one/.lookalikeignore", "raw\n");
    w.settle_and_check();
    w.rename_path("one/a.jpg", "one/raw/a.jpg");
    w.run_tick();
    w.rename_path("one/raw/a.jpg", "one/kept/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/kept/a.jpg"), id);
    w.rename_path("one/kept/a.jpg", "one/raw/a.jpg");
    w.settle_and_check();
    w.rename_path("one/raw", "two/raw");
    w.settle_and_check();
    assert_eq!(w.index.len(), 5);
}

#[test]
fn no_media_excludes_its_folder() {
    let mut w = with_tree();
    w.write_file("one/raw/.nomedia", "");
    w.settle_and_check();
    assert_eq!(w.index.len(), 3);
    assert_eq!(
        w.listed_code("one/raw/b.jpg").as_deref(),
        Some("ignore_file")
    );
    assert_eq!(w.listed_code("one/raw/deep/c.jpg"), None);
    // The folder that a user named as a library is indexed nevertheless.
    w.write_file("one/.nomedia", "");
    w.settle_and_check();
    assert_eq!(w.index.len(), 3);
    // The folder's own rules come first.
    w.write_file("one/raw/.lookalikeignore", "!b.jpg\n");
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
    w.remove_file("one/raw/.nomedia");
    w.settle_and_check();
    assert_eq!(w.index.len(), 5);
}
