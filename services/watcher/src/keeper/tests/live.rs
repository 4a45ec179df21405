//! With the system's own reports of changes, lost ones included.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::KeeperWorld;
use crate::inbox::Inbox;

/// Handles reports until the index has exactly these places.
#[track_caller]
fn wait_for(w: &mut KeeperWorld, inbox: &Arc<Inbox>, places: &[&str]) {
    let given_up = Instant::now() + Duration::from_secs(20);
    loop {
        // Until nothing more is reported: the two halves of a move come from two threads.
        loop {
            let soon = Instant::now() + Duration::from_millis(50);
            let taken = inbox.wait_and_drain(4096, soon);
            assert!(taken.overflowed.is_empty());
            if taken.hints.is_empty() {
                break;
            }
            w.hints.extend(taken.hints);
        }
        w.settle();
        let mut indexed: Vec<_> = w.index.values().map(|row| row.place.as_str()).collect();
        indexed.sort_unstable();
        if indexed == places {
            return w.assert_index_equals_folder();
        }
        assert!(
            Instant::now() < given_up,
            "{indexed:?}, expected {places:?}"
        );
    }
}

#[test]
fn what_the_system_reports_is_enough() {
    // The halves of a move between libraries come from two watches, late on a busy machine.
    let mut w =
        KeeperWorld::with_settings(|settings| settings.move_timeout = Duration::from_secs(2));
    w.real_time = true;
    w.are_hints_muted = true;
    let inbox = w.keeper().inbox.clone();
    w.settle();
    w.write_file("one/a.jpg", "a");
    wait_for(&mut w, &inbox, &["one/a.jpg"]);
    let id = w.id_of("one/a.jpg");

    // Folders created and filled at once: most of these files are not reported.
    fs::create_dir_all(w.full_path("one/b/c")).unwrap();
    for n in 0..50 {
        w.write_file(&format!("one/b/c/{n}.jpg"), &n.to_string());
    }
    let mut places: Vec<String> = (0..50).map(|n| format!("one/b/c/{n}.jpg")).collect();
    places.push("one/a.jpg".into());
    places.sort();
    let borrowed: Vec<&str> = places.iter().map(String::as_str).collect();
    wait_for(&mut w, &inbox, &borrowed);

    let moved = w.id_of("one/b/c/7.jpg");
    w.rename_path("one/b", "two/b");
    w.rename_path("one/a.jpg", "one/z.jpg");
    let mut places: Vec<String> = (0..50).map(|n| format!("two/b/c/{n}.jpg")).collect();
    places.insert(0, "one/z.jpg".into());
    places.sort();
    let borrowed: Vec<&str> = places.iter().map(String::as_str).collect();
    wait_for(&mut w, &inbox, &borrowed);
    assert_eq!(
        (w.id_of("two/b/c/7.jpg"), w.id_of("one/z.jpg")),
        (moved, id)
    );

    // The target of a link is outside, and changes in it are not reported.
    fs::rename(w.full_path("two/b"), w.full_path("outside")).unwrap();
    symlink(w.full_path("outside"), w.full_path("two/b")).unwrap();
    fs::write(w.full_path("outside/c/new.jpg"), "new").unwrap();
    wait_for(&mut w, &inbox, &["one/z.jpg"]);
}
