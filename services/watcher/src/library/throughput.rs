//! How many events per second get an outcome.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Events per second over the last ten seconds.
#[derive(Default)]
pub struct Throughput {
    events: VecDeque<(Instant, u64)>,
}

impl Throughput {
    const WINDOW: Duration = Duration::from_secs(10);
    const BUCKET_WIDTH: Duration = Duration::from_millis(100);

    pub fn add_event(&mut self, now: Instant) {
        match self.events.back_mut() {
            Some((at, sum)) if now.saturating_duration_since(*at) < Self::BUCKET_WIDTH => *sum += 1,
            _ => self.events.push_back((now, 1)),
        }
        while self
            .events
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > Self::WINDOW)
        {
            self.events.pop_front();
        }
    }

    /// The rate, rounded to a tenth so that a status rarely changes.
    pub fn per_second(&self, now: Instant) -> f64 {
        let recent = self
            .events
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= Self::WINDOW);
        let first = recent.clone().map(|(at, _)| *at).min();
        let count: u64 = recent.map(|(_, count)| *count).sum();
        let seconds = first.map_or(1.0, |at| {
            now.saturating_duration_since(at).as_secs_f64().max(1.0)
        });
        (count as f64 / seconds * 10.0).round() / 10.0
    }
}
