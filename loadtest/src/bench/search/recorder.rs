//! Latencies and outcomes of the requests of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::mix::SearchKind;
use crate::bench::report::FigureSeries;

/// Longest latency that is recorded; longer ones count as this.
const MAX_LATENCY_MICROS: u64 = 10 * 60 * 1_000_000;

/// Precision of the latencies: 3 digits.
const DIGITS: u8 = 3;

/// Number of problems of each kind that are kept for the report.
const MAX_EXAMPLES: usize = 5;

/// Percentiles of a latency curve.
const CURVE_PERCENTILES: [f64; 16] = [
    0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99,
    100.0,
];

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    Right,
    /// The service answered, but the answer is not what it must be.
    Wrong(String),
    /// No answer, an error status, or a timeout.
    Failed(String),
}

/// Measurements of one kind of search.
#[derive(Debug, Clone)]
pub struct KindRecord {
    /// Microseconds from the intended start to the complete answer, of requests that were answered.
    latencies: Histogram<u64>,
    pub wrong: u64,
    pub failed: u64,
    /// Requests that were not sent because too many were in flight.
    pub dropped: u64,
}

/// All measurements of a run.
#[derive(Debug, Clone)]
pub struct LoadRecord {
    kinds: [KindRecord; 3],
    /// The first few problems.
    pub examples: Vec<String>,
}

impl Default for KindRecord {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, MAX_LATENCY_MICROS, DIGITS)
            .expect("the bounds are constant and valid");
        Self {
            latencies,
            wrong: 0,
            failed: 0,
            dropped: 0,
        }
    }
}

impl KindRecord {
    fn record_latency(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies
            .saturating_record(micros.clamp(1, MAX_LATENCY_MICROS));
    }

    /// Returns the number of answered requests, right or wrong.
    pub fn answered(&self) -> u64 {
        self.latencies.len()
    }

    /// Returns the number of requests that should have been answered.
    pub fn intended(&self) -> u64 {
        self.answered() + self.failed + self.dropped
    }

    /// Returns the latency in milliseconds below which `percentile` percent of the answers came.
    /// Without answers it returns NaN.
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        match self.latencies.is_empty() {
            true => f64::NAN,
            false => self.latencies.value_at_percentile(percentile) as f64 / 1000.0,
        }
    }

    pub fn max_ms(&self) -> f64 {
        self.percentile_ms(100.0)
    }

    fn add(&mut self, other: &Self) {
        self.latencies
            .add(&other.latencies)
            .expect("both histograms have the same bounds");
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.dropped += other.dropped;
    }

    /// Returns the latency curve: percentile and milliseconds. Percentiles that fewer than one answer
    /// decides are left out.
    pub fn to_curve(&self, name: &str) -> FigureSeries {
        let answered = self.answered() as f64;
        // 100 − 99.9 is a little less than 0.1.
        let is_known = |percentile: &f64| answered * (100.0 - percentile) >= 99.999;
        FigureSeries {
            name: name.to_owned(),
            points: CURVE_PERCENTILES
                .into_iter()
                .filter(is_known)
                .map(|percentile| (percentile, self.percentile_ms(percentile)))
                .collect(),
        }
    }
}

impl Default for LoadRecord {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| KindRecord::default()),
            examples: Vec::new(),
        }
    }
}

impl LoadRecord {
    pub fn of_kind(&self, kind: SearchKind) -> &KindRecord {
        &self.kinds[kind as usize]
    }

    /// Returns all kinds together.
    pub fn total(&self) -> KindRecord {
        let mut total = KindRecord::default();
        for kind in &self.kinds {
            total.add(kind);
        }
        total
    }

    pub fn record_outcome(&mut self, kind: SearchKind, latency: Duration, outcome: RequestOutcome) {
        let record = &mut self.kinds[kind as usize];
        let problem = match outcome {
            RequestOutcome::Right => {
                record.record_latency(latency);
                return;
            }
            RequestOutcome::Wrong(problem) => {
                record.record_latency(latency);
                record.wrong += 1;
                format!("wrong answer to a search by {}: {problem}", kind.name())
            }
            RequestOutcome::Failed(problem) => {
                record.failed += 1;
                format!("failed search by {}: {problem}", kind.name())
            }
        };
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(problem);
        }
    }

    pub fn record_dropped(&mut self, kind: SearchKind) {
        self.kinds[kind as usize].dropped += 1;
    }

    /// Returns how many requests failed, were dropped or got a wrong answer.
    pub fn problem_count(&self) -> u64 {
        let kinds = self.kinds.iter();
        kinds
            .map(|kind| kind.wrong + kind.failed + kind.dropped)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn percentiles_are_those_of_the_answers() {
        let mut record = LoadRecord::default();
        for latency in 1..=1000 {
            record.record_outcome(
                SearchKind::Upload,
                milliseconds(latency),
                RequestOutcome::Right,
            );
        }
        let uploads = record.of_kind(SearchKind::Upload);
        for (percentile, expected) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = uploads.percentile_ms(percentile);
            assert!(
                (found / expected - 1.0).abs() < 0.002,
                "{percentile}: {found}"
            );
        }
        let curve = uploads.to_curve("uploads");
        let last = curve.points.last().unwrap();
        assert_eq!(
            last.0, 99.9,
            "one answer in a thousand decides no further percentile"
        );
        assert!(record.of_kind(SearchKind::Id).percentile_ms(50.0).is_nan());
        assert!(
            record
                .of_kind(SearchKind::Id)
                .to_curve("ids")
                .points
                .is_empty()
        );
    }

    #[test]
    fn failed_and_dropped_requests_have_no_latency_but_count() {
        let mut record = LoadRecord::default();
        record.record_outcome(SearchKind::Id, milliseconds(5), RequestOutcome::Right);
        record.record_outcome(
            SearchKind::Id,
            milliseconds(7),
            RequestOutcome::Wrong("x".into()),
        );
        for _ in 0..10 {
            let failed = RequestOutcome::Failed("refused".into());
            record.record_outcome(SearchKind::Text, Duration::ZERO, failed);
        }
        record.record_dropped(SearchKind::Id);
        let ids = record.of_kind(SearchKind::Id);
        assert_eq!(
            (ids.answered(), ids.wrong, ids.dropped, ids.intended()),
            (2, 1, 1, 3)
        );
        assert_eq!(record.total().intended(), 13);
        assert_eq!(record.problem_count(), 12);
        assert_eq!(record.examples.len(), MAX_EXAMPLES);
        assert!(
            record.examples[0].contains("search by id: x"),
            "{:?}",
            record.examples
        );
    }

    #[test]
    fn very_long_latencies_are_limited() {
        let mut record = KindRecord::default();
        record.record_latency(Duration::from_secs(100_000));
        assert!(
            (record.max_ms() / 600_000.0 - 1.0).abs() < 0.002,
            "{}",
            record.max_ms()
        );
    }
}
