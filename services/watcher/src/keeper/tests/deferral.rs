//! Events that a worker deferred.

use std::time::Duration;

use lookalike_proto::OutcomeState;

use super::world::{KeeperWorld, PlannedWrite};

fn deferred_state() -> OutcomeState {
    OutcomeState::Deferred {
        detail: "its mount is unavailable".into(),
    }
}

/// Waits until the relay has something to send; returns how long that took.
fn wait_for_relay(w: &mut KeeperWorld) -> Duration {
    let mut wait = Duration::ZERO;
    while w.relay_outbox() == 0 {
        w.advance_clock(Duration::from_millis(50));
        w.run_tick();
        wait += Duration::from_millis(50);
        assert!(wait < Duration::from_secs(100));
    }
    wait
}

#[test]
fn the_same_is_sent_again_less_and_less_often() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "first");
    w.run_tick();
    w.relay_outbox();
    let first = w.queue.pop_front().unwrap();
    let mut event = first.clone();
    let mut last_wait = Duration::ZERO;
    for round in 0..8 {
        let mut outcome = w.commit_write(&event, PlannedWrite::Skip(String::new()));
        outcome.state = deferred_state();
        w.store_outcome(outcome.clone());
        // Stored twice, as by a worker that is killed while it stops: the same as once.
        w.store_outcome(outcome);
        w.deliver_outcomes(10);
        let counts = w.counts();
        assert_eq!((counts.in_flight, counts.on_disk), (1, 1));
        let wait = wait_for_relay(&mut w);
        assert!(wait > last_wait, "round {round}");
        last_wait = wait;
        event = w.queue.pop_front().unwrap();
        assert!(w.queue.is_empty());
        assert_eq!(event.generation, first.generation);
        assert_eq!(event.attempt, round + 2);
    }
    assert!(w.embed_event(event));
    w.settle_and_check();
    assert_eq!(w.counts().indexed, 1);
}

#[test]
fn what_changed_meanwhile_is_sent_as_it_is_then() {
    let mut w = KeeperWorld::new();
    w.write_file("one/a.jpg", "first");
    w.run_tick();
    w.relay_outbox();
    let event = w.queue.pop_front().unwrap();
    w.write_file("one/a.jpg", "second");
    w.run_tick();
    let mut outcome = w.commit_write(&event, PlannedWrite::Skip(String::new()));
    outcome.state = deferred_state();
    w.store_outcome(outcome.clone());
    w.deliver_outcomes(10);
    wait_for_relay(&mut w);
    let newer = w.queue.pop_front().unwrap();
    assert!(newer.generation > event.generation);
    assert!(w.embed_event(newer));
    // A repeated old outcome does not concern the newer event.
    w.store_outcome(outcome);
    w.settle_and_check();
    assert_eq!(w.relay_outbox(), 0);
}
