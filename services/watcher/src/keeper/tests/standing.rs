//! One watcher a library: standing by, taking over, and catalogs that were lost.

use std::fs;
use std::time::Duration;

use super::world::World;

#[test]
fn whoever_stands_by_does_nothing_and_then_takes_over() {
    let mut w = World::new();
    w.write("one/a.jpg", "a");
    w.write("one/b.jpg", "b");
    w.settle_and_check();
    w.stand_by(0);
    assert!(w.shown.borrow()[0].standby);
    // What happens meanwhile is another watcher's business.
    w.write("one/a.jpg", "changed");
    w.remove("one/b.jpg");
    w.write("one/c.jpg", "new");
    w.write("two/d.jpg", "of a library that is held");
    w.rescan();
    for _ in 0..20 {
        w.turn(Vec::new());
        w.pass(Duration::from_secs(1));
    }
    let events = w.hand_out(100);
    let libraries: Vec<_> = events.iter().map(|event| event.library.as_str()).collect();
    assert_eq!(libraries, ["two"]);
    w.publish(events);
    w.activate(0);
    w.settle_and_check();
    assert!(!w.shown.borrow()[0].standby);
}

#[test]
fn a_lost_catalog_gets_its_ids_back() {
    let mut w = World::new();
    for name in ["stays", "moves", "moves-unseen", "goes", "changes"] {
        w.write(&format!("one/{name}.jpg"), name);
    }
    w.write("two/crosses.jpg", "crosses");
    w.settle_and_check();
    // Ids that do not come from where the files lie now.
    w.rename("one/moves.jpg", "one/moved.jpg");
    w.rename("two/crosses.jpg", "one/crossed.jpg");
    w.settle_and_check();
    let id_of = |w: &World, place: &str| {
        let mut rows = w.index.iter().filter(|(_, row)| row.place == place);
        *rows.next().unwrap_or_else(|| panic!("no {place}")).0
    };
    let places = ["stays", "moved", "moves-unseen", "changes", "crossed"];
    let before = places.map(|name| id_of(&w, &format!("one/{name}.jpg")));
    let embedded = w.embedded;

    w.stop();
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let _ = fs::remove_file(w.dir.path().join(file));
    }
    w.rename("one/moves-unseen.jpg", "one/elsewhere.jpg");
    w.remove("one/goes.jpg");
    w.write("one/changes.jpg", "changed meanwhile");
    w.start_with_lost_catalog();
    w.settle_and_check();
    let places = ["stays", "moved", "elsewhere", "changes", "crossed"];
    let after = places.map(|name| id_of(&w, &format!("one/{name}.jpg")));
    assert_eq!(after, before, "images keep their ids");
    assert_eq!(w.embedded, embedded + 1, "only what changed is embedded");
}

#[test]
fn a_catalog_that_was_put_back_learns_what_it_missed() {
    let mut w = World::new();
    w.write("one/a.jpg", "a");
    w.write("one/b.jpg", "b");
    w.settle_and_check();
    w.stop();
    let file = w.dir.path().join("catalog.sqlite");
    let old = fs::read(&file).unwrap();
    w.start();
    w.write("one/a.jpg", "edited");
    w.rename("one/b.jpg", "one/c.jpg");
    w.write("one/d.jpg", "new");
    w.settle_and_check();
    w.stop();
    let _ = fs::remove_file(w.dir.path().join("catalog.sqlite-wal"));
    fs::write(&file, old).unwrap();
    w.start_with_lost_catalog();
    w.settle_and_check();
}
