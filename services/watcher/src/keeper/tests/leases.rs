//! One watcher per library: standby, activation, and lost catalogs.

use std::fs;
use std::time::Duration;

use super::world::KeeperWorld;

#[test]
fn a_watcher_on_standby_does_nothing_and_then_takes_over() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/b.jpg", "b");
    w.settle_and_check();
    w.enter_standby(0);
    assert!(w.published.borrow()[0].standby);
    // Meanwhile another watcher works on the library.
    w.write_file("one/a.jpg", "changed");
    w.remove_file("one/b.jpg");
    w.write_file("one/c.jpg", "new");
    w.write_file("two/d.jpg", "of a library that is held");
    w.rescan_all();
    for _ in 0..20 {
        w.run_tick();
        w.advance_clock(Duration::from_secs(1));
    }
    let events = w.take_events(100);
    let libraries: Vec<_> = events.iter().map(|event| event.library.as_str()).collect();
    assert_eq!(libraries, ["two"]);
    w.publish_events(events);
    w.activate_library(0);
    w.settle_and_check();
    assert!(!w.published.borrow()[0].standby);
}

#[test]
fn a_lost_catalog_gets_its_ids_back() {
    let mut w = KeeperWorld::new();
    for name in ["stays", "moves", "moves-unseen", "goes", "changes"] {
        w.write_file(&format!("one/{name}.jpg"), name);
    }
    w.write_file("two/crosses.jpg", "crosses");
    w.settle_and_check();
    // Ids that do not derive from the files' current paths.
    w.rename_path("one/moves.jpg", "one/moved.jpg");
    w.rename_path("two/crosses.jpg", "one/crossed.jpg");
    w.settle_and_check();
    let find_id = |w: &KeeperWorld, place: &str| {
        let mut rows = w.index.iter().filter(|(_, row)| row.place == place);
        *rows.next().unwrap_or_else(|| panic!("no {place}")).0
    };
    let places = ["stays", "moved", "moves-unseen", "changes", "crossed"];
    let before = places.map(|name| find_id(&w, &format!("one/{name}.jpg")));
    let embedded = w.embedded;

    lose_catalog(&mut w);
    w.rename_path("one/moves-unseen.jpg", "one/elsewhere.jpg");
    w.remove_file("one/goes.jpg");
    w.write_file("one/changes.jpg", "changed meanwhile");
    w.start_with_lost_catalog();
    w.settle_and_check();
    let places = ["stays", "moved", "elsewhere", "changes", "crossed"];
    let after = places.map(|name| find_id(&w, &format!("one/{name}.jpg")));
    assert_eq!(after, before, "images keep their ids");
    assert_eq!(w.embedded, embedded + 1, "only what changed is embedded");
}

#[test]
fn a_restored_catalog_catches_up() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/b.jpg", "b");
    w.settle_and_check();
    w.stop();
    let file = w.dir.path().join("catalog.sqlite");
    let old = fs::read(&file).unwrap();
    w.start();
    w.write_file("one/a.jpg", "edited");
    w.rename_path("one/b.jpg", "one/c.jpg");
    w.write_file("one/d.jpg", "new");
    w.settle_and_check();
    w.stop();
    let _ = fs::remove_file(w.dir.path().join("catalog.sqlite-wal"));
    fs::write(&file, old).unwrap();
    w.start_with_lost_catalog();
    w.settle_and_check();
}

#[test]
fn a_root_that_was_never_seen_removes_no_imported_rows() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/b.jpg", "b");
    w.settle_and_check();
    lose_catalog(&mut w);
    // The mount is gone: an empty folder is at the root.
    let (root, away) = (w.full_path("one"), w.dir.path().join("away"));
    fs::rename(&root, &away).unwrap();
    fs::create_dir(&root).unwrap();
    w.start_with_lost_catalog();
    w.settle();
    w.advance_clock(Duration::from_secs(3600));
    w.settle();
    assert_eq!(w.index.len(), 2);
    assert_eq!(w.degraded(), ["root_missing"]);
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(w.embedded, 2, "nothing is embedded again");
}

#[test]
fn the_library_of_another_watcher_is_no_source_of_moves() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "same");
    w.settle_and_check();
    let id = w.id_of("one/a.jpg");
    // Another watcher holds `one`, and moved the image there.
    w.enter_standby(0);
    fs::rename(w.full_path("one/a.jpg"), w.full_path("one/b.jpg")).unwrap();
    w.write_file("two/copy.jpg", "same");
    w.settle();
    assert_ne!(w.id_of("two/copy.jpg"), id, "a copy is an image of its own");
}

#[test]
fn a_returning_watcher_imports_what_was_moved_meanwhile() {
    let mut w = KeeperWorld::new();
    w.write_file("one/latest.jpg", "first");
    w.settle_and_check();
    let first = w.id_of("one/latest.jpg");
    w.stop();
    let file = w.dir.path().join("catalog.sqlite");
    let old = fs::read(&file).unwrap();
    w.start();
    // While another watcher holds the library, the name goes to a new picture.
    w.rename_path("one/latest.jpg", "one/001.jpg");
    w.settle_and_check();
    w.write_file("one/latest.jpg", "second");
    w.settle_and_check();
    let second = w.id_of("one/latest.jpg");
    assert_eq!(w.id_of("one/001.jpg"), first);
    w.stop();
    let _ = fs::remove_file(w.dir.path().join("catalog.sqlite-wal"));
    fs::write(&file, old).unwrap();
    w.start_with_lost_catalog();
    w.settle_and_check();
    assert_eq!(
        (w.id_of("one/001.jpg"), w.id_of("one/latest.jpg")),
        (first, second)
    );
}

fn lose_catalog(w: &mut KeeperWorld) {
    w.stop();
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let _ = fs::remove_file(w.dir.path().join(file));
    }
}
