//! Rows of tokens: from a map of patches to rows, and the choice of one row.

use std::ops::Range;

use crate::{
    memory::AlignedArray,
    simd::{Kernel, Simd},
    step::pad_channels,
};

/// Turns the map of an image's patches into the rows of a transformer.
pub(crate) struct TokenEmbedding {
    /// The rows before the patches, then the positions of the patches. Rows are padded with 0.
    rows: AlignedArray<f32>,
    prefix_rows: usize,
    patches: usize,
    width: usize,
}

impl TokenEmbedding {
    /// `prefix` has the rows before the patches, with their positions added: the class token and the
    /// registers. `positions` has one row per patch.
    ///
    /// # Panics
    ///
    /// If one of them does not consist of whole rows, or if there are no patches.
    pub(crate) fn new(prefix: &[f32], positions: &[f32], width: usize) -> Self {
        assert!(
            width > 0 && prefix.len().is_multiple_of(width),
            "the tokens before the patches are whole rows"
        );
        assert!(
            !positions.is_empty() && positions.len().is_multiple_of(width),
            "each patch has a row of positions"
        );
        let mut rows = Vec::new();
        for row in prefix
            .chunks_exact(width)
            .chain(positions.chunks_exact(width))
        {
            rows.extend_from_slice(row);
            rows.resize(rows.len() + pad_channels(width) - width, 0.0);
        }
        Self {
            rows: AlignedArray::from_slice(&rows),
            prefix_rows: prefix.len() / width,
            patches: positions.len() / width,
            width,
        }
    }

    /// The rows per image.
    pub(crate) fn count_rows(&self) -> usize {
        self.prefix_rows + self.patches
    }

    /// The size of the parameters in bytes.
    pub(crate) fn size(&self) -> usize {
        self.rows.size()
    }
}

/// Writes the rows of one image, each padded to a multiple of 16 numbers.
///
/// # Safety
///
/// `map` is valid for reads of the patches, with `map_width` patches per line, and lines `map_line`
/// elements apart. Each patch has as many elements as a padded row, and the padding is 0. `output` is
/// valid for writes of `count_rows()` rows.
pub(crate) struct EmbedTokens<'a, E> {
    pub(crate) embedding: &'a TokenEmbedding,
    pub(crate) map: *const E,
    pub(crate) map_width: usize,
    pub(crate) map_line: usize,
    /// The first number of the first row, whichever rows are written.
    pub(crate) output: *mut f32,
    /// The rows to write.
    pub(crate) rows: Range<usize>,
}

impl<S: Simd> Kernel<S> for EmbedTokens<'_, S::Element> {
    type Output = ();

    #[inline(always)]
    unsafe fn run(self) {
        let embedding = self.embedding;
        let pitch = pad_channels(embedding.width);
        for row in self.rows.clone() {
            // SAFETY: the row is inside of the output and of the constant rows, and its patch is inside
            // of the map.
            unsafe {
                let constant = embedding.rows.as_ptr().add(row * pitch);
                let output = self.output.add(row * pitch);
                if row < embedding.prefix_rows {
                    std::ptr::copy_nonoverlapping(constant, output, pitch);
                    continue;
                }
                let patch = row - embedding.prefix_rows;
                let (y, x) = (patch / self.map_width, patch % self.map_width);
                let numbers = self.map.add(y * self.map_line + x * pitch);
                for column in (0..pitch).step_by(S::LANES) {
                    let number = S::load_elements(numbers.add(column));
                    let sum = S::add(number, S::load(constant.add(column)));
                    S::store(output.add(column), sum);
                }
            }
        }
    }
}

/// Which row of an image or a text a program keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPlace {
    First,
    Last,
}

impl RowPlace {
    /// Returns the place of the row among `rows` rows.
    pub(crate) fn index(self, rows: usize) -> usize {
        match self {
            Self::First => 0,
            Self::Last => rows - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        InstructionSet,
        random::TestNumbers,
        simd::{self, Element, SimdVisitor},
    };

    struct CheckTokens {
        prefix_rows: usize,
        height: usize,
        width: usize,
        channels: usize,
        /// Elements after each line of the map.
        gap: usize,
    }

    impl SimdVisitor for CheckTokens {
        type Output = ();

        fn visit<S: Simd>(self) {
            let (channels, pitch) = (self.channels, pad_channels(self.channels));
            let patches = self.height * self.width;
            let mut random = TestNumbers::new(3);
            let prefix = random.normals(self.prefix_rows * channels);
            let positions = random.normals(patches * channels);
            let line = self.width * pitch + self.gap;
            let mut map = vec![S::Element::default(); self.height * line];
            let mut expected = Vec::new();
            let mut add_row = |row: &[f32]| {
                expected.extend_from_slice(row);
                expected.resize(expected.len().next_multiple_of(pitch), 0.0);
            };
            prefix.chunks_exact(channels).for_each(&mut add_row);
            for (patch, position) in positions.chunks_exact(channels).enumerate() {
                let start = patch / self.width * line + patch % self.width * pitch;
                let elements = &mut map[start..][..channels];
                elements.fill_with(|| S::Element::from_f32(random.next_normal()));
                let pairs = elements.iter().zip(position);
                let sums: Vec<f32> = pairs.map(|(a, b)| a.to_f32() + b).collect();
                add_row(&sums);
            }
            let embedding = TokenEmbedding::new(&prefix, &positions, channels);
            let count = embedding.count_rows();
            let mut output = vec![f32::NAN; count * pitch];
            for rows in [0..count / 2, count / 2..count] {
                // SAFETY: `visit` checks that the processor supports the set. The vectors have the sizes
                // that the kernel needs.
                unsafe {
                    S::enter(EmbedTokens {
                        embedding: &embedding,
                        map: map.as_ptr(),
                        map_width: self.width,
                        map_line: line,
                        output: output.as_mut_ptr(),
                        rows,
                    });
                }
            }
            assert_eq!(output, expected);
        }
    }

    #[test]
    fn patches_follow_the_prefix() {
        for (prefix_rows, height, width, channels, gap) in [
            (1, 14, 14, 384, 0),
            (0, 3, 5, 13, 32),
            (5, 1, 1, 7, 16),
            (2, 2, 3, 37, 0),
        ] {
            for set in InstructionSet::ALL {
                if set.is_supported() {
                    let check = CheckTokens {
                        prefix_rows,
                        height,
                        width,
                        channels,
                        gap,
                    };
                    simd::visit(set, check);
                }
            }
        }
    }
}
