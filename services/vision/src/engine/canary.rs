//! Known inputs in every batch of a device, whose vectors must be the same as before.
//!
//! A GPU that is lost may return old memory without an error. Therefore two successive batches of the
//! same size never contain the same canary: the old vectors of one are wrong for the other. The place
//! changes, too, so that a batch whose end alone was written is found out.

use std::{cell::RefCell, collections::HashMap};

use crate::{error::Error, model::golden::check_golden_vector};

/// Two inputs with the vectors that the device computed for them when it was checked.
pub(super) struct CanaryPair<T> {
    canaries: [(T, Vec<f32>); 2],
    /// Runs so far for each number of inputs.
    runs: RefCell<HashMap<usize, usize>>,
}

/// The canary of one batch, and its place among the inputs.
pub(super) struct PlacedCanary<'a, T> {
    pub input: &'a T,
    pub position: usize,
    expected: &'a [f32],
}

impl<T> CanaryPair<T> {
    /// # Errors
    /// If both vectors are identical: the device returns one result for everything.
    pub(super) fn new(canaries: [(T, Vec<f32>); 2]) -> Result<Self, Error> {
        if canaries[0].1 == canaries[1].1 {
            return Err(Error::BadVector {
                problem: "the device computes the same vector for two different inputs".to_owned(),
            });
        }
        Ok(Self {
            canaries,
            runs: RefCell::default(),
        })
    }

    pub(super) fn first_input(&self) -> &T {
        &self.canaries[0].0
    }

    /// Chooses the canary of the next batch.
    pub(super) fn place_next(&self, inputs: usize) -> PlacedCanary<'_, T> {
        let mut runs = self.runs.borrow_mut();
        let run = runs.entry(inputs).or_default();
        let (input, expected) = &self.canaries[*run % 2];
        let position = *run / 2 % (inputs + 1);
        *run = run.wrapping_add(1);
        PlacedCanary {
            input,
            position,
            expected,
        }
    }
}

impl<T> PlacedCanary<'_, T> {
    /// Removes the vector of the canary from those of the batch, and compares it.
    pub(super) fn remove_vector(&self, vectors: &mut Vec<Vec<f32>>) -> Result<(), Error> {
        let actual = vectors.remove(self.position);
        check_golden_vector(self.expected, &actual).map_err(|cosine| Error::BadVector {
            problem: format!(
                "the device computed another vector of a known input than before (cosine \
                 {cosine:.4})"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_one_size_alternate() {
        let pair = CanaryPair::new([('a', vec![1.0, 0.0]), ('b', vec![0.0, 1.0])]).unwrap();
        let mut places = Vec::new();
        for _ in 0..6 {
            // Batches of another size change nothing.
            pair.place_next(7);
            let placed = pair.place_next(1);
            places.push((*placed.input, placed.position));
        }
        let period = [('a', 0), ('b', 0), ('a', 1), ('b', 1)];
        assert_eq!(places[..4], period);
        assert_eq!(places[4..], period[..2]);
        assert!(CanaryPair::new([('a', vec![1.0]), ('b', vec![1.0])]).is_err());
    }
}
