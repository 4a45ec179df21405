//! Questions about a library: what the catalog knows, one file's life, failures left alone.

use std::time::Duration;

use lookalike_bus::{CatalogPage, FileHistory, WatcherReply, WatcherRequest};

use super::world::KeeperWorld;

fn catalog_page(w: &mut KeeperWorld, after: Option<String>, limit: usize) -> CatalogPage {
    match w.send_request(0, WatcherRequest::CatalogPage { after, limit }) {
        WatcherReply::CatalogPage(page) => page,
        other => panic!("{other:?}"),
    }
}

fn file_history(w: &mut KeeperWorld, path: &str) -> Option<FileHistory> {
    let question = WatcherRequest::FileHistory {
        id: None,
        path: Some(path.into()),
    };
    match w.send_request(0, question) {
        WatcherReply::FileHistory(life) => life.map(|life| *life),
        other => panic!("{other:?}"),
    }
}

fn count_affected(
    w: &mut KeeperWorld,
    question: fn(Vec<String>, Option<String>) -> WatcherRequest,
) -> u64 {
    match w.send_request(0, question(Vec::new(), None)) {
        WatcherReply::Retried(count) | WatcherReply::Discarded(count) => count,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_catalog_is_told_in_pages_by_id() {
    let mut w = KeeperWorld::new();
    for name in ["a", "b", "c", "d", "e"] {
        w.write_file(&format!("one/{name}.jpg"), name);
    }
    w.write_file("two/elsewhere.jpg", "f");
    w.write_file("one/bad.jpg", "bad");
    w.settle_and_check();
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = catalog_page(&mut w, after, 2);
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

    w.remove_file("one/a.jpg");
    w.run_tick(Vec::new());
    let states = |page: CatalogPage| {
        let there = page.images.into_iter().map(|image| image.state);
        let mut states: Vec<_> = there.filter(|state| state != "indexed").collect();
        states.sort();
        states
    };
    assert_eq!(
        states(catalog_page(&mut w, None, 1000)),
        ["failed", "missing"]
    );
}

#[test]
fn what_the_index_lost_is_sent_again_and_no_more() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.write_file("one/b.jpg", "b");
    w.settle_and_check();
    let ids: Vec<String> = catalog_page(&mut w, None, 10)
        .images
        .into_iter()
        .map(|image| image.id)
        .collect();
    w.index.clear();
    let resend = |w: &mut KeeperWorld| {
        let ids = ids.clone();
        match w.send_request(0, WatcherRequest::Resend { ids }) {
            WatcherReply::Resent(count) => count,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(resend(&mut w), 2);
    assert_eq!(resend(&mut w), 0, "they are about to be sent");
    w.settle_and_check();
    assert_eq!(w.embedded, 2, "known content is not embedded again");
    // Nobody gets anything from what are no ids, or too many.
    for ids in [vec!["x".to_owned()], vec![ids[0].clone(); 1001]] {
        let answer = w.send_request(0, WatcherRequest::Resend { ids });
        assert!(matches!(answer, WatcherReply::Refused(_)), "{answer:?}");
    }
}

#[test]
fn a_failed_file_that_is_left_alone_is_tried_when_it_changes() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "bad");
    w.settle_and_check();
    let discard = |ids, code| WatcherRequest::Discard { ids, code };
    let retry = |ids, code| WatcherRequest::Retry { ids, code };
    assert_eq!(count_affected(&mut w, discard), 1);
    assert_eq!(w.listed_code("one/a.jpg").as_deref(), Some("discarded"));
    let counts = w.counts();
    assert_eq!((counts.failed, counts.ignored), (0, 1));
    // It stays so through comparisons and restarts, and is not one of the failed ones.
    w.rescan_all();
    w.settle();
    w.restart();
    w.settle();
    assert_eq!(w.counts().ignored, 1);
    assert_eq!(count_affected(&mut w, retry), 0);
    w.write_file("one/a.jpg", "better");
    w.settle_and_check();
    // And somebody may think otherwise.
    w.write_file("one/a.jpg", "bad again");
    w.settle_and_check();
    assert_eq!(count_affected(&mut w, discard), 1);
    let again = |ids, _| WatcherRequest::Retry {
        ids,
        code: Some("discarded".into()),
    };
    assert_eq!(count_affected(&mut w, again), 1);
    w.settle_and_check();
    assert_eq!(w.counts().failed, 1);
}

#[test]
fn a_life_tells_what_happened_and_what_is_waited_for() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.make_folder("one/.hidden");
    w.write_file("one/.hidden/b.jpg", "b");
    w.write_file("one/notes.txt", "c");
    w.settle();
    let told = file_history(&mut w, "a.jpg").unwrap();
    assert_eq!((&*told.state, &*told.waits_for), ("indexed", ""));
    let last = told.last_outcome.unwrap();
    assert_eq!((&*last.state, last.deliveries), ("indexed", 1));
    assert!(told.first_seen_ns > 0 && told.sent_ns >= told.first_seen_ns);
    assert!(last.confirmed_ns >= last.committed_ns && told.attempt == 1);

    assert_eq!(
        file_history(&mut w, "notes.txt").unwrap().code,
        "not_a_picture_name"
    );
    assert_eq!(
        file_history(&mut w, ".hidden/b.jpg").unwrap().code,
        "hidden"
    );
    assert_eq!(file_history(&mut w, "nothing.jpg"), None);
    assert_eq!(file_history(&mut w, "../one/a.jpg"), None);

    w.write_file("one/a.jpg", "other");
    w.run_tick(Vec::new());
    assert_eq!(
        file_history(&mut w, "a.jpg").unwrap().waits_for,
        "for its turn to be sent"
    );
    w.relay_outbox();
    let told = file_history(&mut w, "a.jpg").unwrap();
    assert_eq!(told.waits_for, "for an embedder to answer its event");
    w.settle();
    w.remove_file("one/a.jpg");
    w.run_tick(Vec::new());
    assert!(
        file_history(&mut w, "a.jpg")
            .unwrap()
            .waits_for
            .contains("elsewhere")
    );
    w.advance_clock(Duration::from_secs(1));
    w.settle_and_check();
    assert_eq!(
        file_history(&mut w, "a.jpg"),
        None,
        "forgotten once it is removed"
    );
}
