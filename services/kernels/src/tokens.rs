//! Rows of tokens: from a map of patches to rows, and from rows to one row.

use crate::simd::{Kernel, Simd};

/// Turns the map of an image's patches into the rows of a transformer.
#[derive(Debug, Clone)]
pub(crate) struct TokenEmbedding {
    /// The rows before the patches, with their positions added: the class token and the registers.
    prefix: Vec<f32>,
    /// One row per patch.
    positions: Vec<f32>,
    width: usize,
}

impl TokenEmbedding {
    /// # Panics
    ///
    /// If `prefix` or `positions` has no whole rows, or if there are no patches.
    pub(crate) fn new(prefix: Vec<f32>, positions: Vec<f32>, width: usize) -> Self {
        assert!(
            width > 0 && prefix.len().is_multiple_of(width),
            "the tokens before the patches are whole rows"
        );
        assert!(
            !positions.is_empty() && positions.len().is_multiple_of(width),
            "each patch has a row of positions"
        );
        Self {
            prefix,
            positions,
            width,
        }
    }

    /// The rows per image.
    pub(crate) fn rows(&self) -> usize {
        (self.prefix.len() + self.positions.len()) / self.width
    }

    #[inline(always)]
    fn embed<S: Simd>(&self, map: &[S::Element], output: &mut [f32]) {
        assert_eq!(map.len(), self.positions.len(), "one row per patch");
        assert_eq!(
            output.len(),
            self.prefix.len() + map.len(),
            "the output has the tokens before the patches and the patches"
        );
        let (before, patches) = output.split_at_mut(self.prefix.len());
        before.copy_from_slice(&self.prefix);
        for start in (0..map.len()).step_by(S::LANES) {
            let count = S::LANES.min(map.len() - start);
            // SAFETY: `map`, `positions` and `patches` have the same length, and `start + count` is at
            // most that.
            unsafe {
                let patch = S::load_elements_partial(map.as_ptr().add(start), count);
                let position = S::load_partial(self.positions.as_ptr().add(start), count);
                let sum = S::add(patch, position);
                S::store_partial(patches.as_mut_ptr().add(start), sum, count);
            }
        }
    }
}

/// Writes the rows of one image, `rows() * width` numbers. `map` has `[patches][width]` elements.
pub(crate) struct EmbedTokens<'a, E> {
    pub(crate) embedding: &'a TokenEmbedding,
    pub(crate) map: &'a [E],
    pub(crate) output: &'a mut [f32],
}

impl<S: Simd> Kernel<S> for EmbedTokens<'_, S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        self.embedding.embed::<S>(self.map, self.output);
    }
}

/// Which row of an image or a text [`crate::ProgramBuilder::select_row`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPlace {
    First,
    Last,
}

impl RowPlace {
    /// Returns the chosen row of `rows`, which have `width` numbers each.
    pub(crate) fn select<T>(self, rows: &[T], width: usize) -> &[T] {
        match self {
            Self::First => &rows[..width],
            Self::Last => &rows[rows.len() - width..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        InstructionSet,
        random::Random,
        simd::{self, Element, SimdVisitor},
    };

    struct CheckTokens {
        prefix_rows: usize,
        patches: usize,
        width: usize,
    }

    impl SimdVisitor for CheckTokens {
        type Output = ();

        fn visit<S: Simd>(self) {
            let width = self.width;
            let mut random = Random::new(3);
            let prefix = random.normals(self.prefix_rows * width);
            let positions = random.normals(self.patches * width);
            let map: Vec<S::Element> = random
                .normals(self.patches * width)
                .into_iter()
                .map(S::Element::from_f32)
                .collect();
            let embedding = TokenEmbedding::new(prefix.clone(), positions.clone(), width);
            let mut output = vec![f32::NAN; embedding.rows() * width];
            // SAFETY: `visit` checks that the processor supports the set.
            unsafe {
                S::enter(EmbedTokens {
                    embedding: &embedding,
                    map: &map,
                    output: &mut output,
                });
            }
            let sums = map.iter().zip(&positions).map(|(a, b)| a.to_f32() + b);
            let expected: Vec<f32> = prefix.into_iter().chain(sums).collect();
            assert_eq!(output, expected);
            assert_eq!(RowPlace::First.select(&output, width), &expected[..width]);
            let last = expected.len() - width;
            assert_eq!(RowPlace::Last.select(&output, width), &expected[last..]);
        }
    }

    #[test]
    fn patches_follow_the_prefix() {
        for (prefix_rows, patches, width) in [(1, 196, 384), (0, 9, 13), (5, 1, 7)] {
            for set in InstructionSet::ALL {
                if set.is_supported() {
                    let check = CheckTokens {
                        prefix_rows,
                        patches,
                        width,
                    };
                    simd::visit(set, check);
                }
            }
        }
    }
}
