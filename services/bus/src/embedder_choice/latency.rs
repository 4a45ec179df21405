//! How long an embedder usually takes to answer a query.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Answers that the percentile is computed from.
const WINDOW: usize = 64;

/// Answers without which there is no percentile.
const MIN_ANSWERS: usize = 8;

/// Weight of a new answer in the average.
const WEIGHT: f64 = 0.3;

/// Time after which an average without new answers counts half. An embedder that was slow once is
/// therefore asked again later.
const HALF_LIFE: Duration = Duration::from_secs(2);

/// Shorter times are considered equal.
const MIN_ESTIMATE: f64 = 0.005;

/// The last answers of one embedder.
#[derive(Default)]
pub(super) struct LatencyEstimate {
    window: VecDeque<Duration>,
    /// The 95th percentile of the window. It is read several times for each query.
    percentile_95: Option<Duration>,
    /// The moving average in seconds, and when it was updated.
    average: Option<(f64, Instant)>,
}

impl LatencyEstimate {
    pub fn record(&mut self, took: Duration, now: Instant) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(took);
        self.percentile_95 = self.compute_percentile_95();
        let took = took.as_secs_f64();
        let average = self.estimate(now);
        let average = average.map_or(took, |average| average + (took - average) * WEIGHT);
        self.average = Some((average, now));
    }

    /// Returns the expected time in seconds.
    pub fn estimate(&self, now: Instant) -> Option<f64> {
        let (average, updated) = self.average?;
        let idle = now.saturating_duration_since(updated).as_secs_f64();
        let decayed = average * 0.5_f64.powf(idle / HALF_LIFE.as_secs_f64());
        Some(decayed.max(MIN_ESTIMATE))
    }

    /// Returns the time within which nineteen of twenty answers arrived.
    pub fn percentile_95(&self) -> Option<Duration> {
        self.percentile_95
    }

    fn compute_percentile_95(&self) -> Option<Duration> {
        if self.window.len() < MIN_ANSWERS {
            return None;
        }
        let mut sorted: Vec<Duration> = self.window.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 95 / 100).copied()
    }
}
