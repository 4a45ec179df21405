//! Defers the events that a worker leaves unfinished when it shuts down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lookalike_bus::Bus;
use lookalike_proto::OutcomeState;

use crate::metrics;
use crate::queue::in_flight::InFlightEvent;

/// Stores a deferred outcome for each event, so the watcher sends it again, and acknowledges it.
/// Events for which NATS refuses that are redelivered by JetStream.
pub async fn defer_unfinished(bus: &Bus, unfinished: Vec<Arc<InFlightEvent>>, timeout: Duration) {
    let count = unfinished.len();
    let outcomes: Vec<_> = unfinished
        .iter()
        .map(|in_flight| {
            in_flight.build_outcome(OutcomeState::Deferred {
                detail: "the worker that had it shut down".to_owned(),
            })
        })
        .collect();
    let deferring = async {
        let results = bus.publish_outcomes(&outcomes).await;
        let stored = unfinished.iter().zip(results);
        let acknowledged = stored.filter_map(|(in_flight, result)| {
            result.ok()?;
            metrics::DEFERRED.inc();
            Some(in_flight.delivery.acknowledge_event())
        });
        join_all(acknowledged).await.into_iter().flatten().count()
    };
    match tokio::time::timeout(timeout, deferring).await {
        Ok(deferred) => tracing::info!(deferred, count, "deferred unfinished events"),
        Err(_) => tracing::warn!(count, "JetStream redelivers the unfinished events later"),
    }
}
