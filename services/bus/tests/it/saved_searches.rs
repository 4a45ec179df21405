//! Saved searches, their matches and their queues.

use std::time::Duration;

use lookalike_bus::{Bus, Error, MatchRecord, SavedSearchLimits};
use tokio_util::sync::CancellationToken;

use crate::{TEST_TIMEOUT, connect_bus, image_id, indexed_outcome, library};

const SEARCH: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

async fn bus_with_searches(namespace: &str) -> Bus {
    let bus = connect_bus(namespace).await;
    let limits = SavedSearchLimits {
        max_bytes: 256 << 10,
        max_matches_bytes: 256 << 10,
        max_match_age: Duration::from_secs(3600),
    };
    bus.ensure_saved_searches(&limits).await.unwrap();
    bus
}

fn record(search: &str, image: u8, content: &str) -> MatchRecord {
    MatchRecord {
        saved_search: search.into(),
        saved_search_name: "cars".into(),
        library: "shop".into(),
        image_id: image_id(image).to_string(),
        path: format!("{image}.jpg"),
        content_hash: content.into(),
        score: 0.5,
        band: Some("similar".into()),
        at_ms: 7,
    }
}

#[tokio::test]
async fn searches_are_stored_changed_and_deleted() {
    let bus = bus_with_searches("saved").await;
    assert_eq!(bus.read_saved_searches().await.unwrap(), []);
    let empty = bus.saved_searches_position().await.unwrap();
    bus.create_saved_search(SEARCH, "one".into()).await.unwrap();
    assert!(bus.create_saved_search(SEARCH, "two".into()).await.is_err());
    bus.create_saved_search(OTHER, "other".into())
        .await
        .unwrap();
    let stored = bus.read_saved_searches().await.unwrap();
    let ids: Vec<&str> = stored.iter().map(|stored| stored.id.as_str()).collect();
    assert_eq!(ids, [SEARCH, OTHER]);
    assert!(stored[0].stored_ns > 0 && stored[0].stored_ns <= stored[1].stored_ns);
    let position = bus.saved_searches_position().await.unwrap();
    assert_ne!(position, empty);

    let revision = stored[0].revision;
    let update = |text: &'static str| bus.update_saved_search(SEARCH, text.into(), revision);
    assert!(update("new").await.unwrap());
    assert!(!update("late").await.unwrap(), "another service was faster");
    let changed = bus.read_saved_search(SEARCH).await.unwrap().unwrap();
    assert_eq!(&changed.value[..], b"new");

    bus.store_webhook_state(SEARCH, "state".into())
        .await
        .unwrap();
    let before = bus.saved_searches_position().await.unwrap();
    bus.delete_saved_search(SEARCH).await.unwrap();
    assert_ne!(bus.saved_searches_position().await.unwrap(), before);
    assert_eq!(bus.read_saved_search(SEARCH).await.unwrap(), None);
    assert_eq!(bus.read_webhook_state(SEARCH).await.unwrap(), None);
    assert_eq!(bus.read_saved_searches().await.unwrap().len(), 1);
    let large = vec![0; 300 << 10];
    let full = bus.create_saved_search(SEARCH, large.into()).await;
    assert!(matches!(full, Err(Error::StreamFull)), "{full:?}");
}

#[tokio::test]
async fn a_missing_bucket_is_reported() {
    let bus = connect_bus("saved_missing").await;
    let position = bus.saved_searches_position().await;
    assert!(
        matches!(position, Err(Error::StreamMissing)),
        "{position:?}"
    );
    let published = bus.publish_match(&record(SEARCH, 1, "aa")).await;
    assert!(published.is_err());
}

#[tokio::test]
async fn a_match_is_stored_once_for_each_content() {
    let bus = bus_with_searches("matches").await;
    assert!(bus.publish_match(&record(SEARCH, 1, "aa")).await.unwrap());
    assert!(!bus.publish_match(&record(SEARCH, 1, "aa")).await.unwrap());
    assert!(bus.publish_match(&record(SEARCH, 1, "bb")).await.unwrap());
    assert!(bus.publish_match(&record(OTHER, 1, "aa")).await.unwrap());
    assert!(bus.publish_match(&record(SEARCH, 2, "aa")).await.unwrap());
    assert_eq!(bus.count_matches(SEARCH).await.unwrap(), 3);
    let counts = bus.count_all_matches().await.unwrap();
    assert_eq!((counts[SEARCH], counts[OTHER], counts.len()), (3, 1, 2));

    let first = bus.read_match_page(SEARCH, 0, 2).await.unwrap();
    assert!(first.more);
    let hashes = first
        .matches
        .iter()
        .map(|found| &found.record.content_hash[..]);
    assert_eq!(hashes.collect::<Vec<_>>(), ["aa", "bb"]);
    let after = first.matches[1].position.sequence;
    let rest = bus.read_match_page(SEARCH, after, 2).await.unwrap();
    assert_eq!((rest.matches.len(), rest.more), (1, false));
    assert_eq!(rest.matches[0].record, record(SEARCH, 2, "aa"));
    let end = rest.matches[0].position.sequence;
    let nothing = bus.read_match_page(SEARCH, end, 2).await.unwrap();
    assert_eq!((nothing.matches.len(), nothing.more), (0, false));

    let mut reader = bus.read_all_matches(None).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..4 {
        let next = tokio::time::timeout(TEST_TIMEOUT, reader.next_match());
        found.push(next.await.unwrap().unwrap());
    }
    let end = bus.matches_end_position().await.unwrap();
    assert_eq!(found[3].position, end);
    let mut resumed = bus
        .read_all_matches(Some(found[2].position.clone()))
        .await
        .unwrap();
    let next = tokio::time::timeout(TEST_TIMEOUT, resumed.next_match());
    assert_eq!(next.await.unwrap().unwrap(), found[3]);

    bus.create_saved_search(SEARCH, "one".into()).await.unwrap();
    bus.delete_saved_search(SEARCH).await.unwrap();
    assert_eq!(bus.count_matches(SEARCH).await.unwrap(), 0);
    assert_eq!(bus.count_all_matches().await.unwrap().len(), 1);
    assert_eq!(bus.count_matches(OTHER).await.unwrap(), 1);
}

async fn publish(bus: &Bus, number: u8) {
    for result in bus
        .publish_outcomes(&[indexed_outcome(number, library())])
        .await
    {
        result.unwrap();
    }
}

#[tokio::test]
async fn outcomes_wait_for_any_of_the_services() {
    let bus = bus_with_searches("outcome_queue").await;
    let stop = CancellationToken::new();
    publish(&bus, 1).await;
    bus.create_saved_search(SEARCH, "one".into()).await.unwrap();
    let created = bus.read_saved_search(SEARCH).await.unwrap().unwrap();
    publish(&bus, 2).await;
    let queue = bus.open_outcome_queue(created.stored_ns).await.unwrap();
    let poll = Duration::from_millis(100);
    let taken = queue.take_outcomes(10, poll, &stop).await.unwrap();
    assert_eq!(taken.len(), 1, "the first outcome is older than the search");
    assert_eq!(taken[0].outcome, indexed_outcome(2, library()));
    assert!(taken[0].stored_ns >= created.stored_ns);
    taken[0].retry_after(Duration::from_millis(10)).await;
    // Another service, with another start: it shares the queue.
    let other = bus.open_outcome_queue(0).await.unwrap();
    let again = other.take_outcomes(10, TEST_TIMEOUT, &stop).await.unwrap();
    assert_eq!(
        (again[0].outcome.clone(), again[0].deliveries),
        (indexed_outcome(2, library()), 2)
    );
    again[0].acknowledge().await;
    bus.flush_messages().await;
    assert!(
        queue
            .take_outcomes(10, poll, &stop)
            .await
            .unwrap()
            .is_empty()
    );
    bus.delete_outcome_queue().await.unwrap();
    bus.delete_outcome_queue().await.unwrap();
    assert!(queue.take_outcomes(10, poll, &stop).await.is_err());
}

#[tokio::test]
async fn a_webhook_gets_one_match_at_a_time() {
    let bus = bus_with_searches("webhook_queue").await;
    let stop = CancellationToken::new();
    for number in 1..=2 {
        bus.publish_match(&record(SEARCH, number, "aa"))
            .await
            .unwrap();
    }
    bus.publish_match(&record(OTHER, 3, "aa")).await.unwrap();
    let open = || bus.open_webhook_queue(SEARCH, Duration::from_secs(20));
    let (queue, other) = (open().await.unwrap(), open().await.unwrap());
    let poll = Duration::from_millis(300);
    let first = queue.take_match(poll, &stop).await.unwrap().unwrap();
    assert_eq!(first.found.record, record(SEARCH, 1, "aa"));
    assert!(other.take_match(poll, &stop).await.unwrap().is_none());
    first.retry_after(Duration::from_millis(500)).await;
    assert!(
        other.take_match(poll, &stop).await.unwrap().is_none(),
        "it waits"
    );
    let first = other
        .take_match(TEST_TIMEOUT, &stop)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.found.record, record(SEARCH, 1, "aa"));
    first.acknowledge().await.unwrap();
    let second = queue
        .take_match(TEST_TIMEOUT, &stop)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.found.record, record(SEARCH, 2, "aa"));
    second.acknowledge().await.unwrap();
    assert!(queue.take_match(poll, &stop).await.unwrap().is_none());
}
