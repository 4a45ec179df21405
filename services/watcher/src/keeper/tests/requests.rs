//! Requests to a library: the catalog's content, one file's history, discarded failures.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use lookalike_bus::{CatalogPage, FileHistory, WatcherReply, WatcherRequest};

use super::world::KeeperWorld;
use crate::inbox::HintKind;

fn catalog_page(w: &mut KeeperWorld, after: Option<String>, limit: usize) -> CatalogPage {
    match w.send_request(0, WatcherRequest::CatalogPage { after, limit }) {
        WatcherReply::CatalogPage(page) => page,
        reply => panic!("{reply:?}"),
    }
}

fn file_history(w: &mut KeeperWorld, path: &str) -> Option<FileHistory> {
    let request = WatcherRequest::FileHistory {
        id: None,
        path: Some(path.into()),
    };
    match w.send_request(0, request) {
        WatcherReply::FileHistory(life) => life.map(|life| *life),
        reply => panic!("{reply:?}"),
    }
}

fn count_affected(
    w: &mut KeeperWorld,
    request: fn(Vec<String>, Option<String>) -> WatcherRequest,
) -> u64 {
    match w.send_request(0, request(Vec::new(), None)) {
        WatcherReply::Retried(count) | WatcherReply::Discarded(count) => count,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn the_catalog_is_sent_in_pages_by_id() {
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
    w.run_tick();
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
fn only_what_the_index_lost_is_sent_again() {
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
            reply => panic!("{reply:?}"),
        }
    };
    assert_eq!(resend(&mut w), 2);
    assert_eq!(resend(&mut w), 0, "they are about to be sent");
    w.settle_and_check();
    assert_eq!(w.embedded, 2, "known content is not embedded again");
    // Invalid ids and too many ids are refused.
    for ids in [vec!["x".to_owned()], vec![ids[0].clone(); 1001]] {
        let reply = w.send_request(0, WatcherRequest::Resend { ids });
        assert!(matches!(reply, WatcherReply::Refused(_)), "{reply:?}");
    }
}

#[test]
fn a_discarded_file_is_tried_again_when_it_changes() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "bad");
    w.settle_and_check();
    let discard = |ids, code| WatcherRequest::Discard { ids, code };
    let retry = |ids, code| WatcherRequest::Retry { ids, code };
    assert_eq!(count_affected(&mut w, discard), 1);
    assert_eq!(w.listed_code("one/a.jpg").as_deref(), Some("discarded"));
    let counts = w.counts();
    assert_eq!((counts.failed, counts.ignored), (0, 1));
    // It stays discarded through scans and restarts, and does not count as failed.
    w.rescan_all();
    w.settle();
    w.restart();
    w.settle();
    assert_eq!(w.counts().ignored, 1);
    assert_eq!(count_affected(&mut w, retry), 0);
    w.write_file("one/a.jpg", "better");
    w.settle_and_check();
    // A user can also request a retry.
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
fn a_history_reports_what_happened_and_what_is_waited_for() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "a");
    w.make_folder("one/.hidden");
    w.write_file("one/.hidden/b.jpg", "b");
    w.write_file("one/notes.txt", "c");
    w.settle();
    let history = file_history(&mut w, "a.jpg").unwrap();
    assert_eq!((&*history.state, &*history.waits_for), ("indexed", ""));
    let last = history.last_outcome.unwrap();
    assert_eq!((&*last.state, last.deliveries), ("indexed", 1));
    assert!(history.first_seen_ns > 0 && history.sent_ns >= history.first_seen_ns);
    assert!(last.confirmed_ns >= last.committed_ns && history.attempt == 1);

    assert_eq!(
        file_history(&mut w, "notes.txt").unwrap().code,
        "not_a_picture_name"
    );
    assert_eq!(
        file_history(&mut w, ".hidden/b.jpg").unwrap().code,
        "hidden"
    );
    let history = file_history(&mut w, "@eaDir/b.jpg").unwrap();
    assert_eq!(history.code, "system_folder");
    assert!(history.detail.contains("@eaDir"), "{history:?}");
    assert_eq!(file_history(&mut w, "nothing.jpg"), None);
    assert_eq!(file_history(&mut w, "../one/a.jpg"), None);

    w.write_file("one/a.jpg", "other");
    w.run_tick();
    assert_eq!(
        file_history(&mut w, "a.jpg").unwrap().waits_for,
        "to be sent"
    );
    w.relay_outbox();
    let history = file_history(&mut w, "a.jpg").unwrap();
    assert_eq!(history.waits_for, "for an embedder to handle its event");
    w.settle();
    w.remove_file("one/a.jpg");
    w.run_tick();
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

#[test]
fn names_that_are_not_utf8_are_found_as_lists_write_them() {
    let mut w = KeeperWorld::new();
    for name in [&b"one/caf\xe9.jpg"[..], b"one/caf\xe8.jpg"] {
        std::fs::write(w.dir.path().join(OsStr::from_bytes(name)), "a").unwrap();
        w.add_hint_bytes(name, HintKind::Ready);
    }
    // A name that really contains what would be an escape, and one with a control character.
    w.write_file(r"one/a\xe9.jpg", "b");
    w.write_file("one/new\nline.jpg", "c");
    w.settle_and_check();
    for (path, state) in [
        (r"caf\xe9.jpg", "ignored"),
        (r"caf\xe8.jpg", "ignored"),
        (r"a\xe9.jpg", "indexed"),
        (r"new\nline.jpg", "indexed"),
        ("new\nline.jpg", "indexed"),
    ] {
        let history = file_history(&mut w, path).unwrap();
        assert_eq!(history.state, state, "{path}");
        let expected = path.replace(r"\n", "\n");
        assert_eq!(history.path, expected, "a list writes it the same way");
    }
    assert_eq!(file_history(&mut w, r"caf\xea.jpg"), None);
    assert_eq!(file_history(&mut w, "caf\u{fffd}.jpg"), None);
}
