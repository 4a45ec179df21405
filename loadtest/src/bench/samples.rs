//! Pairs of measurements that alternate between lookalike and another program.
//!
//! Machines are shared and change their clock, so rates of two runs at different times cannot be
//! compared. A round measures both programs one directly after the other; the ratio of a row is the
//! median over the rounds.

/// Rates or times of both programs, one pair per round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairedSamples {
    rounds: Vec<(f64, f64)>,
}

impl PairedSamples {
    pub fn push_round(&mut self, ours: f64, peer: f64) {
        self.rounds.push((ours, peer));
    }

    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    pub fn ours(&self) -> Vec<f64> {
        self.rounds.iter().map(|(ours, _)| *ours).collect()
    }

    pub fn peer(&self) -> Vec<f64> {
        self.rounds.iter().map(|(_, peer)| *peer).collect()
    }

    /// Returns the ratio of every round, ours ÷ peer.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds.iter().map(|(ours, peer)| ours / peer).collect()
    }
}

/// Returns the median; `None` without values. NaN is greater than all numbers.
pub fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Returns the largest value; `None` without values.
pub fn largest_of(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// Returns the smallest value; `None` without values.
pub fn smallest_of(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_over_the_rounds() {
        let mut samples = PairedSamples::default();
        assert!(samples.is_empty());
        // In the second round the whole machine was slow; its ratio is as good as the others.
        for (ours, peer) in [(20.0, 10.0), (4.0, 2.0), (18.0, 10.0)] {
            samples.push_round(ours, peer);
        }
        assert_eq!(median_of(samples.ratios()), Some(2.0));
        assert_eq!(median_of(samples.ours()), Some(18.0));
        assert_eq!(largest_of(&samples.peer()), Some(10.0));
        assert_eq!(smallest_of(&samples.peer()), Some(2.0));
        assert_eq!(samples.len(), 3);
    }

    #[test]
    fn medians_of_even_and_empty_lists() {
        assert_eq!(median_of(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median_of(vec![]), None);
        assert_eq!(largest_of(&[]), None);
    }
}
