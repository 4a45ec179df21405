//! Places values in memory so that values that are needed at the same time do not overlap.

use std::ops::RangeInclusive;

use crate::memory::ALIGNMENT;

/// The memory that a value needs.
#[derive(Debug, Clone)]
pub(super) struct Lifetime {
    pub(super) bytes: usize,
    /// The steps during which the value exists.
    pub(super) steps: RangeInclusive<usize>,
}

/// Bytes after each value: kernels may read a vector beyond its end.
const SLACK: usize = 64;

/// Returns the offset of each value, and the bytes of all.
pub(super) fn place_values(values: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<_> = (0..values.len()).collect();
    // Large values first: small ones then fill the gaps.
    order.sort_by_key(|index| std::cmp::Reverse(values[*index].bytes));
    let mut offsets = vec![0; values.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for index in order {
        let value = &values[index];
        let mut neighbours: Vec<_> = placed
            .iter()
            .copied()
            .filter(|other| {
                let other = &values[*other].steps;
                other.start() <= value.steps.end() && value.steps.start() <= other.end()
            })
            .map(|other| (offsets[other], offsets[other] + padded(values[other].bytes)))
            .collect();
        neighbours.sort_unstable();
        let mut offset = 0;
        for (start, end) in neighbours {
            if offset + padded(value.bytes) <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        total = total.max(offset + padded(value.bytes));
        placed.push(index);
    }
    (offsets, total)
}

fn padded(bytes: usize) -> usize {
    (bytes + SLACK).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::TestNumbers;

    #[test]
    fn values_that_exist_together_do_not_overlap() {
        let mut random = TestNumbers::new(1);
        for _ in 0..100 {
            let values: Vec<_> = (0..30)
                .map(|_| {
                    let start = random.below(20);
                    Lifetime {
                        bytes: random.below(1000) + 1,
                        steps: start..=start + random.below(6),
                    }
                })
                .collect();
            let (offsets, total) = place_values(&values);
            for (a, first) in values.iter().enumerate() {
                assert!(offsets[a] + first.bytes <= total && offsets[a] % ALIGNMENT == 0);
                for (b, second) in values.iter().enumerate().skip(a + 1) {
                    let meet = first.steps.start() <= second.steps.end()
                        && second.steps.start() <= first.steps.end();
                    let overlap = offsets[a] < offsets[b] + second.bytes
                        && offsets[b] < offsets[a] + first.bytes;
                    assert!(!meet || !overlap);
                }
            }
        }
    }
}
