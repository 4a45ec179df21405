//! Readers read each event once, in order, from the place on at which they stopped.

use std::time::Duration;

use lookalike_bus::MatchRecord;
use lookalike_proto::LibraryName;

use super::*;

fn position(sequence: u64) -> StreamPosition {
    StreamPosition {
        stream_created_ns: 1,
        sequence,
    }
}

fn event(sequence: u64) -> FeedItem {
    FeedItem::Outcome(LiveEvent {
        position: position(sequence),
        library: "shop".into(),
        image_id: "00".into(),
        state: OutcomeState::Indexed,
        at_ms: 0,
    })
}

fn found(sequence: u64) -> FeedItem {
    FeedItem::Match(StoredMatch {
        position: match_position(sequence),
        record: MatchRecord {
            saved_search: "01".into(),
            saved_search_name: "cars".into(),
            library: "shop".into(),
            image_id: "00".into(),
            path: "a.jpg".into(),
            content_hash: "ab".into(),
            score: 0.5,
            band: None,
            at_ms: 0,
        },
    })
}

fn match_position(sequence: u64) -> StreamPosition {
    StreamPosition {
        stream_created_ns: 7,
        sequence,
    }
}

fn outcome_place(sequence: u64) -> FeedPlace {
    FeedPlace {
        outcomes: Some(position(sequence)),
        matches: None,
    }
}

fn place(outcomes: u64, matches: u64) -> FeedPlace {
    FeedPlace {
        outcomes: Some(position(outcomes)),
        matches: Some(match_position(matches)),
    }
}

fn subscribe(feed: &Arc<EventFeed>, after: Option<&FeedPlace>) -> Result<EventReader, Problem> {
    feed.subscribe(after, VisibleLibraries::all())
}

/// A feed of at most three events, which holds the events 2, 3 and 4.
fn full_feed() -> Arc<EventFeed> {
    let feed = Arc::new(EventFeed::with_capacity(4, 3));
    feed.start_after(FeedStream::Outcomes, position(0));
    for sequence in 1..=4 {
        feed.push(event(sequence));
    }
    feed
}

/// Reads what is there now: sequence numbers, of matches 100 more, 0 for a gap, and `None` for the end.
async fn read_all(reader: &mut EventReader) -> Vec<Option<u64>> {
    let mut read = Vec::new();
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(20), reader.next()).await {
        match next {
            NextEvent::Live(event) => read.push(Some(match event.item.position() {
                (FeedStream::Outcomes, position) => position.sequence,
                (FeedStream::Matches, position) => 100 + position.sequence,
            })),
            NextEvent::Gap => read.push(Some(0)),
            NextEvent::Progress(_) => {}
            NextEvent::TooSlow | NextEvent::Closed => {
                read.push(None);
                break;
            }
        }
    }
    read
}

#[tokio::test]
async fn readers_resume_where_they_stopped() {
    let feed = full_feed();
    for (after, expected) in [
        (None, &[][..]),
        (Some(4), &[]),
        (Some(3), &[Some(4)]),
        (Some(1), &[Some(2), Some(3), Some(4)]),
        // No longer known, from another stream, or from the future.
        (Some(0), &[Some(0)]),
        (Some(9), &[Some(0)]),
    ] {
        let after = after.map(outcome_place);
        let mut reader = subscribe(&feed, after.as_ref()).unwrap();
        assert_eq!(read_all(&mut reader).await, expected, "{after:?}");
    }
    let other = FeedPlace {
        outcomes: Some(StreamPosition {
            stream_created_ns: 2,
            sequence: 3,
        }),
        matches: None,
    };
    let mut reader = subscribe(&feed, Some(&other)).unwrap();
    assert_eq!(read_all(&mut reader).await, [Some(0)]);
}

#[tokio::test]
async fn slow_readers_are_dropped_and_delay_no_other() {
    let feed = full_feed();
    let mut slow = subscribe(&feed, Some(&outcome_place(1))).unwrap();
    let mut fast = subscribe(&feed, None).unwrap();
    for sequence in 5..=7 {
        feed.push(event(sequence));
        assert_eq!(read_all(&mut fast).await, [Some(sequence)]);
    }
    assert_eq!(read_all(&mut slow).await, [None]);
}

#[tokio::test]
async fn a_waiting_reader_wakes_up() {
    let feed = full_feed();
    let mut reader = subscribe(&feed, None).unwrap();
    let reading = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    feed.push(event(5));
    let next = FeedEvent {
        place: outcome_place(5),
        item: event(5),
    };
    assert_eq!(reading.await.unwrap(), NextEvent::Live(Arc::new(next)));
    let mut reader = subscribe(&feed, None).unwrap();
    let known = Progress {
        indexed: Some(1),
        ..Progress::default()
    };
    feed.set_progress(vec![counted("shop", known)]);
    assert_eq!(reader.next().await, NextEvent::Progress(known));
}

fn counted(library: &str, progress: Progress) -> LibraryProgress {
    LibraryProgress {
        library: library.into(),
        progress,
    }
}

#[tokio::test]
async fn a_limited_reader_sees_its_libraries_only() {
    let feed = full_feed();
    feed.start_after(FeedStream::Matches, match_position(0));
    let [mut shop, mut home] = ["shop", "home"].map(|name| {
        let visible = VisibleLibraries::only([LibraryName::new(name).unwrap()]);
        feed.subscribe(None, visible).unwrap()
    });
    feed.push(event(5));
    feed.push(found(1));
    assert_eq!(read_all(&mut shop).await, [Some(5)], "without the match");
    assert!(read_all(&mut home).await.is_empty());
    let indexed = |count| Progress {
        indexed: Some(count),
        ..Progress::default()
    };
    feed.set_progress(vec![
        counted("home", indexed(3)),
        counted("shop", indexed(4)),
    ]);
    assert_eq!(shop.next().await, NextEvent::Progress(indexed(4)));
    assert_eq!(home.next().await, NextEvent::Progress(indexed(3)));
    // Counts of another library wake no reader.
    feed.set_progress(vec![
        counted("home", indexed(9)),
        counted("shop", indexed(4)),
    ]);
    assert_eq!(home.next().await, NextEvent::Progress(indexed(9)));
    let waiting = tokio::time::timeout(Duration::from_millis(20), shop.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
}

#[test]
fn unknown_counts_have_no_sum() {
    let known = Progress {
        on_disk: Some(2),
        ..Progress::default()
    };
    assert_eq!(Progress::sum(&[]), Progress::default());
    assert_eq!(Progress::sum(&[&known, &known]).on_disk, Some(4));
    assert_eq!(
        Progress::sum(&[&known, &Progress::default()]),
        Progress::default()
    );
}

#[test]
fn followers_resume_in_the_same_stream_only() {
    let feed = EventFeed::with_capacity(4, 3);
    let resume =
        |last: Option<StreamPosition>, end| feed.resume_position(FeedStream::Outcomes, last, end);
    // The first start: the newest events that fit.
    assert_eq!(resume(None, position(10)), position(7));
    assert_eq!(resume(None, position(2)), position(0));
    assert_eq!(resume(Some(position(9)), position(10)), position(9));
    let other = |sequence| StreamPosition {
        stream_created_ns: 2,
        sequence,
    };
    assert_eq!(resume(Some(position(9)), other(20)), other(17));
    // The server lost messages.
    assert_eq!(resume(Some(position(9)), position(8)), position(5));
}

#[tokio::test]
async fn readers_end_with_the_service() {
    let feed = full_feed();
    let mut reader = subscribe(&feed, Some(&outcome_place(3))).unwrap();
    feed.close();
    assert_eq!(read_all(&mut reader).await, [Some(4), None]);
}

#[tokio::test]
async fn a_place_is_one_of_both_streams() {
    let feed = Arc::new(EventFeed::with_capacity(4, 5));
    feed.start_after(FeedStream::Outcomes, position(0));
    feed.start_after(FeedStream::Matches, match_position(0));
    for item in [event(1), found(1), event(2), found(2), event(3)] {
        feed.push(item);
    }
    for (after, expected) in [
        (place(3, 2), &[][..]),
        (place(2, 1), &[Some(102), Some(3)]),
        // Another service listed the events in another order.
        (place(3, 0), &[Some(101), Some(102)]),
        (place(0, 2), &[Some(1), Some(2), Some(3)]),
        // Before the first match.
        (outcome_place(2), &[Some(101), Some(102), Some(3)]),
        (place(4, 2), &[Some(0)]),
        (place(3, 3), &[Some(0)]),
    ] {
        let mut reader = subscribe(&feed, Some(&after)).unwrap();
        assert_eq!(read_all(&mut reader).await, expected, "{after:?}");
    }
    let reader = subscribe(&feed, Some(&place(0, 0))).unwrap();
    feed.push(event(4));
    drop(reader);
    // The first outcome was dropped.
    let mut reader = subscribe(&feed, Some(&place(0, 2))).unwrap();
    assert_eq!(read_all(&mut reader).await, [Some(0)]);
    let mut reader = subscribe(&feed, Some(&place(1, 1))).unwrap();
    let expected = [Some(2), Some(102), Some(3), Some(4)];
    assert_eq!(read_all(&mut reader).await, expected);
}

#[test]
fn readers_are_limited() {
    let feed = full_feed();
    let readers: Vec<_> = (0..4).map(|_| subscribe(&feed, None).unwrap()).collect();
    assert_eq!(subscribe(&feed, None).unwrap_err().code, Code::Overloaded);
    drop(readers);
    assert!(subscribe(&feed, None).is_ok());
}
