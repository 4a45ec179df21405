//! The stream of outcomes.

use lookalike_bus::{Bus, OutcomeReader, StreamPosition};
use lookalike_proto::{LibraryName, Outcome};

use crate::{TEST_TIMEOUT, connect_bus, indexed_outcome, library, raw_jetstream};

async fn publish_all(bus: &Bus, outcomes: &[Outcome]) {
    for result in bus.publish_outcomes(outcomes).await {
        result.unwrap();
    }
}

async fn next_outcome(reader: &mut OutcomeReader) -> (StreamPosition, Outcome) {
    let next = tokio::time::timeout(TEST_TIMEOUT, reader.next_outcome());
    next.await.expect("an outcome is stored").unwrap()
}

#[tokio::test]
async fn outcomes_of_a_library_are_read_in_order_and_resumed() {
    let bus = connect_bus("outcomes").await;
    let other = LibraryName::new("other").unwrap();
    let outcomes = [indexed_outcome(1, library()), indexed_outcome(2, library())];
    publish_all(&bus, &[indexed_outcome(9, other)]).await;
    publish_all(&bus, &outcomes).await;
    let mut reader = bus.read_outcomes(&library(), None).await.unwrap();
    let (first, read) = next_outcome(&mut reader).await;
    assert_eq!(read, outcomes[0]);
    let (last, read) = next_outcome(&mut reader).await;
    assert_eq!(read, outcomes[1]);
    let end = bus.outcomes_end_position().await.unwrap();
    assert_eq!(last, end);
    assert!(first.is_within(&end) && end.stream_created_ns == reader.stream_created_ns());

    let mut resumed = bus.read_outcomes(&library(), Some(first)).await.unwrap();
    assert_eq!(
        next_outcome(&mut resumed).await,
        (last, outcomes[1].clone())
    );
}

#[tokio::test]
async fn a_recreated_stream_is_read_from_its_beginning() {
    let bus = connect_bus("recreated").await;
    let outcomes = [indexed_outcome(1, library()), indexed_outcome(2, library())];
    publish_all(&bus, &outcomes).await;
    let position = bus.outcomes_end_position().await.unwrap();
    let jetstream = raw_jetstream().await;
    jetstream.delete_stream("RECREATED_OUTCOMES").await.unwrap();
    bus.ensure_streams().await.unwrap();
    publish_all(&bus, &outcomes[1..]).await;
    let end = bus.outcomes_end_position().await.unwrap();
    assert!(!position.is_within(&end));
    let reader = bus.read_outcomes(&library(), Some(position)).await;
    let (first, read) = next_outcome(&mut reader.unwrap()).await;
    assert_eq!((first.sequence, read), (1, outcomes[1].clone()));
}

#[tokio::test]
async fn a_message_that_is_not_an_outcome_is_skipped() {
    let bus = connect_bus("skipped").await;
    let jetstream = raw_jetstream().await;
    let ack = jetstream.publish("skipped.v1.outcomes.shop", "no outcome".into());
    ack.await.unwrap().await.unwrap();
    publish_all(&bus, &[indexed_outcome(1, library())]).await;
    let mut reader = bus.read_outcomes(&library(), None).await.unwrap();
    let (position, read) = next_outcome(&mut reader).await;
    assert_eq!(
        (position.sequence, read),
        (2, indexed_outcome(1, library()))
    );
}
