//! File systems that ignore the case of names.

use std::fs;

use super::world::KeeperWorld;
use crate::disk::test_folding::fold_case;
use crate::inbox::HintKind;

/// Ends when a test does, because threads run several tests.
struct CaseFolding;

impl CaseFolding {
    fn start() -> Self {
        fold_case(true);
        Self
    }
}

impl Drop for CaseFolding {
    fn drop(&mut self) {
        fold_case(false);
    }
}

fn with_files() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.make_folder("one/Dir");
    for place in ["one/a.jpg", "one/b.jpg", "one/Dir/c.jpg"] {
        w.write_file(place, place);
    }
    w.settle_and_check();
    w
}

fn ids(w: &KeeperWorld) -> Vec<String> {
    w.index.keys().map(ToString::to_string).collect()
}

#[test]
fn a_name_that_changes_its_case_keeps_its_row() {
    let _folding = CaseFolding::start();
    for hints in [
        &[
            ("one/a.jpg", HintKind::Gone),
            ("one/A.jpg", HintKind::Ready),
        ][..],
        &[
            ("one/A.jpg", HintKind::Ready),
            ("one/a.jpg", HintKind::Gone),
        ],
        // Found by a scan only.
        &[],
    ] {
        let mut w = with_files();
        let (before, embedded) = (ids(&w), w.embedded);
        fs::rename(w.full_path("one/a.jpg"), w.full_path("one/A.jpg")).unwrap();
        for (path, kind) in hints {
            w.add_hint(path, *kind);
        }
        if hints.is_empty() {
            w.rescan_all();
        }
        w.settle_and_check();
        assert_eq!(ids(&w), before, "{hints:?}");
        assert_eq!(w.embedded, embedded, "{hints:?}");
        w.rescan_all();
        w.settle_and_check();
        assert_eq!(ids(&w), before, "{hints:?}");
    }
}

#[test]
fn a_folder_that_changes_its_case_keeps_its_rows() {
    let _folding = CaseFolding::start();
    let mut w = with_files();
    let (before, embedded) = (ids(&w), w.embedded);
    fs::rename(w.full_path("one/Dir"), w.full_path("one/dir")).unwrap();
    w.add_hint("one/Dir", HintKind::Gone);
    w.add_hint("one/dir", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(ids(&w), before);
    assert_eq!(w.embedded, embedded);
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(ids(&w), before);
}

#[test]
fn names_that_differ_in_case_are_two_files_elsewhere() {
    let mut w = with_files();
    w.write_file("one/A.jpg", "another");
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
    w.remove_file("one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.index.len(), 3);
}

#[test]
fn letters_of_other_alphabets_are_folded_too() {
    let _folding = CaseFolding::start();
    let mut w = KeeperWorld::new();
    w.make_folder("one/Фото");
    w.write_file("one/Фото/a.jpg", "a");
    w.settle_and_check();
    let (before, embedded) = (ids(&w), w.embedded);
    fs::rename(w.full_path("one/Фото"), w.full_path("one/фото")).unwrap();
    w.add_hint("one/Фото", HintKind::Gone);
    w.add_hint("one/фото", HintKind::Ready);
    w.settle_and_check();
    assert_eq!((ids(&w), w.embedded), (before.clone(), embedded));
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(ids(&w), before);
}

#[test]
fn both_spellings_in_a_folder_that_seems_to_fold_are_two_files() {
    let _folding = CaseFolding::start();
    let mut w = with_files();
    w.write_file("one/A.jpg", "another");
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index.len(), 4);
}

#[test]
fn a_change_reported_under_another_spelling_is_seen() {
    let _folding = CaseFolding::start();
    let mut w = with_files();
    for (place, hint) in [
        ("one/a.jpg", "one/A.jpg"),
        ("one/Dir/c.jpg", "one/DIR/C.JPG"),
        ("one/Dir/new.jpg", "one/dir/new.jpg"),
    ] {
        fs::write(w.full_path(place), format!("{place} edited")).unwrap();
        w.add_hint(hint, HintKind::Ready);
        w.settle_and_check();
    }
    assert_eq!(w.index.len(), 4);
}

#[test]
fn a_folder_that_changes_its_case_while_files_move_in() {
    let _folding = CaseFolding::start();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let mut w = with_files();
        let (before, embedded) = (ids(&w), w.embedded);
        fs::rename(w.full_path("one/Dir"), w.full_path("one/dir")).unwrap();
        fs::rename(w.full_path("one/a.jpg"), w.full_path("one/dir/a.jpg")).unwrap();
        fs::rename(w.full_path("one/dir/c.jpg"), w.full_path("one/dir/C.jpg")).unwrap();
        let hints = [
            ("one/Dir", HintKind::Gone),
            ("one/dir", HintKind::Ready),
            ("one/a.jpg", HintKind::Gone),
            // The system still reports the spelling under which it watches the folder.
            ("one/Dir/a.jpg", HintKind::Ready),
        ];
        for index in order {
            w.add_hint(hints[index].0, hints[index].1);
            w.run_tick();
        }
        w.settle_and_check();
        assert_eq!(
            (ids(&w), w.embedded),
            (before.clone(), embedded),
            "{order:?}"
        );
        w.rescan_all();
        w.settle_and_check();
        assert_eq!(ids(&w), before, "{order:?}");
    }
}
