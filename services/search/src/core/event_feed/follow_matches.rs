//! Follows the stream of matches, over reconnections and recreated streams.

use std::time::Duration;

use lookalike_bus::{Error, StreamPosition};

use super::place::FeedStream;
use super::{EventFeed, FeedItem};
use crate::core::service::ServiceState;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often to look whether the stream was recreated.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn follow_matches(service: &ServiceState, feed: &EventFeed) {
    let mut last: Option<StreamPosition> = None;
    loop {
        if let Err(error) = follow_stream(service, feed, &mut last).await {
            tracing::debug!(%error, "cannot follow the stream of matches now");
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
    let end = service.bus.matches_end_position().await?;
    let start = feed.resume_position(FeedStream::Matches, last.take(), end);
    let mut reader = service.bus.read_all_matches(Some(start.clone())).await?;
    *last = Some(start);
    let mut checks = tokio::time::interval(STREAM_CHECK_INTERVAL);
    loop {
        tokio::select! {
            next = reader.next_match() => {
                let found = next?;
                *last = Some(found.position.clone());
                feed.push(FeedItem::Match(found));
            }
            _ = checks.tick() => {
                let end = service.bus.matches_end_position().await?;
                if end.stream_created_ns != reader.stream_created_ns() {
                    return Ok(());
                }
            }
        }
    }
}
