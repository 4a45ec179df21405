//! The health of one embedder: how fast it is, and how long it has answered nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::latency::LatencyEstimate;

/// A try is hedged after this multiple of the usual time (the 95th percentile).
pub(super) const HEDGE_FACTOR: u32 = 3;

/// An embedder that answered no roll call for so long gets no queries while others do. Roll calls are
/// sent every second.
pub(super) const MAX_ROLL_CALL_AGE: Duration = Duration::from_secs(3);

/// How long an embedder is avoided after a refusal; it doubles up to the maximum.
const MIN_AVOID_TIME: Duration = Duration::from_millis(100);
const MAX_AVOID_TIME: Duration = Duration::from_secs(5);

/// The limits of hedging and ejection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HedgeLimits {
    /// A try is hedged after this time at the earliest.
    pub min_delay: Duration,
    /// A try may be hedged after this time, however long the usual time is.
    pub max_delay: Duration,
    /// Hedges per hundred queries.
    pub budget_percent: u32,
    /// An embedder that answers no query for so long is ejected.
    pub eject_after: Duration,
}

/// How well an embedder must work to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirement {
    /// It answers roll calls and queries.
    Ready,
    /// It may be slow or refuse.
    NotEjected,
    /// It may be ejected.
    Known,
}

/// What is known about one embedder.
pub(super) struct EmbedderHealth {
    pub is_local: bool,
    /// When the embedder answered a roll call or appeared.
    pub seen_at: Instant,
    /// Tries without an answer, and when they were sent.
    pub in_flight: HashMap<u64, Instant>,
    /// When the first try was sent that was followed by no answer to any try.
    pub waiting_since: Option<Instant>,
    pub latency: LatencyEstimate,
    pub chosen_at: Option<Instant>,
    pub ejection: Option<Ejection>,
    pub refusals: u32,
    pub avoid_until: Option<Instant>,
}

pub(super) struct Ejection {
    pub since: Instant,
    pub next_probe: Instant,
    pub probe_interval: Duration,
}

impl EmbedderHealth {
    pub fn new(is_local: bool, now: Instant) -> Self {
        Self {
            is_local,
            seen_at: now,
            in_flight: HashMap::new(),
            waiting_since: None,
            latency: LatencyEstimate::default(),
            chosen_at: None,
            ejection: None,
            refusals: 0,
            avoid_until: None,
        }
    }

    pub fn answers_roll_calls(&self, now: Instant) -> bool {
        self.is_local || now.saturating_duration_since(self.seen_at) <= MAX_ROLL_CALL_AGE
    }

    /// Returns how long the embedder has answered none of the tries that were sent to it.
    pub fn silent_for(&self, now: Instant) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub fn meets(&self, requirement: Requirement, limits: &HedgeLimits, now: Instant) -> bool {
        match requirement {
            Requirement::Known => true,
            Requirement::NotEjected => self.ejection.is_none() && self.answers_roll_calls(now),
            Requirement::Ready => {
                self.meets(Requirement::NotEjected, limits, now)
                    && self.avoid_until.is_none_or(|until| now >= until)
                    && !self.is_silent(limits, now)
            }
        }
    }

    /// Returns whether the embedder has answered nothing for longer than its usual time.
    pub fn is_silent(&self, limits: &HedgeLimits, now: Instant) -> bool {
        self.silent_for(now) >= hedge_delay(self.latency.percentile_95(), limits)
    }

    /// Records that something arrived from the embedder in reply to a query.
    pub fn record_sign_of_life(&mut self, now: Instant) {
        self.waiting_since = (!self.in_flight.is_empty()).then_some(now);
    }

    pub fn record_refusal(&mut self, now: Instant) {
        let time = MIN_AVOID_TIME * 2_u32.saturating_pow(self.refusals.min(16));
        self.refusals += 1;
        self.avoid_until = Some(now + time.min(MAX_AVOID_TIME));
    }

    /// Returns whether the answer ends an ejection.
    pub fn record_answer(&mut self, sent_at: Instant, now: Instant) -> bool {
        self.refusals = 0;
        self.avoid_until = None;
        let took = now.saturating_duration_since(sent_at);
        match &mut self.ejection {
            None => {
                self.latency.record(took, now);
                false
            }
            // It reacts again, but other queries may still be stuck: test it with the next query.
            Some(ejection) if sent_at < ejection.since && !self.in_flight.is_empty() => {
                ejection.next_probe = now;
                false
            }
            Some(_) => {
                self.ejection = None;
                self.latency = LatencyEstimate::default();
                self.latency.record(took, now);
                true
            }
        }
    }
}

/// Returns after how long a try is hedged, given the usual time.
pub(super) fn hedge_delay(usual: Option<Duration>, limits: &HedgeLimits) -> Duration {
    // Without measurements, the first queries may take longer than later ones.
    let delay = usual.map_or(limits.min_delay * 5, |usual| usual * HEDGE_FACTOR);
    delay.min(limits.max_delay).max(limits.min_delay)
}
