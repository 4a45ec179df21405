//! Single files: new, edited, deleted, moved, replaced, and changes that look like these.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use super::world::KeeperWorld;
use crate::inbox::HintKind;

#[test]
fn new_edited_deleted() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/broken.jpg", "bad");
    w.write_file("one/notes.txt", "text");
    w.settle_and_check();
    let id = w.id_of("one/a.jpg");
    assert_eq!(w.listed_code("one/broken.jpg").as_deref(), Some("corrupt"));
    assert_eq!(
        w.listed_code("one/notes.txt").as_deref(),
        Some("not_a_picture_name")
    );
    w.write_file("one/a.jpg", "edited");
    w.write_file("one/broken.jpg", "good now");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    w.remove_file("one/a.jpg");
    w.settle_and_check();
    assert!(!w.index.contains_key(&id));
}

#[test]
fn a_moved_file_keeps_its_id() {
    let mut w = KeeperWorld::new();
    w.make_folder("one/sub");
    w.write_file("one/a.jpg", "a");
    w.settle();
    let id = w.id_of("one/a.jpg");
    let places = [
        "one/b.jpg",
        "one/sub/c.jpg",
        "two/d.jpg",
        "one/a.jpg",
        "one/A.jpg",
    ];
    let mut at = "one/a.jpg";
    for to in places {
        w.rename_path(at, to);
        w.settle_and_check();
        assert_eq!(w.id_of(to), id, "{to}");
        at = to;
    }
    // The halves of a rename may arrive in any order, or one may be lost.
    fs::rename(w.full_path(at), w.full_path("two/x.jpg")).unwrap();
    w.add_hint("two/x.jpg", HintKind::Ready);
    w.add_hint(at, HintKind::Gone);
    w.settle_and_check();
    assert_eq!(w.id_of("two/x.jpg"), id);
    fs::rename(w.full_path("two/x.jpg"), w.full_path("two/y.jpg")).unwrap();
    w.add_hint("two/y.jpg", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.id_of("two/y.jpg"), id);
    assert_eq!(w.embedded, 1, "nothing is embedded again");
}

#[test]
fn a_move_while_its_event_is_in_flight_keeps_the_id() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.run_tick();
    let events = w.take_events(10);
    let id = events[0].image_id;
    w.rename_path("one/a.jpg", "two/b.jpg");
    w.run_tick();
    assert!(
        w.take_events(10).is_empty(),
        "one event of an image at a time"
    );
    w.publish_events(events);
    w.settle_and_check();
    assert_eq!(w.id_of("two/b.jpg"), id);
}

#[test]
fn swapped_files_take_their_ids_along() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "aa");
    w.write_file("one/b.jpg", "bb");
    w.settle();
    let (a, b) = (w.id_of("one/a.jpg"), w.id_of("one/b.jpg"));
    for order in [["one/a.jpg", "one/b.jpg"], ["one/b.jpg", "one/a.jpg"]] {
        let (a, b) = (w.id_of("one/a.jpg"), w.id_of("one/b.jpg"));
        swap_files(&w, "one/a.jpg", "one/b.jpg");
        for place in order {
            w.add_hint(place, HintKind::Ready);
        }
        w.settle_and_check();
        assert_eq!((w.id_of("one/b.jpg"), w.id_of("one/a.jpg")), (a, b));
    }
    assert_eq!((w.id_of("one/a.jpg"), w.id_of("one/b.jpg")), (a, b));
    // One hint is enough, and a scan without hints, too.
    swap_files(&w, "one/a.jpg", "one/b.jpg");
    w.add_hint("one/a.jpg", HintKind::Ready);
    w.settle_and_check();
    swap_files(&w, "one/a.jpg", "one/b.jpg");
    w.rescan_all();
    w.settle_and_check();
    assert_eq!((w.id_of("one/a.jpg"), w.id_of("one/b.jpg")), (a, b));
    assert_eq!(w.embedded, 2);
}

fn swap_files(w: &KeeperWorld, a: &str, b: &str) {
    fs::rename(w.full_path(a), w.full_path("aside")).unwrap();
    fs::rename(w.full_path(b), w.full_path(a)).unwrap();
    fs::rename(w.full_path("aside"), w.full_path(b)).unwrap();
}

#[test]
fn a_whole_folder_renumbered_keeps_all_ids() {
    let mut w = KeeperWorld::new();
    w.are_hints_muted = true;
    let count = 3000;
    for n in 0..count {
        w.write_file(&format!("one/{n:05}.jpg"), &format!("{n}"));
    }
    w.rescan_all();
    w.settle();
    let before: Vec<_> = (0..count)
        .map(|n| w.id_of(&format!("one/{n:05}.jpg")))
        .collect();
    for n in (0..count).rev() {
        let (from, to) = (format!("one/{n:05}.jpg"), format!("one/{:05}.jpg", n + 1));
        w.rename_path(&from, &to);
    }
    w.are_hints_muted = false;
    // The last one first: every move is found by the one before it.
    w.add_hint(&format!("one/{count:05}.jpg"), HintKind::Ready);
    w.settle_and_check();
    for (n, id) in before.into_iter().enumerate() {
        assert_eq!(w.id_of(&format!("one/{:05}.jpg", n + 1)), id);
    }
}

#[test]
fn replaced_as_editors_do_keeps_the_id() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.settle();
    let id = w.id_of("one/a.jpg");
    for (round, temporary) in ["one/.a.jpg.x7", "one/a.jpg.tmp", "one/a~1.jpg"]
        .iter()
        .enumerate()
    {
        w.write_file(temporary, &format!("saved {round}"));
        w.run_tick();
        w.rename_path(temporary, "one/a.jpg");
        w.settle_and_check();
        assert_eq!(w.id_of("one/a.jpg"), id, "{temporary}");
    }
}

#[test]
fn a_backup_moved_back_with_its_times_keeps_the_id() {
    // `cp -p a b; mv b a`: the file that takes a's place has a's size, time and bytes.
    let mut w = KeeperWorld::with_settings(|_| {});
    w.real_time = true; // The copy's birth is by the file system's clock.
    w.write_file("one/a.jpg", "content");
    w.settle();
    w.advance_clock(Duration::from_millis(20));
    let id = w.id_of("one/a.jpg");
    copy_with_times(&w, "one/a.jpg", "one/b.jpg");
    w.add_hint("one/b.jpg", HintKind::Ready);
    w.settle_and_check();
    w.rename_path("one/b.jpg", "one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
}

#[test]
fn an_old_backup_moved_back_with_its_times_replaces_the_row() {
    // The same with a copy that existed from the beginning: a separate image.
    let mut w = KeeperWorld::with_settings(|_| {});
    w.real_time = true;
    fs::write(w.full_path("one/a.jpg"), "content").unwrap();
    copy_with_times(&w, "one/a.jpg", "one/b.jpg");
    w.rescan_all();
    w.settle_and_check();
    let b = w.id_of("one/b.jpg");
    w.rename_path("one/b.jpg", "one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), b);
}

fn copy_with_times(w: &KeeperWorld, from: &str, to: &str) {
    fs::copy(w.full_path(from), w.full_path(to)).unwrap();
    let modified = fs::metadata(w.full_path(from)).unwrap().modified().unwrap();
    let file = File::options().append(true).open(w.full_path(to)).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn deleted_and_made_again_keeps_the_id() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.settle();
    let id = w.id_of("one/a.jpg");
    w.remove_file("one/a.jpg");
    w.run_tick();
    w.write_file("one/a.jpg", "other");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    // … also while its removal is in flight, and after it is done.
    w.remove_file("one/a.jpg");
    w.run_tick();
    w.advance_clock(Duration::from_millis(50));
    w.run_tick();
    assert_eq!(w.relay_outbox(), 1);
    w.write_file("one/a.jpg", "third");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    w.remove_file("one/a.jpg");
    w.settle();
    w.write_file("one/a.jpg", "fourth");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
}

#[test]
fn hard_links_are_two_images() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.settle();
    fs::hard_link(w.full_path("one/a.jpg"), w.full_path("two/b.jpg")).unwrap();
    w.add_hint("two/b.jpg", HintKind::Changed);
    w.settle_and_check();
    let (a, b) = (w.id_of("one/a.jpg"), w.id_of("two/b.jpg"));
    assert_ne!(a, b);
    w.rename_path("two/b.jpg", "one/c.jpg");
    w.settle_and_check();
    assert_eq!((w.id_of("one/a.jpg"), w.id_of("one/c.jpg")), (a, b));
    // The system reports the write only for the name that was used.
    w.write_file("one/a.jpg", "both");
    w.settle_and_check();
    w.remove_file("one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/c.jpg"), b);
}

#[test]
fn links_are_ignored() {
    use std::os::unix::fs::symlink;
    let mut w = KeeperWorld::new();
    w.make_folder("one/folder");
    w.write_file("one/folder/a.jpg", "a");
    symlink("folder/a.jpg", w.full_path("one/link.jpg")).unwrap();
    symlink(".", w.full_path("one/loop")).unwrap();
    symlink("folder", w.full_path("one/alias")).unwrap();
    w.add_hint("one/link.jpg", HintKind::Changed);
    w.add_hint("one/alias/a.jpg", HintKind::Ready);
    w.add_hint("one/loop/loop/folder/a.jpg", HintKind::Ready);
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(
        w.listed_code("one/link.jpg").as_deref(),
        Some("symbolic_link")
    );
    assert_eq!(w.listed_code("one/alias").as_deref(), Some("symbolic_link"));
    // A file that becomes a link, and a link that becomes a file.
    w.remove_file("one/folder/a.jpg");
    w.write_file("two/real.jpg", "a");
    symlink(w.full_path("two/real.jpg"), w.full_path("one/folder/a.jpg")).unwrap();
    w.add_hint("one/folder/a.jpg", HintKind::Changed);
    w.settle_and_check();
    w.remove_file("one/link.jpg");
    w.write_file("one/link.jpg", "real");
    w.settle_and_check();
}

#[test]
fn odd_names() {
    let mut w = KeeperWorld::new();
    let long = format!("one/{}.jpg", "x".repeat(251));
    for name in [
        "one/new\nline.jpg",
        &long,
        "one/ü …\u{202e}.jpg",
        "one/'; --.jpg",
        "one/%.JPG",
    ] {
        w.write_file(name, name);
    }
    let bytes = b"one/\xff\xfe.jpg";
    fs::write(w.dir.path().join(OsStr::from_bytes(bytes)), "x").unwrap();
    w.add_hint_bytes(bytes, HintKind::Ready);
    w.settle_and_check();
    assert_eq!(
        w.listed_code(r"one/\xff\xfe.jpg").as_deref(),
        Some("unusable_name")
    );
    let id = w.id_of(&long);
    w.rename_path(&long, "one/short.jpg");
    fs::rename(
        w.full_path("one/new\nline.jpg"),
        w.dir.path().join(OsStr::from_bytes(b"two/\xf0.jpg")),
    )
    .unwrap();
    w.add_hint("one/new\nline.jpg", HintKind::Gone);
    w.add_hint_bytes(b"two/\xf0.jpg", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.id_of("one/short.jpg"), id);
}

#[test]
fn ignored_by_its_new_name_and_back() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.settle();
    let id = w.id_of("one/a.jpg");
    w.rename_path("one/a.jpg", "one/a.txt");
    w.run_tick();
    w.rename_path("one/a.txt", "one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    w.rename_path("one/a.jpg", "one/a.txt");
    w.settle_and_check();
    w.rename_path("one/a.txt", "one/b.jpg");
    w.settle_and_check();
}

#[test]
fn too_large_and_back() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "small");
    w.settle();
    let id = w.id_of("one/a.jpg");
    w.write_file("one/a.jpg", &"x".repeat(1001));
    w.settle_and_check();
    assert_eq!(w.listed_code("one/a.jpg").as_deref(), Some("too_large"));
    w.write_file("one/a.jpg", "small again");
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    // With other settings, unchanged files are observed again.
    w.settings.max_file_bytes = 5;
    w.restart();
    w.settle_and_check();
    assert_eq!(w.counts().ignored, 1);
    w.settings.max_file_bytes = 1000;
    w.restart();
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
}

#[test]
fn same_size_and_time_but_other_content() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "aaaa");
    w.settle();
    let modified = fs::metadata(w.full_path("one/a.jpg"))
        .unwrap()
        .modified()
        .unwrap();
    let mut file = File::create(w.full_path("one/a.jpg")).unwrap();
    file.write_all(b"bbbb").unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    w.rescan_all();
    w.settle_and_check();
}

#[test]
fn times_in_the_future_and_of_whole_seconds() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/b.jpg", "b");
    let far = SystemTime::now() + Duration::from_secs(400 * 86_400);
    let set = |w: &KeeperWorld, place: &str, to: SystemTime| {
        File::options()
            .append(true)
            .open(w.full_path(place))
            .unwrap()
            .set_modified(to)
            .unwrap();
    };
    set(&w, "one/a.jpg", far);
    set(
        &w,
        "one/b.jpg",
        SystemTime::UNIX_EPOCH + Duration::from_secs(1),
    );
    w.settle_and_check();
    w.write_file("one/a.jpg", "c");
    set(&w, "one/a.jpg", far);
    w.add_hint("one/a.jpg", HintKind::Changed);
    w.settle_and_check();
}

#[test]
fn a_writer_that_never_closes_settles() {
    let mut w = KeeperWorld::new();
    let mut file = File::create(w.full_path("one/a.jpg")).unwrap();
    w.add_hint("one/a.jpg", HintKind::Changed);
    for _ in 0..5 {
        file.write_all(b"more").unwrap();
        w.add_hint("one/a.jpg", HintKind::Changed);
        w.run_tick();
        w.advance_clock(Duration::from_millis(15));
        w.run_tick();
        assert!(w.take_events(10).is_empty(), "it is still being written");
    }
    w.settle_and_check();
    file.write_all(b"late").unwrap();
    w.add_hint("one/a.jpg", HintKind::Changed);
    w.settle_and_check();
}

#[test]
fn more_writers_than_may_wait() {
    let mut w = KeeperWorld::with_settings(|settings| settings.max_settling = 3);
    for n in 0..20 {
        fs::write(w.full_path(&format!("one/{n}.jpg")), n.to_string()).unwrap();
        w.add_hint(&format!("one/{n}.jpg"), HintKind::Changed);
    }
    w.settle_and_check();
}

/// `mv` to another file system: the copy is complete before the original is deleted.
fn move_by_copy(w: &mut KeeperWorld, from: &str, to: &str) {
    copy_with_times(w, from, to);
    w.add_hint(to, HintKind::Changed);
    w.add_hint(to, HintKind::Ready);
}

#[test]
fn a_move_to_another_file_system_keeps_the_id() {
    let mut w = KeeperWorld::with_settings(|_| {});
    w.real_time = true; // The copy's birth is by the file system's clock.
    w.write_file("one/a.jpg", "content");
    w.write_file("one/twin.jpg", "content");
    w.settle();
    w.advance_clock(Duration::from_millis(20));
    let (id, twin) = (w.id_of("one/a.jpg"), w.id_of("one/twin.jpg"));
    // The copy is indexed before the original is deleted.
    move_by_copy(&mut w, "one/a.jpg", "two/b.jpg");
    w.settle_and_check();
    assert_ne!(w.id_of("two/b.jpg"), id);
    w.remove_file("one/a.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("two/b.jpg"), id);
    // The copy was seen, and its event not sent yet.
    move_by_copy(&mut w, "two/b.jpg", "one/c.jpg");
    w.run_tick();
    w.remove_file("two/b.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/c.jpg"), id);
    // Deleting one of two files that always existed is no move.
    w.remove_file("one/c.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("one/twin.jpg"), twin);
    assert_eq!(w.embedded, 1);
}

#[test]
fn a_move_to_another_file_system_between_two_runs_keeps_the_id() {
    let mut w = KeeperWorld::new();
    for n in 0..4 {
        w.write_file(&format!("two/{n}.jpg"), "same content"); // Only their names differ.
    }
    w.write_file("one/z.jpg", "content");
    w.settle();
    let ids: Vec<_> = (0..4).map(|n| w.id_of(&format!("two/{n}.jpg"))).collect();
    let id = w.id_of("one/z.jpg");
    w.stop();
    fs::create_dir(w.full_path("one/moved")).unwrap();
    for n in [2, 0, 3, 1] {
        copy_with_times(&w, &format!("two/{n}.jpg"), &format!("one/moved/{n}.jpg"));
        fs::remove_file(w.full_path(&format!("two/{n}.jpg"))).unwrap();
    }
    copy_with_times(&w, "one/z.jpg", "one/a.jpg");
    fs::remove_file(w.full_path("one/z.jpg")).unwrap();
    w.start();
    w.settle_and_check();
    assert_eq!(w.id_of("one/a.jpg"), id);
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(w.id_of(&format!("one/moved/{n}.jpg")), id);
    }
}
