//! Sidecars: a change of one sends its pictures again, whose content is not embedded again.

use std::fs;
use std::time::Duration;

use lookalike_proto::Generation;

use super::world::KeeperWorld;

fn with_pictures() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.make_folder("one/deep");
    for place in ["one/a.jpg", "one/a.JPG", "one/b.jpg", "one/deep/a.jpg"] {
        w.write_file(place, place);
    }
    w.settle_and_check();
    w
}

fn generations(w: &KeeperWorld, places: &[&str]) -> Vec<Generation> {
    let generation = |place: &&str| w.index[&w.id_of(place)].generation;
    places.iter().map(generation).collect()
}

/// Runs a change, and checks which rows are written again.
#[track_caller]
fn check_rewritten(w: &mut KeeperWorld, change: impl FnOnce(&mut KeeperWorld), expected: &[bool]) {
    let places = ["one/a.jpg", "one/a.JPG", "one/b.jpg", "one/deep/a.jpg"];
    let before = generations(w, &places);
    let embedded = w.embedded;
    change(w);
    w.settle_and_check();
    let after = generations(w, &places);
    let changed: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a < b).collect();
    assert_eq!(changed, expected);
    assert_eq!(w.embedded, embedded, "nothing is embedded again");
}

#[test]
fn a_changed_sidecar_writes_the_rows_of_its_pictures_again() {
    let mut w = with_pictures();
    let w = &mut w;
    let both = [true, true, false, false];
    let first = [true, false, false, false];
    check_rewritten(w, |w| w.write_file("one/a.xmp", "new"), &both);
    check_rewritten(w, |w| w.write_file("one/a.xmp", "changed"), &both);
    check_rewritten(w, |w| w.write_file("one/a.jpg.json", "{}"), &first);
    check_rewritten(w, |w| w.remove_file("one/a.jpg.json"), &first);
    check_rewritten(
        w,
        |w| w.rename_path("one/a.xmp", "one/b.xmp"),
        &[true, true, true, false],
    );
    check_rewritten(w, |w| w.write_file("one/a.txt", "notes"), &[false; 4]);
    check_rewritten(w, |w| w.write_file("one/c.xmp", "of none"), &[false; 4]);
    // Nothing changed.
    check_rewritten(w, |w| w.rescan_all(), &[false; 4]);
}

#[test]
fn a_sidecar_that_changes_between_runs_is_noticed() {
    let mut w = with_pictures();
    w.write_file("one/b.json", "{}");
    w.settle_and_check();
    let change = |w: &mut KeeperWorld| {
        w.stop();
        fs::write(w.full_path("one/b.json"), "changed").unwrap();
        w.start();
    };
    check_rewritten(&mut w, change, &[false, false, true, false]);
    let remove = |w: &mut KeeperWorld| {
        w.stop();
        fs::remove_file(w.full_path("one/b.json")).unwrap();
        w.start();
    };
    check_rewritten(&mut w, remove, &[false, false, true, false]);
}

#[test]
fn a_sidecar_that_the_embedder_saw_causes_no_event() {
    let mut w = KeeperWorld::new();
    w.are_hints_muted = true;
    w.write_file("one/b.json", "{}");
    // The picture is sent long after the sidecar was written, and listed before it.
    w.advance_clock(Duration::from_secs(60));
    w.are_hints_muted = false;
    w.write_file("one/b.jpg", "picture");
    w.settle();
    let generation = generations(&w, &["one/b.jpg"]);
    w.rescan_all();
    w.settle_and_check();
    assert_eq!(
        w.listed_code("one/b.json").as_deref(),
        Some("not_a_picture_name")
    );
    assert_eq!(generations(&w, &["one/b.jpg"]), generation);
}
