//! Start times of requests in an open loop.

use std::time::Duration;

use clap::ValueEnum;
use lookalike_painter::paint::Random;

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalPattern {
    /// Independent arrivals, as of many users: the gaps have an exponential distribution.
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// The intended start times, counted from the start of the run. They do not depend on any response.
#[derive(Debug)]
pub struct ArrivalTimes {
    pattern: ArrivalPattern,
    /// Requests per second.
    rate: f64,
    random: Random,
    /// Seconds.
    next: f64,
}

impl ArrivalTimes {
    pub fn new(pattern: ArrivalPattern, rate: f64, seed: u64) -> Self {
        Self {
            pattern,
            rate,
            random: Random::new(seed, 21),
            next: 0.0,
        }
    }
}

impl Iterator for ArrivalTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = match self.pattern {
            ArrivalPattern::Fixed => 1.0,
            // Inversion of the exponential distribution; the fraction is never 1.
            ArrivalPattern::Poisson => -(1.0 - f64::from(self.random.next_fraction())).ln(),
        };
        self.next += gap / self.rate;
        Some(Duration::from_secs_f64(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_arrivals_have_equal_gaps() {
        let times: Vec<_> = ArrivalTimes::new(ArrivalPattern::Fixed, 4.0, 1)
            .take(3)
            .collect();
        assert_eq!(times, [250, 500, 750].map(Duration::from_millis));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let times: Vec<f64> = ArrivalTimes::new(ArrivalPattern::Poisson, 100.0, 7)
            .take(20_000)
            .map(|time| time.as_secs_f64())
            .collect();
        let rate = times.len() as f64 / times[times.len() - 1];
        assert!((97.0..103.0).contains(&rate), "{rate}");
        // Mean and deviation of an exponential distribution are equal.
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!(
            (0.95..1.05).contains(&(variance.sqrt() / mean)),
            "{}",
            variance.sqrt() / mean
        );
        let other: Vec<_> = ArrivalTimes::new(ArrivalPattern::Poisson, 100.0, 7)
            .take(5)
            .collect();
        assert_eq!(
            other[4].as_secs_f64(),
            times[4],
            "the same seed gives the same times"
        );
    }
}
