//! Follows the stream of outcomes, over reconnections and recreated streams.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Error, StreamPosition};
use lookalike_proto::{Outcome, OutcomeState};
use tokio_util::sync::CancellationToken;

use super::follow_matches::follow_matches;
use super::place::FeedStream;
use super::{EventFeed, FeedItem, LiveEvent, MAX_EVENTS, Progress};
use crate::core::service::SearchService;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look whether the stream was recreated.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Feeds the readers of events until `shutdown`. Then their streams end.
pub(crate) async fn run_event_feed(service: Arc<SearchService>, shutdown: CancellationToken) {
    let feed = Arc::clone(&service.event_feed);
    let following = async {
        tokio::join!(
            follow_outcomes(&service, &feed),
            follow_matches(&service, &feed),
            follow_counts(&service, &feed)
        )
    };
    let _: Option<((), (), ())> = shutdown.run_until_cancelled(following).await;
    feed.close();
}

async fn follow_counts(service: &SearchService, feed: &EventFeed) {
    loop {
        let mut sums = Progress::default();
        let libraries = service.status.libraries();
        let is_known = !libraries.is_empty()
            && service
                .libraries
                .keys()
                .all(|name| libraries.iter().any(|status| status.name == name.as_str()));
        if is_known {
            let sum = |count: fn(&lookalike_bus::LibraryStatus) -> u64| {
                Some(libraries.iter().map(count).sum())
            };
            sums = Progress {
                on_disk: sum(|status| status.counts.on_disk),
                indexed: sum(|status| status.counts.indexed),
                failed: sum(|status| status.counts.failed),
                ignored: sum(|status| status.counts.ignored),
                in_flight: sum(|status| status.counts.in_flight),
            };
        }
        feed.set_progress(sums);
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

async fn follow_outcomes(service: &SearchService, feed: &EventFeed) {
    let mut last: Option<StreamPosition> = None;
    loop {
        if let Err(error) = follow_stream(service, feed, &mut last).await {
            tracing::debug!(%error, "cannot follow the stream of outcomes now");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Follows the stream after `last` until an error, or until the stream was recreated.
async fn follow_stream(
    service: &SearchService,
    feed: &EventFeed,
    last: &mut Option<StreamPosition>,
) -> Result<(), Error> {
    let end = service.bus.outcomes_end_position().await?;
    let start = match last.take().filter(|position| position.is_within(&end)) {
        Some(position) => position,
        // The first start, or another stream.
        None => {
            let position = StreamPosition {
                sequence: end.sequence.saturating_sub(MAX_EVENTS as u64),
                ..end
            };
            feed.start_after(FeedStream::Outcomes, position.clone());
            position
        }
    };
    let mut reader = service.bus.read_all_outcomes(Some(start.clone())).await?;
    *last = Some(start);
    let mut checks = tokio::time::interval(STREAM_CHECK_INTERVAL);
    loop {
        tokio::select! {
            next = reader.next_outcome() => {
                let (position, outcome) = next?;
                *last = Some(position.clone());
                if let Some(event) = to_event(position, outcome) {
                    feed.push(FeedItem::Outcome(event));
                }
            }
            _ = checks.tick() => {
                let end = service.bus.outcomes_end_position().await?;
                if end.stream_created_ns != reader.stream_created_ns() {
                    return Ok(());
                }
            }
        }
    }
}

/// Outcomes after which the watcher sends the event again are not news.
fn to_event(position: StreamPosition, outcome: Outcome) -> Option<LiveEvent> {
    if matches!(
        outcome.state,
        OutcomeState::Superseded { .. } | OutcomeState::Deferred { .. }
    ) {
        return None;
    }
    let timings = outcome.timings;
    let at_ns = [
        timings.committed_ns,
        timings.embedded_ns,
        timings.decoded_ns,
        timings.read_ns,
        timings.received_ns,
    ];
    Some(LiveEvent {
        position,
        library: outcome.library.to_string(),
        image_id: outcome.image_id.to_string(),
        state: outcome.state,
        at_ms: at_ns.into_iter().max().unwrap_or(0) / 1_000_000,
    })
}
