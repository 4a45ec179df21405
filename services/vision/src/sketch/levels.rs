//! Differences of brightness, as small numbers relative to their range.

use std::array::from_fn;

/// The largest stored level; the smallest is its negative.
const MAX_LEVEL: i8 = 127;
/// The largest stored range.
pub(super) const MAX_RANGE: u8 = 40;
/// The smallest range, in levels of 8-bit values.
const MIN_DIFFERENCE: f64 = 0.25;
/// Steps of the stored range for a factor of two.
const RANGE_STEPS: f64 = 4.0;

/// `N` differences from the mean brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels<const N: usize> {
    /// The largest difference, as a logarithm in steps of a quarter octave from a quarter of a level.
    pub range: u8,
    /// Differences in 127ths of the range.
    pub values: [i8; N],
}

impl<const N: usize> Levels<N> {
    pub(super) fn from_differences(differences: &[f64; N]) -> Self {
        let largest = differences
            .iter()
            .fold(MIN_DIFFERENCE, |most, value| most.max(value.abs()));
        let range = ((largest / MIN_DIFFERENCE).log2() * RANGE_STEPS - 1e-9).ceil();
        let range = range.clamp(0.0, f64::from(MAX_RANGE)) as u8;
        let (step, most) = (step_of(range), f64::from(MAX_LEVEL));
        Self {
            range,
            values: from_fn(|i| (differences[i] / step).round().clamp(-most, most) as i8),
        }
    }

    /// Returns the differences in levels of 8-bit values, times `gain`.
    pub(super) fn scaled(&self, gain: f32) -> [f32; N] {
        let step = self.step() * gain;
        self.values.map(|value| f32::from(value) * step)
    }

    /// Returns the smallest stored difference, in levels of 8-bit values.
    pub(super) fn step(&self) -> f32 {
        step_of(self.range) as f32
    }

    /// Returns the same levels in the order of their old positions.
    pub(super) fn rearrange(&self, source: impl Fn(usize) -> usize) -> Self {
        Self {
            range: self.range,
            values: from_fn(|i| self.values[source(i)]),
        }
    }
}

fn step_of(range: u8) -> f64 {
    MIN_DIFFERENCE * (f64::from(range) / RANGE_STEPS).exp2() / f64::from(MAX_LEVEL)
}
