//! Folders: created, moved, renamed, deleted, and filled before they are watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::world::KeeperWorld;
use crate::inbox::HintKind;

fn with_tree() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.make_folder("one/tree/deep");
    w.write_file("one/tree/a.jpg", "a");
    w.write_file("one/tree/deep/b.jpg", "b");
    w.write_file("one/tree/note.txt", "text");
    w.settle_and_check();
    w
}

#[test]
fn a_renamed_folder_keeps_all_ids() {
    let mut w = with_tree();
    let ids = (w.id_of("one/tree/a.jpg"), w.id_of("one/tree/deep/b.jpg"));
    w.rename_path("one/tree", "one/wood");
    w.settle_and_check();
    assert_eq!(
        (w.id_of("one/wood/a.jpg"), w.id_of("one/wood/deep/b.jpg")),
        ids
    );
    w.rename_path("one/wood", "two/wood");
    w.settle_and_check();
    assert_eq!(
        (w.id_of("two/wood/a.jpg"), w.id_of("two/wood/deep/b.jpg")),
        ids
    );
    // First one half is reported, then only the other, then none.
    fs::rename(w.full_path("two/wood"), w.full_path("two/x")).unwrap();
    w.add_hint("two/x", HintKind::Ready);
    w.settle();
    assert_eq!((w.id_of("two/x/a.jpg"), w.id_of("two/x/deep/b.jpg")), ids);
    w.rescan_all(); // The ignored file has no id to search for.
    w.settle_and_check();
    fs::rename(w.full_path("two/x"), w.full_path("one/y")).unwrap();
    w.add_hint("two/x", HintKind::Gone);
    w.run_tick();
    w.add_hint("one/y", HintKind::Ready);
    w.settle_and_check();
    fs::rename(w.full_path("one/y"), w.full_path("one/z")).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!((w.id_of("one/z/a.jpg"), w.id_of("one/z/deep/b.jpg")), ids);
    assert_eq!(w.embedded, 2);
}

#[test]
fn a_folder_renamed_while_its_files_change() {
    let mut w = with_tree();
    let id = w.id_of("one/tree/a.jpg");
    w.write_file("one/tree/a.jpg", "edited");
    w.write_file("one/tree/new.jpg", "new");
    w.rename_path("one/tree", "one/wood");
    w.run_tick();
    // The system still reports the old path for a while.
    fs::write(w.full_path("one/wood/a.jpg"), "edited again").unwrap();
    fs::write(w.full_path("one/wood/late.jpg"), "late").unwrap();
    fs::remove_file(w.full_path("one/wood/deep/b.jpg")).unwrap();
    w.add_hint("one/tree/a.jpg", HintKind::Ready);
    w.add_hint("one/tree/late.jpg", HintKind::Ready);
    w.add_hint("one/tree/deep/b.jpg", HintKind::Gone);
    w.settle_and_check();
    assert_eq!(w.id_of("one/wood/a.jpg"), id);
}

#[test]
fn folders_moved_in_and_out() {
    let mut w = with_tree();
    fs::rename(w.full_path("one/tree"), w.full_path("outside")).unwrap();
    w.add_hint("one/tree", HintKind::Gone);
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
    fs::rename(w.full_path("outside"), w.full_path("two/inside")).unwrap();
    w.add_hint("two/inside", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
}

#[test]
fn a_deep_folder_filled_at_once_without_reports_of_its_files() {
    let mut w = KeeperWorld::new();
    w.make_folder("one/a/b/c/d");
    w.hints.clear();
    w.add_hint("one/a", HintKind::Changed);
    w.run_tick();
    // Filled after the first scan, before it was watched.
    fs::create_dir(w.full_path("one/a/b/late")).unwrap();
    for place in [
        "one/a/1.jpg",
        "one/a/b/2.jpg",
        "one/a/b/c/d/3.jpg",
        "one/a/b/late/4.jpg",
    ] {
        fs::write(w.full_path(place), place).unwrap();
    }
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
}

#[test]
fn many_folders_appear_at_once() {
    let mut w = KeeperWorld::new();
    for n in 0..2000 {
        w.make_folder(&format!("one/{}/{n}", n % 50));
    }
    w.write_file("one/7/7/a.jpg", "a");
    w.settle_and_check();
}

#[test]
fn a_file_becomes_a_folder_and_back() {
    let mut w = KeeperWorld::new();
    w.write_file("one/x.jpg", "x");
    w.settle();
    w.remove_file("one/x.jpg");
    w.make_folder("one/x.jpg");
    w.write_file("one/x.jpg/inner.jpg", "inner");
    w.settle_and_check();
    fs::remove_dir_all(w.full_path("one/x.jpg")).unwrap();
    w.add_hint("one/x.jpg/inner.jpg", HintKind::Gone);
    w.add_hint("one/x.jpg", HintKind::Gone);
    w.write_file("one/x.jpg", "x again");
    w.settle_and_check();
    // … and when only the folder itself is reported.
    fs::remove_file(w.full_path("one/x.jpg")).unwrap();
    fs::create_dir(w.full_path("one/x.jpg")).unwrap();
    fs::write(w.full_path("one/x.jpg/inner.jpg"), "inner").unwrap();
    w.add_hint("one/x.jpg", HintKind::Changed);
    w.settle_and_check();
    fs::rename(w.full_path("one/x.jpg"), w.full_path("outside")).unwrap();
    fs::write(w.full_path("one/x.jpg"), "x once more").unwrap();
    w.add_hint("one/x.jpg", HintKind::Gone);
    w.add_hint("one/x.jpg", HintKind::Ready);
    w.settle_and_check();
}

#[test]
fn hidden_folders_are_not_entered() {
    let mut w = with_tree();
    w.make_folder("one/.cache");
    w.write_file("one/.cache/a.jpg", "cached");
    w.settle_and_check();
    w.rename_path("one/tree", "one/.tree");
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
    w.rename_path("one/.tree", "one/tree");
    w.settle_and_check();
    fs::rename(w.full_path("one/tree"), w.full_path("one/.tree")).unwrap();
    w.rescan_all();
    w.settle_and_check();
}

#[test]
fn a_folder_replaced_by_a_link_to_where_it_went() {
    let mut w = with_tree();
    let id = w.id_of("one/tree/a.jpg");
    // Within the libraries, the images move too.
    fs::rename(w.full_path("one/tree"), w.full_path("two/tree")).unwrap();
    symlink(w.full_path("two/tree"), w.full_path("one/tree")).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.id_of("two/tree/a.jpg"), id);
    // Moved outside, they are missing, although the old paths lead to them.
    fs::rename(w.full_path("two/tree"), w.full_path("outside")).unwrap();
    symlink(w.full_path("outside"), w.full_path("two/tree")).unwrap();
    w.add_hint("two/tree", HintKind::Gone);
    w.add_hint("two/tree/a.jpg", HintKind::Changed);
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
}

#[test]
fn a_deleted_tree_and_a_new_one_under_its_name() {
    let mut w = with_tree();
    let id = w.id_of("one/tree/a.jpg");
    fs::remove_dir_all(w.full_path("one/tree")).unwrap();
    w.add_hint("one/tree", HintKind::Gone);
    w.make_folder("one/tree");
    w.write_file("one/tree/a.jpg", "made again");
    w.settle_and_check();
    assert_eq!(w.id_of("one/tree/a.jpg"), id);
}

#[test]
fn removals_do_not_wait_for_folders_that_keep_appearing() {
    let mut w = with_tree();
    w.remove_file("one/tree/a.jpg");
    for n in 0..20 {
        w.make_folder(&format!("one/new{n}"));
        w.run_tick();
        w.advance_clock(Duration::from_millis(10));
    }
    assert_eq!(w.take_events(10).len(), 1);
}

#[test]
fn removals_do_not_wait_for_files_of_the_same_size() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "123");
    w.settle();
    w.remove_file("one/a.jpg");
    w.write_file("one/camera.jpg", "000");
    for n in 0..30 {
        fs::write(w.full_path("one/camera.jpg"), format!("{:03}", n)).unwrap();
        w.add_hint("one/camera.jpg", HintKind::Changed);
        w.run_tick();
        w.advance_clock(Duration::from_millis(10));
    }
    w.run_tick();
    let sent = w.take_events(10);
    assert!(
        sent.iter().any(|event| event.path.as_str() == "a.jpg"),
        "{sent:?}"
    );
}
