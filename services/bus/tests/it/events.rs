//! The stream of events, and the trials of its events.

use std::time::{Duration, Instant};

use lookalike_bus::{Bus, Delivery, Error, Intake, Settings};
use lookalike_proto::{FileEvent, Generation};
use lookalike_test_support::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    TEST_TIMEOUT, connect_bus, connect_with, file_event, image_id, raw_jetstream, test_settings,
};

async fn publish_all(bus: &Bus, events: &[FileEvent]) -> Vec<u64> {
    let results = bus.publish_events(events).await;
    results.into_iter().map(Result::unwrap).collect()
}

async fn take_all(intake: &Intake, max: usize) -> Vec<Delivery> {
    let shutdown = CancellationToken::new();
    let poll_timeout = Duration::from_millis(500);
    let taken = intake.take_events(max, poll_timeout, &shutdown).await;
    taken.unwrap()
}

#[tokio::test]
async fn an_event_is_delivered_until_it_is_acknowledged() {
    let settings = Settings {
        ack_wait: Duration::from_secs(1),
        ..test_settings("events")
    };
    let bus = connect_with(&settings).await;
    let events = [file_event(1), file_event(2)];
    let sequences = publish_all(&bus, &events).await;
    assert_eq!(sequences, [1, 2]);
    let (depth, _) = bus.queue_depth().await.unwrap();
    assert_eq!((depth.messages, depth.first_sequence), (2, 1));
    assert!(depth.bytes > 0 && depth.first_stored_ns > 0);

    let intake = bus.open_intake().await.unwrap();
    let deliveries = take_all(&intake, 10).await;
    let taken: Vec<_> = deliveries.iter().map(|d| d.event.clone()).collect();
    assert_eq!(taken, events);
    assert!(deliveries.iter().all(|delivery| delivery.deliveries == 1));
    deliveries[0].acknowledge_event().await.unwrap();
    assert!(!bus.event_is_stored(1).await.unwrap());
    assert!(bus.event_is_stored(2).await.unwrap());

    // The other one is delivered again after its deadline.
    let again = eventually("it is delivered again", TEST_TIMEOUT, || async {
        let mut deliveries = take_all(&intake, 10).await;
        deliveries.pop().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    assert_eq!((&again.event, again.deliveries), (&events[1], 2));
    again.acknowledge_event().await.unwrap();
    assert_eq!(bus.queue_depth().await.unwrap().0.messages, 0);
}

#[tokio::test]
async fn an_extended_deadline_prevents_a_second_delivery() {
    let settings = Settings {
        ack_wait: Duration::from_secs(1),
        ..test_settings("extended")
    };
    let bus = connect_with(&settings).await;
    publish_all(&bus, &[file_event(1)]).await;
    let intake = bus.open_intake().await.unwrap();
    let mut extended_at = Instant::now();
    let delivery = take_all(&intake, 1).await.remove(0);
    for _ in 0..4 {
        let pause = extended_at.elapsed();
        extended_at = Instant::now();
        delivery.extend_ack_deadline().await;
        let again = take_all(&intake, 1).await;
        if pause.max(extended_at.elapsed()) >= settings.ack_wait {
            eprintln!("SKIPPED: the machine stood still longer than the deadline");
            return;
        }
        assert!(again.is_empty());
    }
    delivery.acknowledge_event().await.unwrap();
}

#[tokio::test]
async fn duplicates_are_dropped_and_new_attempts_are_not() {
    let bus = connect_bus("duplicates").await;
    let first = file_event(1);
    let second = FileEvent {
        attempt: 2,
        ..first.clone()
    };
    publish_all(&bus, &[first.clone(), first.clone()]).await;
    assert_eq!(bus.queue_depth().await.unwrap().0.messages, 1);
    publish_all(&bus, &[second, first]).await;
    assert_eq!(bus.queue_depth().await.unwrap().0.messages, 2);
}

#[tokio::test]
async fn a_full_or_missing_stream_is_reported() {
    let settings = Settings {
        max_events_bytes: 1024,
        ..test_settings("full")
    };
    let bus = connect_with(&settings).await;
    let events: Vec<_> = (0..20).map(file_event).collect();
    let results = bus.publish_events(&events).await;
    assert!(results[0].is_ok());
    let last = results.last().unwrap();
    assert!(matches!(last, Err(Error::StreamFull)), "{last:?}");
    raw_jetstream()
        .await
        .delete_stream("FULL_EVENTS")
        .await
        .unwrap();
    let results = bus.publish_events(&events[..1]).await;
    assert!(
        matches!(results[0], Err(Error::StreamMissing)),
        "{results:?}"
    );
}

#[tokio::test]
async fn a_message_that_is_not_an_event_is_removed() {
    let bus = connect_bus("invalid").await;
    let jetstream = raw_jetstream().await;
    let ack = jetstream.publish("invalid.v1.events.shop", "no event".into());
    ack.await.unwrap().await.unwrap();
    publish_all(&bus, &[file_event(1)]).await;
    let intake = bus.open_intake().await.unwrap();
    let deliveries = take_all(&intake, 10).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].event, file_event(1));
    eventually("the message is removed", TEST_TIMEOUT, || async {
        let stored = bus.event_is_stored(1).await.unwrap();
        (!stored).then_some(()).ok_or_else(|| "stored".to_owned())
    })
    .await;
}

#[tokio::test]
async fn taking_stops_at_a_shutdown() {
    let bus = connect_bus("taking").await;
    let intake = bus.open_intake().await.unwrap();
    let shutdown = CancellationToken::new();
    let taking = intake.take_events(1, TEST_TIMEOUT, &shutdown);
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shutdown.cancel();
    };
    let (taken, ()) = tokio::join!(taking, cancelling);
    assert!(taken.unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_consumer_delivers_everything_again() {
    let bus = connect_bus("consumer").await;
    assert!(!bus.consumer_is_ahead(1).await.unwrap(), "there is none");
    publish_all(&bus, &[file_event(1), file_event(2)]).await;
    let intake = bus.open_intake().await.unwrap();
    let deliveries = take_all(&intake, 10).await;
    deliveries[0].acknowledge_event().await.unwrap();
    assert!(bus.consumer_is_ahead(1).await.unwrap());
    assert!(!bus.consumer_is_ahead(2).await.unwrap());
    bus.delete_consumer().await.unwrap();
    let intake = bus.open_intake().await.unwrap();
    let deliveries = take_all(&intake, 10).await;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(
        (&deliveries[0].event, deliveries[0].deliveries),
        (&file_event(2), 1)
    );
}

#[tokio::test]
async fn trials_count_the_workers_that_died() {
    let bus = connect_bus("trials").await;
    let (id, generation) = (image_id(1), Generation::from_u64(7));
    assert_eq!(bus.begin_trial(&id, generation).await.unwrap(), 0);
    // The worker died; so does the next one.
    assert_eq!(bus.begin_trial(&id, generation).await.unwrap(), 1);
    assert_eq!(bus.begin_trial(&id, generation).await.unwrap(), 2);
    let newer = Generation::from_u64(8);
    assert_eq!(bus.begin_trial(&id, newer).await.unwrap(), 0);
    bus.end_trial(&id, generation).await.unwrap();
    assert_eq!(bus.begin_trial(&id, generation).await.unwrap(), 0);
}
