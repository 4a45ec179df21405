//! Files of which only rights, link count or attributes changed: no row is rewritten, and new
//! pictures go first.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lookalike_bus::{WatcherReply, WatcherRequest};

use super::world::KeeperWorld;
use crate::inbox::HintKind;

fn set_mode(w: &KeeperWorld, place: &str, mode: u32) {
    fs::set_permissions(w.full_path(place), Permissions::from_mode(mode)).unwrap();
}

fn what_it_waits_for(w: &mut KeeperWorld, path: &str) -> String {
    let request = WatcherRequest::FileHistory {
        id: None,
        path: Some(path.into()),
    };
    match w.send_request(0, request) {
        WatcherReply::FileHistory(Some(history)) => history.waits_for,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn other_rights_of_many_files_rewrite_nothing_and_delay_no_new_picture() {
    const FILES: usize = 2000;
    let mut w = KeeperWorld::new();
    w.make_folder("one/tree");
    for n in 0..FILES {
        w.write_file(&format!("one/tree/{n}.jpg"), &n.to_string());
    }
    w.settle_and_check();
    let before = w.index.clone();
    let chmod = Command::new("chmod")
        .args(["-R", "o-r"])
        .arg(w.full_path("one/tree"))
        .status();
    assert!(chmod.unwrap().success());
    for n in 0..FILES {
        w.add_hint(&format!("one/tree/{n}.jpg"), HintKind::Changed);
    }
    w.write_file("one/tree/new.jpg", "new");
    w.run_tick();
    let events = w.take_events(FILES);
    let paths: Vec<_> = events.iter().map(|event| event.path.as_str()).collect();
    assert_eq!(paths, ["tree/new.jpg"], "only the new picture is sent");
    w.publish_events(events);
    let waits_for = what_it_waits_for(&mut w, "tree/7.jpg");
    assert!(waits_for.contains("new pictures go first"), "{waits_for}");
    // Nor does a scan send them, before or after they are compared.
    w.rescan_all();
    w.settle_and_check();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.embedded, FILES + 1);
    let mut after = w.index.clone();
    after.retain(|id, _| before.contains_key(id));
    assert_eq!(after, before, "every row has its old generation");
    assert_eq!(w.compare_contents(), 0, "each file was compared once");
    assert_eq!(what_it_waits_for(&mut w, "tree/7.jpg"), "");
}

#[test]
fn links_and_times_of_access_rewrite_nothing() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/broken.jpg", "bad");
    w.settle_and_check();
    let before = w.index.clone();
    // A backup program links the file to another place, with or without a report.
    fs::hard_link(w.full_path("one/a.jpg"), w.full_path("backup.jpg")).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.index, before);
    // `touch -a` opens the file for writing, so that it looks written.
    for file in ["one/a.jpg", "one/broken.jpg"] {
        let touch = Command::new("touch")
            .arg("-a")
            .arg(w.full_path(file))
            .status();
        assert!(touch.unwrap().success());
        w.add_hint(file, HintKind::Ready);
    }
    w.settle_and_check();
    assert_eq!(w.index, before);
    // A file linked into the library is another image with known content.
    fs::hard_link(w.full_path("one/a.jpg"), w.full_path("one/copy.jpg")).unwrap();
    w.add_hint("one/copy.jpg", HintKind::Changed);
    w.settle_and_check();
    assert_eq!((w.index.len(), w.embedded), (2, 1));
    let id = w.id_of("one/a.jpg");
    assert_eq!(w.index[&id], before[&id]);
}

#[test]
fn a_write_that_sets_the_time_back_is_noticed() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "before");
    w.settle_and_check();
    let id = w.id_of("one/a.jpg");
    let modified = fs::metadata(w.full_path("one/a.jpg")).unwrap().modified();
    fs::write(w.full_path("one/a.jpg"), "behind").unwrap();
    let file = File::options().write(true).open(w.full_path("one/a.jpg"));
    file.unwrap().set_modified(modified.unwrap()).unwrap();
    w.add_hint("one/a.jpg", HintKind::Ready);
    w.settle_and_check();
    assert_eq!((w.id_of("one/a.jpg"), w.embedded), (id, 2));
}

#[test]
fn what_changes_during_its_comparison_is_observed_again() {
    let mut w = KeeperWorld::new();
    let places: BTreeMap<_, _> = ["edited", "deleted", "moved"]
        .map(|name| (name, format!("one/{name}.jpg")))
        .into();
    for (name, place) in &places {
        w.write_file(place, name);
    }
    w.settle_and_check();
    for place in places.values() {
        set_mode(&w, place, 0o600);
        w.add_hint(place, HintKind::Changed);
    }
    w.run_tick();
    w.write_file(&places["edited"], "edited again");
    w.remove_file(&places["deleted"]);
    w.rename_path(&places["moved"], "two/moved.jpg");
    w.settle_and_check();
    assert_eq!(w.index.len(), 2);
    // Changed without a report, after it was queued.
    set_mode(&w, &places["edited"], 0o644);
    w.add_hint(&places["edited"], HintKind::Changed);
    w.run_tick();
    fs::write(w.full_path(&places["edited"]), "a third time").unwrap();
    w.settle_and_check();
}
