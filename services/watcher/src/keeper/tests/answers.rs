//! Questions about a library: what the catalog knows, one file's life, failures left alone.

use std::time::Duration;

use lookalike_bus::{KnownPage, Life, WatcherAnswer, WatcherQuestion};

use super::world::World;

fn known(w: &mut World, after: Option<String>, limit: usize) -> KnownPage {
    match w.question(0, WatcherQuestion::Known { after, limit }) {
        WatcherAnswer::Known(page) => page,
        other => panic!("{other:?}"),
    }
}

fn life(w: &mut World, path: &str) -> Option<Life> {
    let question = WatcherQuestion::Life {
        id: None,
        path: Some(path.into()),
    };
    match w.question(0, question) {
        WatcherAnswer::Life(life) => life.map(|life| *life),
        other => panic!("{other:?}"),
    }
}

fn ask_about(w: &mut World, question: fn(Vec<String>, Option<String>) -> WatcherQuestion) -> u64 {
    match w.question(0, question(Vec::new(), None)) {
        WatcherAnswer::Retried(count) | WatcherAnswer::Discarded(count) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_catalog_is_told_in_pages_by_id() {
    let mut w = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        w.write(&format!("one/{name}.jpg"), name);
    }
    w.write("two/elsewhere.jpg", "f");
    w.write("one/bad.jpg", "bad");
    w.settle_and_check();
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = known(&mut w, after, 2);
        assert!(page.ready && page.images.len() <= 2);
        for image in &page.images {
            let state = if image.path == "bad.jpg" {
                "failed"
            } else {
                "indexed"
            };
            assert_eq!(image.state, state);
            assert_eq!(image.confirmed, image.generation);
            assert_eq!(image.content_hash.is_some(), state == "indexed");
            ids.push(image.id.clone());
        }
        after = ids.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(ids.len(), 6, "of this library only");
    assert!(ids.is_sorted(), "in the order of ids");

    w.remove("one/a.jpg");
    w.turn(Vec::new());
    let states = |page: KnownPage| {
        let there = page.images.into_iter().map(|image| image.state);
        let mut states: Vec<_> = there.filter(|state| state != "indexed").collect();
        states.sort();
        states
    };
    assert_eq!(states(known(&mut w, None, 1000)), ["failed", "vanished"]);
}

#[test]
fn what_the_index_lost_is_sent_again_and_no_more() {
    let mut w = World::new();
    w.write("one/a.jpg", "a");
    w.write("one/b.jpg", "b");
    w.settle_and_check();
    let ids: Vec<String> = known(&mut w, None, 10)
        .images
        .into_iter()
        .map(|image| image.id)
        .collect();
    w.index.clear();
    let resend = |w: &mut World| {
        let ids = ids.clone();
        match w.question(0, WatcherQuestion::Resend { ids }) {
            WatcherAnswer::Resent(count) => count,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(resend(&mut w), 2);
    assert_eq!(resend(&mut w), 0, "they are about to be sent");
    w.settle_and_check();
    assert_eq!(w.embedded, 2, "known content is not embedded again");
    // Nobody gets anything from what are no ids, or too many.
    for ids in [vec!["x".to_owned()], vec![ids[0].clone(); 1001]] {
        let answer = w.question(0, WatcherQuestion::Resend { ids });
        assert!(matches!(answer, WatcherAnswer::Refused(_)), "{answer:?}");
    }
}

#[test]
fn a_failed_file_that_is_left_alone_is_tried_when_it_changes() {
    let mut w = World::new();
    w.write("one/a.jpg", "bad");
    w.settle_and_check();
    let discard = |ids, code| WatcherQuestion::Discard { ids, code };
    let retry = |ids, code| WatcherQuestion::Retry { ids, code };
    assert_eq!(ask_about(&mut w, discard), 1);
    assert_eq!(w.listed("one/a.jpg").as_deref(), Some("discarded"));
    let counts = w.counts();
    assert_eq!((counts.failed, counts.ignored), (0, 1));
    // It stays so through comparisons and restarts, and is not one of the failed ones.
    w.rescan();
    w.settle();
    w.restart();
    w.settle();
    assert_eq!(w.counts().ignored, 1);
    assert_eq!(ask_about(&mut w, retry), 0);
    w.write("one/a.jpg", "better");
    w.settle_and_check();
    // And somebody may think otherwise.
    w.write("one/a.jpg", "bad again");
    w.settle_and_check();
    assert_eq!(ask_about(&mut w, discard), 1);
    let again = |ids, _| WatcherQuestion::Retry {
        ids,
        code: Some("discarded".into()),
    };
    assert_eq!(ask_about(&mut w, again), 1);
    w.settle_and_check();
    assert_eq!(w.counts().failed, 1);
}

#[test]
fn a_life_tells_what_happened_and_what_is_waited_for() {
    let mut w = World::new();
    w.write("one/a.jpg", "a");
    w.mkdir("one/.hidden");
    w.write("one/.hidden/b.jpg", "b");
    w.write("one/notes.txt", "c");
    w.settle();
    let told = life(&mut w, "a.jpg").unwrap();
    assert_eq!((&*told.state, &*told.waits_for), ("indexed", ""));
    let last = told.last.unwrap();
    assert_eq!((&*last.state, last.deliveries), ("indexed", 1));
    assert!(told.first_seen_ns > 0 && told.sent_ns >= told.first_seen_ns);
    assert!(last.confirmed_ns >= last.committed_ns && told.attempt == 1);

    assert_eq!(
        life(&mut w, "notes.txt").unwrap().code,
        "not_a_picture_name"
    );
    assert_eq!(life(&mut w, ".hidden/b.jpg").unwrap().code, "hidden");
    assert_eq!(life(&mut w, "nothing.jpg"), None);
    assert_eq!(life(&mut w, "../one/a.jpg"), None);

    w.write("one/a.jpg", "other");
    w.turn(Vec::new());
    assert_eq!(
        life(&mut w, "a.jpg").unwrap().waits_for,
        "for its turn to be sent"
    );
    w.relay();
    let told = life(&mut w, "a.jpg").unwrap();
    assert_eq!(told.waits_for, "for an embedder to answer its event");
    w.settle();
    w.remove("one/a.jpg");
    w.turn(Vec::new());
    assert!(
        life(&mut w, "a.jpg")
            .unwrap()
            .waits_for
            .contains("elsewhere")
    );
    w.pass(Duration::from_secs(1));
    w.settle_and_check();
    assert_eq!(life(&mut w, "a.jpg"), None, "forgotten once it is removed");
}
