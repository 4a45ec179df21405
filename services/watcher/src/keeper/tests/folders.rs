//! Folders: made, moved, renamed, deleted, and filled when nobody looked.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::world::World;
use crate::inbox::HintKind;

fn with_tree() -> World {
    let mut w = World::new();
    w.mkdir("one/tree/deep");
    w.write("one/tree/a.jpg", "a");
    w.write("one/tree/deep/b.jpg", "b");
    w.write("one/tree/note.txt", "text");
    w.settle_and_check();
    w
}

#[test]
fn a_renamed_folder_keeps_all_ids() {
    let mut w = with_tree();
    let ids = (w.id("one/tree/a.jpg"), w.id("one/tree/deep/b.jpg"));
    w.rename("one/tree", "one/wood");
    w.settle_and_check();
    assert_eq!((w.id("one/wood/a.jpg"), w.id("one/wood/deep/b.jpg")), ids);
    w.rename("one/wood", "two/wood");
    w.settle_and_check();
    assert_eq!((w.id("two/wood/a.jpg"), w.id("two/wood/deep/b.jpg")), ids);
    // Only one half is hinted at, then the other, then none.
    fs::rename(w.full("two/wood"), w.full("two/x")).unwrap();
    w.hint("two/x", HintKind::Ready);
    w.settle();
    assert_eq!((w.id("two/x/a.jpg"), w.id("two/x/deep/b.jpg")), ids);
    w.rescan(); // The ignored file has no id that would be looked for.
    w.settle_and_check();
    fs::rename(w.full("two/x"), w.full("one/y")).unwrap();
    w.hint("two/x", HintKind::Gone);
    w.turn(Vec::new());
    w.hint("one/y", HintKind::Ready);
    w.settle_and_check();
    fs::rename(w.full("one/y"), w.full("one/z")).unwrap();
    w.rescan();
    w.settle_and_check();
    assert_eq!((w.id("one/z/a.jpg"), w.id("one/z/deep/b.jpg")), ids);
    assert_eq!(w.embedded, 2);
}

#[test]
fn a_folder_renamed_while_its_files_change() {
    let mut w = with_tree();
    let id = w.id("one/tree/a.jpg");
    w.write("one/tree/a.jpg", "edited");
    w.write("one/tree/new.jpg", "new");
    w.rename("one/tree", "one/wood");
    w.turn(Vec::new());
    // The system still speaks of the old place for a while.
    fs::write(w.full("one/wood/a.jpg"), "edited again").unwrap();
    fs::write(w.full("one/wood/late.jpg"), "late").unwrap();
    fs::remove_file(w.full("one/wood/deep/b.jpg")).unwrap();
    w.hint("one/tree/a.jpg", HintKind::Ready);
    w.hint("one/tree/late.jpg", HintKind::Ready);
    w.hint("one/tree/deep/b.jpg", HintKind::Gone);
    w.settle_and_check();
    assert_eq!(w.id("one/wood/a.jpg"), id);
}

#[test]
fn folders_moved_in_and_out() {
    let mut w = with_tree();
    fs::rename(w.full("one/tree"), w.full("outside")).unwrap();
    w.hint("one/tree", HintKind::Gone);
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
    fs::rename(w.full("outside"), w.full("two/inside")).unwrap();
    w.hint("two/inside", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
}

#[test]
fn a_deep_folder_filled_at_once_and_nothing_said_of_its_files() {
    let mut w = World::new();
    w.mkdir("one/a/b/c/d");
    w.hints.clear();
    w.hint("one/a", HintKind::Changed);
    w.turn(Vec::new());
    // Filled after the first look, before it was watched.
    fs::create_dir(w.full("one/a/b/late")).unwrap();
    for place in [
        "one/a/1.jpg",
        "one/a/b/2.jpg",
        "one/a/b/c/d/3.jpg",
        "one/a/b/late/4.jpg",
    ] {
        fs::write(w.full(place), place).unwrap();
    }
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
}

#[test]
fn many_folders_appear_at_once() {
    let mut w = World::new();
    for n in 0..2000 {
        w.mkdir(&format!("one/{}/{n}", n % 50));
    }
    w.write("one/7/7/a.jpg", "a");
    w.settle_and_check();
}

#[test]
fn a_file_becomes_a_folder_and_back() {
    let mut w = World::new();
    w.write("one/x.jpg", "x");
    w.settle();
    w.remove("one/x.jpg");
    w.mkdir("one/x.jpg");
    w.write("one/x.jpg/inner.jpg", "inner");
    w.settle_and_check();
    fs::remove_dir_all(w.full("one/x.jpg")).unwrap();
    w.hint("one/x.jpg/inner.jpg", HintKind::Gone);
    w.hint("one/x.jpg", HintKind::Gone);
    w.write("one/x.jpg", "x again");
    w.settle_and_check();
    // … and when only the folder itself is spoken of.
    fs::remove_file(w.full("one/x.jpg")).unwrap();
    fs::create_dir(w.full("one/x.jpg")).unwrap();
    fs::write(w.full("one/x.jpg/inner.jpg"), "inner").unwrap();
    w.hint("one/x.jpg", HintKind::Changed);
    w.settle_and_check();
    fs::rename(w.full("one/x.jpg"), w.full("outside")).unwrap();
    fs::write(w.full("one/x.jpg"), "x once more").unwrap();
    w.hint("one/x.jpg", HintKind::Gone);
    w.hint("one/x.jpg", HintKind::Ready);
    w.settle_and_check();
}

#[test]
fn hidden_folders_are_not_entered() {
    let mut w = with_tree();
    w.mkdir("one/.cache");
    w.write("one/.cache/a.jpg", "cached");
    w.settle_and_check();
    w.rename("one/tree", "one/.tree");
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
    w.rename("one/.tree", "one/tree");
    w.settle_and_check();
    fs::rename(w.full("one/tree"), w.full("one/.tree")).unwrap();
    w.rescan();
    w.settle_and_check();
}

#[test]
fn a_folder_replaced_by_a_link_to_where_it_went() {
    let mut w = with_tree();
    let id = w.id("one/tree/a.jpg");
    // Within the libraries the images move along.
    fs::rename(w.full("one/tree"), w.full("two/tree")).unwrap();
    symlink(w.full("two/tree"), w.full("one/tree")).unwrap();
    w.rescan();
    w.settle_and_check();
    assert_eq!(w.id("two/tree/a.jpg"), id);
    // To the outside they are gone, though the old paths lead to them.
    fs::rename(w.full("two/tree"), w.full("outside")).unwrap();
    symlink(w.full("outside"), w.full("two/tree")).unwrap();
    w.hint("two/tree", HintKind::Gone);
    w.hint("two/tree/a.jpg", HintKind::Changed);
    w.settle_and_check();
    assert_eq!(w.index.len(), 0);
}

#[test]
fn a_deleted_tree_and_a_new_one_under_its_name() {
    let mut w = with_tree();
    let id = w.id("one/tree/a.jpg");
    fs::remove_dir_all(w.full("one/tree")).unwrap();
    w.hint("one/tree", HintKind::Gone);
    w.mkdir("one/tree");
    w.write("one/tree/a.jpg", "made again");
    w.settle_and_check();
    assert_eq!(w.id("one/tree/a.jpg"), id);
}

#[test]
fn removals_do_not_wait_for_folders_that_keep_appearing() {
    let mut w = with_tree();
    w.remove("one/tree/a.jpg");
    for n in 0..20 {
        w.mkdir(&format!("one/new{n}"));
        w.turn(Vec::new());
        w.pass(Duration::from_millis(10));
    }
    assert_eq!(w.hand_out(10).len(), 1);
}

#[test]
fn removals_do_not_wait_for_files_of_the_same_size() {
    let mut w = World::new();
    w.write("one/a.jpg", "123");
    w.settle();
    w.remove("one/a.jpg");
    w.write("one/camera.jpg", "000");
    for n in 0..30 {
        fs::write(w.full("one/camera.jpg"), format!("{:03}", n)).unwrap();
        w.hint("one/camera.jpg", HintKind::Changed);
        w.turn(Vec::new());
        w.pass(Duration::from_millis(10));
    }
    w.turn(Vec::new());
    let sent = w.hand_out(10);
    assert!(
        sent.iter().any(|event| event.path.as_str() == "a.jpg"),
        "{sent:?}"
    );
}
