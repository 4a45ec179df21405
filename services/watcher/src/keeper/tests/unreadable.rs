//! Places that the system does not let the watcher read, and paths that are too long for it. They
//! are listed and counted, and nothing else is affected.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::world::KeeperWorld;
use crate::inbox::HintKind;

/// Gives this thread the rights of another user, if it has those of root, and makes the folders of
/// the test accessible to all.
fn world_without_privileges() -> KeeperWorld {
    let mut w = KeeperWorld::with_settings(|_| {});
    let roots = w.roots.iter().map(|(_, root)| root.as_path());
    for folder in roots.chain([w.dir.path()]) {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    // The catalog is opened again after a restart.
    let catalog = w.dir.path().join("catalog.sqlite");
    fs::set_permissions(catalog, Permissions::from_mode(0o666)).unwrap();
    set_file_user(65_534);
    w.settle();
    w
}

/// Sets the user whose rights count when this thread opens files.
fn set_file_user(user: u32) {
    // SAFETY: the argument is a number; the call affects the calling thread only.
    unsafe { libc::setfsuid(user) };
}

fn set_mode(w: &KeeperWorld, place: &str, mode: u32) {
    // Only the owner may change rights, also of folders that this test made.
    fs::set_permissions(w.full_path(place), Permissions::from_mode(mode)).unwrap();
}

fn detail(w: &KeeperWorld) -> String {
    let published = w.published.borrow();
    let degraded = published.iter().flat_map(|library| &library.degraded);
    degraded.map(|d| d.detail.as_str()).collect()
}

/// Waits for the next check of places that could not be read.
fn wait_for_check(w: &mut KeeperWorld) {
    w.advance_clock(Duration::from_secs(3));
    w.settle();
}

fn on_disk(w: &mut KeeperWorld) -> u64 {
    let counts = w.counts();
    assert_eq!(
        counts.on_disk,
        counts.indexed + counts.failed + counts.ignored
    );
    counts.on_disk
}

/// The full scans of these tests check that the catalog has as many files as they found: a debug
/// assertion of the keeper fails otherwise.
#[test]
fn a_folder_that_can_not_be_listed_is_listed_itself() {
    let mut w = world_without_privileges();
    w.make_folder("one/closed/deep");
    w.write_file("one/closed/a.jpg", "a");
    w.write_file("one/closed/deep/b.jpg", "b");
    w.write_file("one/open.jpg", "open");
    w.settle_and_check();
    set_mode(&w, "one/closed", 0o000);
    w.rescan_all();
    w.settle();
    assert_eq!(w.degraded(), ["unreadable"]);
    assert!(
        detail(&w).contains("closed cannot be read"),
        "{}",
        detail(&w)
    );
    let failure = w.find_failure("one/closed").expect("it is listed");
    assert_eq!(failure.code, "unreadable");
    assert!(failure.detail.contains("Permission denied"), "{failure:?}");
    assert_eq!(w.index.len(), 3, "what was indexed stays");
    assert_eq!(on_disk(&mut w), 4);
    // The rest of the library is unaffected.
    w.write_file("one/new.jpg", "new");
    w.settle();
    w.rescan_all();
    w.settle();
    assert_eq!((w.index.len(), on_disk(&mut w)), (4, 5));
    // A restart finds the same.
    w.restart();
    w.settle();
    assert_eq!(
        (w.degraded(), on_disk(&mut w)),
        (vec!["unreadable".into()], 5)
    );
    w.rescan_all();
    w.settle();
    assert_eq!(on_disk(&mut w), 5);
    // The system reports a change of the rights, …
    set_mode(&w, "one/closed", 0o755);
    w.add_hint("one/closed", HintKind::Changed);
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.listed_code("one/closed"), None);
    // … but not that its user joined a group: then it is noticed within seconds.
    set_mode(&w, "one/closed", 0o000);
    w.rescan_all();
    w.settle();
    assert_eq!(w.degraded(), ["unreadable"]);
    wait_for_check(&mut w);
    assert_eq!(w.degraded(), ["unreadable"]);
    set_mode(&w, "one/closed", 0o755);
    wait_for_check(&mut w);
    assert_eq!(w.degraded(), [""; 0]);
    w.settle_and_check();
    // Nor that it is gone, if that report was lost.
    set_mode(&w, "one/closed", 0o000);
    w.rescan_all();
    w.settle();
    set_file_user(0);
    fs::rename(w.full_path("one/closed"), w.dir.path().join("gone")).unwrap();
    set_file_user(65_534);
    wait_for_check(&mut w);
    w.settle_and_check();
    assert_eq!((w.degraded(), w.index.len()), (vec![], 2));
    set_file_user(0);
}

#[test]
fn files_in_a_folder_that_may_be_listed_but_not_entered_are_listed() {
    let mut w = world_without_privileges();
    w.make_folder("one/names/sub");
    w.write_file("one/names/old.jpg", "old");
    w.settle_and_check();
    w.write_file("one/names/new.jpg", "new");
    w.write_file("one/names/notes.txt", "text");
    w.write_file("one/names/sub/inner.jpg", "inner");
    w.hints.clear();
    set_mode(&w, "one/names", 0o444);
    w.rescan_all();
    w.settle();
    assert_eq!(w.degraded(), ["unreadable"]);
    let failure = w.find_failure("one/names/new.jpg").expect("it is listed");
    assert_eq!(failure.code, "unreadable");
    assert!(failure.detail.contains("not entered"), "{failure:?}");
    let sub = w.listed_code("one/names/sub");
    assert_eq!(sub.as_deref(), Some("unreadable"));
    let notes = w.listed_code("one/names/notes.txt");
    assert_eq!(notes.as_deref(), Some("not_a_picture_name"));
    assert_eq!((w.index.len(), on_disk(&mut w)), (1, 4));
    w.rescan_all();
    w.settle();
    assert_eq!((w.index.len(), on_disk(&mut w)), (1, 4));
    // Another user adds a file, which is reported.
    set_mode(&w, "one/names", 0o755);
    fs::write(w.full_path("one/names/late.jpg"), "late").unwrap();
    set_mode(&w, "one/names", 0o444);
    w.add_hint("one/names/late.jpg", HintKind::Ready);
    w.settle();
    let late = w.listed_code("one/names/late.jpg");
    assert_eq!(late.as_deref(), Some("unreadable"));
    wait_for_check(&mut w);
    assert_eq!(w.degraded(), ["unreadable"]);
    set_mode(&w, "one/names", 0o755);
    wait_for_check(&mut w);
    w.settle_and_check();
    assert_eq!((w.degraded(), w.index.len()), (vec![], 4));
    set_file_user(0);
}

/// Makes folders below `start` whose full path is longer than the system accepts, as programs do
/// that open each folder relative to the one above; returns the last one, open.
fn make_deep_folders(start: PathBuf, name: &str, count: usize) -> File {
    fs::create_dir_all(&start).unwrap();
    let mut folder = File::open(start).unwrap();
    for _ in 0..count {
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        fs::create_dir(&path).unwrap();
        folder = File::open(path).unwrap();
    }
    folder
}

#[test]
fn folders_below_the_longest_path_are_listed_where_it_ends() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    let name = "n".repeat(200);
    let deepest = make_deep_folders(w.full_path("one/deep"), &name, 30);
    let in_deepest = format!("/proc/self/fd/{}/a.jpg", deepest.as_raw_fd());
    fs::write(in_deepest, "too deep").unwrap();
    w.add_hint("one/deep", HintKind::Changed);
    w.settle();
    let listed_depth = |w: &mut KeeperWorld| {
        let path = |depth: usize| format!("one/deep{}", format!("/{name}").repeat(depth));
        let depths = (1..=30).filter(|depth| w.listed_code(&path(*depth)).is_some());
        depths.collect::<Vec<_>>()
    };
    let depths = listed_depth(&mut w);
    assert_eq!(depths.len(), 1, "{depths:?}");
    let place = format!("one/deep{}", format!("/{name}").repeat(depths[0]));
    let failure = w.find_failure(&place).unwrap();
    assert_eq!(failure.code, "unusable_name");
    assert!(failure.detail.contains("shorter path"), "{failure:?}");
    assert_eq!((w.index.len(), on_disk(&mut w)), (1, 2));
    assert_eq!(w.degraded(), [""; 0], "it is no fault of the watcher");
    for _ in 0..2 {
        w.rescan_all();
        w.settle();
        assert_eq!(on_disk(&mut w), 2);
    }
    // A file whose own path is too long, in a folder whose path is not.
    let above = w.full_path(&format!(
        "one/deep{}",
        format!("/{name}").repeat(depths[0] - 1)
    ));
    let folder = File::open(above).unwrap();
    let long = format!("{}.jpg", "x".repeat(250));
    fs::write(format!("/proc/self/fd/{}/{long}", folder.as_raw_fd()), "x").unwrap();
    let place = format!(
        "one/deep{}/{long}",
        format!("/{name}").repeat(depths[0] - 1)
    );
    w.add_hint(&place, HintKind::Ready);
    w.settle();
    assert_eq!(w.listed_code(&place).as_deref(), Some("unusable_name"));
    w.rescan_all();
    w.settle();
    assert_eq!((w.index.len(), on_disk(&mut w)), (1, 3));
    // Shorter, it is entered; the rest of the library never was affected.
    w.rename_path("one/deep", "one/d");
    w.settle();
    w.write_file("one/b.jpg", "b");
    w.settle();
    assert_eq!(w.index.len(), 2);
    fs::rename(w.full_path("one/d"), w.dir.path().join("gone")).unwrap();
    w.add_hint("one/d", HintKind::Gone);
    w.settle_and_check();
    assert_eq!(on_disk(&mut w), 2);
}
