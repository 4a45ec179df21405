//! Events that a worker could not do at the moment.

use std::time::Duration;

use lookalike_proto::State;

use super::world::{Deed, World};

fn put_off() -> State {
    State::PutOff {
        detail: "its mount is away".into(),
    }
}

/// Until the relay has something to send; how long that took.
fn wait_for_relay(w: &mut World) -> Duration {
    let mut wait = Duration::ZERO;
    while w.relay() == 0 {
        w.pass(Duration::from_millis(50));
        w.turn(Vec::new());
        wait += Duration::from_millis(50);
        assert!(wait < Duration::from_secs(100));
    }
    wait
}

#[test]
fn the_same_is_sent_again_less_and_less_often() {
    let mut w = World::new();
    w.write("one/a.jpg", "first");
    w.turn(Vec::new());
    w.relay();
    let first = w.queue.pop_front().unwrap();
    let mut event = first.clone();
    let mut last_wait = Duration::ZERO;
    for round in 0..8 {
        let mut outcome = w.commit(&event, Deed::Nothing(String::new()));
        outcome.state = put_off();
        w.tell(outcome.clone());
        // Told twice, as by a worker that is cut off while it leaves: the same as once.
        w.tell(outcome);
        w.deliver(10);
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
    assert!(w.embed(event));
    w.settle_and_check();
    assert_eq!(w.counts().indexed, 1);
}

#[test]
fn what_changed_meanwhile_is_sent_as_it_is_then() {
    let mut w = World::new();
    w.write("one/a.jpg", "first");
    w.turn(Vec::new());
    w.relay();
    let event = w.queue.pop_front().unwrap();
    w.write("one/a.jpg", "second");
    w.turn(Vec::new());
    let mut outcome = w.commit(&event, Deed::Nothing(String::new()));
    outcome.state = put_off();
    w.tell(outcome.clone());
    w.deliver(10);
    wait_for_relay(&mut w);
    let newer = w.queue.pop_front().unwrap();
    assert!(newer.generation > event.generation);
    assert!(w.embed(newer));
    // An old one that comes once more says nothing about the newer one.
    w.tell(outcome);
    w.settle_and_check();
    assert_eq!(w.relay(), 0);
}
