//! Events and outcomes: late, duplicated, lost, failed, and processes that die in between.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::WatcherRequest;
use lookalike_proto::{FileEvent, FileEventKind, OutcomeState};

use super::world::{KeeperWorld, PlannedWrite};
use crate::inbox::{
    EventDisposition, HintKind, Inbox, KeeperRequest, KeeperSignal, PublishedStatus,
};
use crate::library::id::LibraryId;

fn with_one() -> KeeperWorld {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "first");
    w.settle_and_check();
    w
}

/// Changes a file and takes its event out of the queue.
fn next_event(w: &mut KeeperWorld, content: &str) -> FileEvent {
    w.write_file("one/a.jpg", content);
    w.run_tick();
    w.relay_outbox();
    w.queue.pop_front().expect("an edit is sent")
}

#[test]
fn a_slow_worker_never_has_the_last_word() {
    for is_answered_first in [true, false] {
        let mut w = with_one();
        // Two workers have the event. One is done; the other read the disk and sleeps.
        let event = next_event(&mut w, "second");
        let slow = w.prepare_write(&event).unwrap();
        assert!(w.embed_event(event.clone()));
        w.deliver_outcomes(10);
        let newer = next_event(&mut w, "third");
        assert!(newer.generation > event.generation);
        let done = w.prepare_write(&newer).unwrap();
        let done = w.commit_write(&newer, done);
        let late = w.commit_write(&event, slow); // … and writes an outdated row.
        let outcomes = if is_answered_first {
            [done, late]
        } else {
            [late, done]
        };
        outcomes
            .into_iter()
            .for_each(|outcome| w.store_outcome(outcome));
        w.settle_and_check();
    }
}

#[test]
fn a_slow_worker_brings_no_deleted_image_back() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    let slow = w.prepare_write(&event).unwrap();
    assert!(w.embed_event(event.clone()));
    w.remove_file("one/a.jpg");
    w.settle_and_check();
    let late = w.commit_write(&event, slow);
    assert_eq!(w.index.len(), 1, "it is back");
    w.store_outcome(late);
    w.settle_and_check();
}

#[test]
fn a_late_removal_is_repaired() {
    let mut w = with_one();
    w.remove_file("one/a.jpg");
    w.run_tick();
    w.advance_clock(Duration::from_millis(50));
    w.run_tick();
    w.relay_outbox();
    let removal = w.queue.pop_front().unwrap();
    assert_eq!(removal.kind, FileEventKind::Remove);
    w.write_file("one/a.jpg", "back");
    w.run_tick();
    let outcome = w.commit_write(&removal, PlannedWrite::Remove(OutcomeState::Removed));
    w.store_outcome(outcome.clone());
    w.settle_and_check();
    w.store_outcome(outcome);
    w.settle_and_check();
}

#[test]
fn a_duplicate_outcome_changes_nothing() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    let deed = w.prepare_write(&event).unwrap();
    let outcome = w.commit_write(&event, deed);
    w.store_outcome(outcome.clone());
    w.deliver_outcomes(10);
    w.store_outcome(outcome);
    w.deliver_outcomes(10);
    assert_eq!(w.relay_outbox(), 0);
    w.settle_and_check();
}

#[test]
fn a_superseded_event_is_sent_again_less_and_less_often() {
    // A cache of a network mount: the embedder briefly sees another file.
    let mut w = with_one();
    let mut event = next_event(&mut w, "second");
    let mut last_wait = Duration::ZERO;
    for round in 0..6 {
        let outcome = w.commit_write(&event, PlannedWrite::Skip("stale".into()));
        w.store_outcome(outcome);
        w.deliver_outcomes(10);
        let mut wait = Duration::ZERO;
        while w.relay_outbox() == 0 {
            w.advance_clock(Duration::from_millis(50));
            w.run_tick();
            wait += Duration::from_millis(50);
            assert!(wait < Duration::from_secs(100));
        }
        assert!(wait > last_wait, "round {round}");
        last_wait = wait;
        event = w.queue.pop_front().unwrap();
    }
    assert!(w.embed_event(event));
    w.settle_and_check();
}

#[test]
fn a_process_that_died_while_publishing() {
    for was_stored in [true, false] {
        let mut w = with_one();
        let id = w.id_of("one/a.jpg");
        w.write_file("one/a.jpg", "second");
        w.write_file("one/b.jpg", "b");
        w.run_tick();
        let events = w.take_events(10);
        assert_eq!(events.len(), 2);
        if was_stored {
            w.queue.extend(events.clone());
        }
        w.stop();
        fs::remove_file(w.full_path("one/b.jpg")).unwrap();
        w.start();
        let again = w.take_events(10);
        assert!(again.iter().all(|event| event.attempt == 2), "{again:?}");
        w.fail_to_publish(&again);
        w.settle_and_check();
        assert_eq!(w.id_of("one/a.jpg"), id);
    }
}

#[test]
fn publishing_failed_but_the_event_was_stored() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "first");
    w.run_tick();
    let events = w.take_events(10);
    w.queue.extend(events.clone());
    w.fail_to_publish(&events);
    // Edited, so that the next attempt is the first of its generation. Then deleted, when the row
    // is already in the index.
    w.write_file("one/a.jpg", "second");
    w.run_tick();
    let row = w.commit_write(&events[0], PlannedWrite::Upsert(stale_row(&events[0])));
    w.queue.clear();
    w.remove_file("one/a.jpg");
    w.settle();
    drop(row);
    w.assert_index_equals_folder();
}

fn stale_row(event: &FileEvent) -> super::world::SimulatedRow {
    super::world::SimulatedRow {
        place: format!("{}/{}", event.library, event.path),
        generation: event.generation,
        hash: lookalike_proto::ContentHash::hash_content(b"first"),
        size: event.size,
        mtime_ns: event.mtime_ns,
    }
}

#[test]
fn a_lost_event_is_sent_again_with_another_attempt() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    w.queue.push_back(event.clone());
    w.advance_clock(Duration::from_millis(1));
    assert_eq!(w.check_overdue(), [EventDisposition::Pending]);
    w.queue.clear();
    w.advance_clock(Duration::from_millis(1));
    assert_eq!(w.check_overdue(), [EventDisposition::Lost]);
    w.relay_outbox();
    assert_eq!(w.queue[0].generation, event.generation);
    assert_eq!(w.queue[0].attempt, event.attempt + 1);
    w.settle_and_check();
}

#[test]
fn a_lost_event_of_a_moving_file_does_not_cost_its_id() {
    let mut w = with_one();
    let id = w.id_of("one/a.jpg");
    w.write_file("one/a.jpg", "second");
    w.run_tick();
    w.relay_outbox();
    w.queue.clear();
    fs::rename(w.full_path("one/a.jpg"), w.full_path("one/b.jpg")).unwrap();
    w.add_hint("one/a.jpg", HintKind::Gone);
    w.run_tick();
    w.advance_clock(Duration::from_millis(1));
    assert_eq!(w.check_overdue(), [EventDisposition::Lost]);
    assert_eq!(w.relay_outbox(), 0, "it may turn up elsewhere");
    w.add_hint("one/b.jpg", HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.id_of("one/b.jpg"), id);
}

#[test]
fn no_more_events_than_allowed_are_in_flight() {
    let mut w = KeeperWorld::with_settings(|settings| settings.max_in_flight = 5);
    for n in 0..12 {
        w.write_file(&format!("one/{n}.jpg"), &n.to_string());
    }
    w.run_tick();
    assert_eq!(w.relay_outbox(), 5);
    assert_eq!(w.relay_outbox(), 0);
    w.settle_and_check();
}

#[test]
fn failed_files_are_tried_again_when_asked() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "bad");
    w.settle_and_check();
    let question = WatcherRequest::Retry {
        ids: Vec::new(),
        code: Some("corrupt".into()),
    };
    w.send_request(0, question);
    assert_eq!(w.relay_outbox(), 1);
    w.settle_and_check();
}

#[test]
fn a_clock_set_back_holds_nothing_up() {
    let mut w = with_one();
    w.write_file("one/b.jpg", "b");
    w.settle();
    w.advance_clock(Duration::from_secs(86_400));
    // An event in flight, a delayed one, and a missing file, all dated tomorrow.
    w.remove_file("one/b.jpg");
    let event = next_event(&mut w, "second");
    let outcome = w.commit_write(&event, PlannedWrite::Skip("stale".into()));
    w.store_outcome(outcome);
    w.deliver_outcomes(10);
    w.write_file("one/c.jpg", "c");
    w.run_tick();
    w.relay_outbox();
    w.queue.clear();
    w.set_clock_back();
    w.settle_and_check();
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut w = with_one();
    for n in 0..300 {
        fs::write(w.full_path(&format!("one/{n}.jpg")), n.to_string()).unwrap();
    }
    w.keeper().catalog.fill_disk(Some(2));
    let mut failures = 0;
    for _ in 0..3 {
        w.lose_hints(0);
        for _ in 0..3 {
            failures += usize::from(w.try_tick().is_err());
            w.advance_clock(Duration::from_millis(30));
        }
    }
    assert!(failures > 0, "the disk was not full");
    w.keeper().catalog.fill_disk(None);
    w.settle_and_check();
}

#[test]
fn a_keeper_that_can_not_write_still_stops() {
    let mut w = with_one();
    for n in 0..300 {
        fs::write(w.full_path(&format!("one/{n}.jpg")), n.to_string()).unwrap();
    }
    w.keeper().catalog.fill_disk(Some(0));
    let (keeper, inbox) = w.take_keeper();
    let (answer, answered) = tokio::sync::oneshot::channel();
    inbox.report_overflow(LibraryId::new(0));
    inbox.push_request(KeeperRequest::TakeEvents(10, answer));
    let thread = std::thread::spawn(move || keeper.run());
    let _ = answered.blocking_recv(); // A tick has run.
    let is_reported = |statuses: &PublishedStatus| {
        let mut reasons = statuses.iter().flat_map(|status| &status.degraded);
        reasons.any(|degraded| degraded.reason == "catalog_failed")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let report = w.published.wait_for(is_reported);
        let report = tokio::time::timeout(Duration::from_secs(5), report).await;
        assert!(report.expect("the status reports it").is_ok());
    });
    let begun = std::time::Instant::now();
    inbox.push_signal(KeeperSignal::Stop);
    thread.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop::<Arc<Inbox>>(inbox);
    w.start();
    w.settle_and_check();
}

#[test]
fn a_catalog_of_the_first_version_is_taken_over() {
    let mut w = with_one();
    w.stop();
    crate::catalog::downgrade_to_version_1(&w.full_path("catalog.sqlite"));
    w.start();
    let id = w.id_of("one/a.jpg");
    w.rename_path("one/a.jpg", "two/b.jpg");
    w.settle_and_check();
    assert_eq!(w.id_of("two/b.jpg"), id);
    assert_eq!(w.embedded, 1);
}
