//! Follows the stream of outcomes, over reconnections and recreated streams.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Error, LibraryStatus, StreamPosition};
use lookalike_proto::{LibraryName, Outcome, OutcomeState};
use tokio_util::sync::CancellationToken;

use super::follow_matches::follow_matches;
use super::place::FeedStream;
use super::{EventFeed, FeedItem, LibraryProgress, LiveEvent, Progress};
use crate::core::service::ServiceState;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look whether the stream was recreated.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Feeds the readers of events until `shutdown`. Then their streams end.
pub(crate) async fn run_event_feed(service: Arc<ServiceState>, shutdown: CancellationToken) {
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

async fn follow_counts(service: &ServiceState, feed: &EventFeed) {
    loop {
        let reported = service.status.libraries();
        let is_unreported =
            |name: &&LibraryName| reported.iter().all(|status| status.name != name.as_str());
        let unreported = service.libraries.keys().filter(is_unreported);
        let unreported = unreported.map(|name| LibraryProgress {
            library: name.to_string(),
            progress: Progress::default(),
        });
        let libraries = reported.iter().map(to_progress).chain(unreported);
        feed.set_progress(libraries.collect());
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

fn to_progress(status: &LibraryStatus) -> LibraryProgress {
    let counts = &status.counts;
    LibraryProgress {
        library: status.name.clone(),
        progress: Progress {
            on_disk: Some(counts.on_disk),
            indexed: Some(counts.indexed),
            failed: Some(counts.failed),
            ignored: Some(counts.ignored),
            in_flight: Some(counts.in_flight),
        },
    }
}

async fn follow_outcomes(service: &ServiceState, feed: &EventFeed) {
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
    service: &ServiceState,
    feed: &EventFeed,
    last: &mut Option<StreamPosition>,
) -> Result<(), Error> {
    let end = service.bus.outcomes_end_position().await?;
    let start = feed.resume_position(FeedStream::Outcomes, last.take(), end);
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
