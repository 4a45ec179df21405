//! Events and outcomes: late, doubled, lost, failed, and processes that die in between.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::WatcherQuestion;
use lookalike_proto::{FileEvent, Kind, State};

use super::world::{Deed, World};
use crate::inbox::{Fate, Inbox, Note};

fn with_one() -> World {
    let mut w = World::new();
    w.write("one/a.jpg", "first");
    w.settle_and_check();
    w
}

/// Changes a file and takes its event out of the queue.
fn next_event(w: &mut World, content: &str) -> FileEvent {
    w.write("one/a.jpg", content);
    w.turn(Vec::new());
    w.relay();
    w.queue.pop_front().expect("an edit is sent")
}

#[test]
fn a_slow_worker_never_has_the_last_word() {
    for is_answered_first in [true, false] {
        let mut w = with_one();
        // Two workers have the event. One is done; the other looked at the disk, and sleeps.
        let event = next_event(&mut w, "second");
        let slow = w.prepare(&event).unwrap();
        assert!(w.embed(event.clone()));
        w.deliver(10);
        let newer = next_event(&mut w, "third");
        assert!(newer.generation > event.generation);
        let done = w.prepare(&newer).unwrap();
        let done = w.commit(&newer, done);
        let late = w.commit(&event, slow); // … and writes what is no more.
        let outcomes = if is_answered_first {
            [done, late]
        } else {
            [late, done]
        };
        outcomes.into_iter().for_each(|outcome| w.tell(outcome));
        w.settle_and_check();
    }
}

#[test]
fn a_slow_worker_brings_no_deleted_image_back() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    let slow = w.prepare(&event).unwrap();
    assert!(w.embed(event.clone()));
    w.remove("one/a.jpg");
    w.settle_and_check();
    let late = w.commit(&event, slow);
    assert_eq!(w.index.len(), 1, "it is back");
    w.tell(late);
    w.settle_and_check();
}

#[test]
fn a_late_removal_is_made_good() {
    let mut w = with_one();
    w.remove("one/a.jpg");
    w.turn(Vec::new());
    w.pass(Duration::from_millis(50));
    w.turn(Vec::new());
    w.relay();
    let removal = w.queue.pop_front().unwrap();
    assert_eq!(removal.kind, Kind::Remove);
    w.write("one/a.jpg", "back");
    w.turn(Vec::new());
    let outcome = w.commit(&removal, Deed::Remove(State::Removed));
    w.tell(outcome.clone());
    w.settle_and_check();
    w.tell(outcome);
    w.settle_and_check();
}

#[test]
fn a_doubled_outcome_changes_nothing() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    let deed = w.prepare(&event).unwrap();
    let outcome = w.commit(&event, deed);
    w.tell(outcome.clone());
    w.deliver(10);
    w.tell(outcome);
    w.deliver(10);
    assert_eq!(w.relay(), 0);
    w.settle_and_check();
}

#[test]
fn superseded_is_looked_at_again_less_and_less_often() {
    // A cache of a network mount: the embedder sees something else for a while.
    let mut w = with_one();
    let mut event = next_event(&mut w, "second");
    let mut last_wait = Duration::ZERO;
    for round in 0..6 {
        let outcome = w.commit(&event, Deed::Nothing("stale".into()));
        w.tell(outcome);
        w.deliver(10);
        let mut wait = Duration::ZERO;
        while w.relay() == 0 {
            w.pass(Duration::from_millis(50));
            w.turn(Vec::new());
            wait += Duration::from_millis(50);
            assert!(wait < Duration::from_secs(100));
        }
        assert!(wait > last_wait, "round {round}");
        last_wait = wait;
        event = w.queue.pop_front().unwrap();
    }
    assert!(w.embed(event));
    w.settle_and_check();
}

#[test]
fn a_process_that_died_while_publishing() {
    for was_stored in [true, false] {
        let mut w = with_one();
        let id = w.id("one/a.jpg");
        w.write("one/a.jpg", "second");
        w.write("one/b.jpg", "b");
        w.turn(Vec::new());
        let events = w.hand_out(10);
        assert_eq!(events.len(), 2);
        if was_stored {
            w.queue.extend(events.clone());
        }
        w.stop();
        fs::remove_file(w.full("one/b.jpg")).unwrap();
        w.start();
        let again = w.hand_out(10);
        assert!(again.iter().all(|event| event.attempt == 2), "{again:?}");
        w.fail_to_publish(&again);
        w.settle_and_check();
        assert_eq!(w.id("one/a.jpg"), id);
    }
}

#[test]
fn publishing_failed_but_the_event_was_stored() {
    let mut w = World::new();
    w.write("one/a.jpg", "first");
    w.turn(Vec::new());
    let events = w.hand_out(10);
    w.queue.extend(events.clone());
    w.fail_to_publish(&events);
    // Edited, so that the next attempt is the first of its generation; and then deleted, when
    // the row is already in the index.
    w.write("one/a.jpg", "second");
    w.turn(Vec::new());
    let row = w.commit(&events[0], Deed::Upsert(stale_row(&events[0])));
    w.queue.clear();
    w.remove("one/a.jpg");
    w.settle();
    drop(row);
    w.assert_index_equals_folder();
}

fn stale_row(event: &FileEvent) -> super::world::IndexRow {
    super::world::IndexRow {
        place: format!("{}/{}", event.library, event.path),
        generation: event.generation,
        hash: lookalike_proto::ContentHash::of(b"first"),
        size: event.size,
        mtime_ns: event.mtime_ns,
    }
}

#[test]
fn a_lost_event_is_sent_again_with_another_attempt() {
    let mut w = with_one();
    let event = next_event(&mut w, "second");
    w.queue.push_back(event.clone());
    w.pass(Duration::from_millis(1));
    assert_eq!(w.look_for_overdue(), [Fate::Waiting]);
    w.queue.clear();
    w.pass(Duration::from_millis(1));
    assert_eq!(w.look_for_overdue(), [Fate::Lost]);
    w.relay();
    assert_eq!(w.queue[0].generation, event.generation);
    assert_eq!(w.queue[0].attempt, event.attempt + 1);
    w.settle_and_check();
}

#[test]
fn a_lost_event_of_a_moving_file_does_not_cost_its_id() {
    let mut w = with_one();
    let id = w.id("one/a.jpg");
    w.write("one/a.jpg", "second");
    w.turn(Vec::new());
    w.relay();
    w.queue.clear();
    fs::rename(w.full("one/a.jpg"), w.full("one/b.jpg")).unwrap();
    w.hint("one/a.jpg", crate::inbox::HintKind::Gone);
    w.turn(Vec::new());
    w.pass(Duration::from_millis(1));
    assert_eq!(w.look_for_overdue(), [Fate::Lost]);
    assert_eq!(w.relay(), 0, "it may turn up elsewhere");
    w.hint("one/b.jpg", crate::inbox::HintKind::Ready);
    w.settle_and_check();
    assert_eq!(w.id("one/b.jpg"), id);
}

#[test]
fn no_more_events_than_allowed_are_under_way() {
    let mut w = World::with(|settings| settings.max_in_flight = 5);
    for n in 0..12 {
        w.write(&format!("one/{n}.jpg"), &n.to_string());
    }
    w.turn(Vec::new());
    assert_eq!(w.relay(), 5);
    assert_eq!(w.relay(), 0);
    w.settle_and_check();
}

#[test]
fn failed_files_are_tried_again_when_asked() {
    let mut w = World::new();
    w.write("one/a.jpg", "bad");
    w.settle_and_check();
    let question = WatcherQuestion::Retry {
        ids: Vec::new(),
        code: Some("corrupt".into()),
    };
    w.question(0, question);
    assert_eq!(w.relay(), 1);
    w.settle_and_check();
}

#[test]
fn a_clock_set_back_holds_nothing_up() {
    let mut w = with_one();
    w.write("one/b.jpg", "b");
    w.settle();
    w.pass(Duration::from_secs(86_400));
    // An event under way, one delayed, and a vanished file, all of tomorrow.
    w.remove("one/b.jpg");
    let event = next_event(&mut w, "second");
    let outcome = w.commit(&event, Deed::Nothing("stale".into()));
    w.tell(outcome);
    w.deliver(10);
    w.write("one/c.jpg", "c");
    w.turn(Vec::new());
    w.relay();
    w.queue.clear();
    w.set_clock_back();
    w.settle_and_check();
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut w = with_one();
    for n in 0..300 {
        fs::write(w.full(&format!("one/{n}.jpg")), n.to_string()).unwrap();
    }
    w.keeper().catalog.fill_disk(Some(2));
    let mut failures = 0;
    for _ in 0..3 {
        w.overflown.push(0);
        for _ in 0..3 {
            failures += usize::from(w.try_turn(Vec::new()).is_err());
            w.pass(Duration::from_millis(30));
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
        fs::write(w.full(&format!("one/{n}.jpg")), n.to_string()).unwrap();
    }
    w.keeper().catalog.fill_disk(Some(0));
    let (keeper, inbox) = w.take_keeper();
    let (answer, answered) = tokio::sync::oneshot::channel();
    inbox.overflow(0);
    inbox.note(Note::Outbox(10, answer));
    let thread = std::thread::spawn(move || keeper.run());
    let _ = answered.blocking_recv(); // It has had a turn.
    let begun = std::time::Instant::now();
    inbox.note(Note::Stop);
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
    crate::catalog::make_version_1(&w.full("catalog.sqlite"));
    w.start();
    let id = w.id("one/a.jpg");
    w.rename("one/a.jpg", "two/b.jpg");
    w.settle_and_check();
    assert_eq!(w.id("two/b.jpg"), id);
    assert_eq!(w.embedded, 1);
}
