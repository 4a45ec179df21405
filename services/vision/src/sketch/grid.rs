//! The sketch of a picture, as numbers.

use std::array::from_fn;

use super::cells::average_cells;
use crate::decode::decoded::DecodedImage;

/// Cells per side of the brightness.
pub(super) const SIDE: usize = 16;
/// Cells per side of the colour.
pub(super) const COLOR_SIDE: usize = 4;
/// The largest value of a stored brightness; the smallest is its negative.
pub(super) const MAX_LEVEL: i8 = 31;
/// The largest stored range of brightness; see [`Sketch::range`].
pub(super) const MAX_RANGE: u8 = 40;
/// Steps of the stored shape for a factor of two between width and height.
pub(super) const SHAPE_STEPS: f64 = 256.0;

/// Brightness and colour of a picture in cells.
///
/// The brightness is stored relative to its range in the picture, so that the faint structure of a
/// page or a night sky is kept as precisely as that of a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Logarithm of width ÷ height, in steps of [`SHAPE_STEPS`].
    pub(super) shape: i16,
    /// Mean brightness (luma), 0 to 255.
    pub(super) mean: u8,
    /// The largest difference of a cell from the mean, as a logarithm in steps of a quarter octave from
    /// a quarter of a level.
    pub(super) range: u8,
    /// Difference from the mean in 31sts of the range, row by row.
    pub(super) luma: [i8; SIDE * SIDE],
    /// Blue and red differences (Cb and Cr without their offset), row by row.
    pub(super) chroma: [[i8; 2]; COLOR_SIDE * COLOR_SIDE],
}

impl Sketch {
    /// Sketches an upright picture.
    ///
    /// # Panics
    /// Panics if the picture has no pixels, which never happens to images from
    /// [`decode_image`](crate::decode_image).
    pub fn from_image(image: &DecodedImage) -> Self {
        let colors = average_cells::<SIDE>(image);
        let luma: Vec<f64> = colors.iter().map(luma_of).collect();
        let mean = luma.iter().sum::<f64>() / luma.len() as f64;
        let largest = luma.iter().map(|value| (value - mean).abs());
        let largest = largest.fold(0.25_f64, f64::max);
        let range = ((largest / 0.25).log2() * 4.0 - 1e-9).ceil();
        let range = range.clamp(0.0, f64::from(MAX_RANGE)) as u8;
        let step = level_step(range);
        // Each cell of the colour is the mean of 4 × 4 of the others.
        let wide = SIDE / COLOR_SIDE;
        let chroma = from_fn(|cell| {
            let (row, column) = (cell / COLOR_SIDE * wide, cell % COLOR_SIDE * wide);
            let part = (0..wide * wide).map(|i| (row + i / wide) * SIDE + column + i % wide);
            let sum = part.fold([0.0; 2], |[blue, red], i| {
                [blue + colors[i][2] - luma[i], red + colors[i][0] - luma[i]]
            });
            let [blue, red] = sum.map(|value| value / (wide * wide) as f64);
            [blue * 0.5 / 0.886, red * 0.5 / 0.701].map(|value| value.round() as i8)
        });
        let shape = (f64::from(image.width) / f64::from(image.height)).log2() * SHAPE_STEPS;
        Self {
            shape: shape.round() as i16,
            mean: mean.round() as u8,
            range,
            luma: from_fn(|i| {
                let level = ((luma[i] - mean) / step).round();
                level.clamp(-f64::from(MAX_LEVEL), f64::from(MAX_LEVEL)) as i8
            }),
            chroma,
        }
    }

    /// Returns the brightness of the cells minus their mean, in levels of 8-bit values.
    pub(super) fn levels(&self) -> [f32; SIDE * SIDE] {
        let step = level_step(self.range) as f32;
        self.luma.map(|level| f32::from(level) * step)
    }

    /// Returns the size of the smallest stored difference of brightness, in levels of 8-bit values.
    pub(super) fn step(&self) -> f32 {
        level_step(self.range) as f32
    }

    /// Returns the sketch of the picture after one of the seven other orientations: bit 0 of `turn`
    /// mirrors left and right, bit 1 top and bottom, bit 2 then swaps rows and columns.
    pub(super) fn turned(&self, turn: u8) -> Self {
        let (mirrors, flips, swaps) = (turn & 1 != 0, turn & 2 != 0, turn & 4 != 0);
        let source = |cell: usize, side: usize| {
            let (row, column) = (cell / side, cell % side);
            let (row, column) = if swaps { (column, row) } else { (row, column) };
            let row = if flips { side - 1 - row } else { row };
            let column = if mirrors { side - 1 - column } else { column };
            row * side + column
        };
        Self {
            shape: if swaps {
                self.shape.saturating_neg()
            } else {
                self.shape
            },
            luma: from_fn(|cell| self.luma[source(cell, SIDE)]),
            chroma: from_fn(|cell| self.chroma[source(cell, COLOR_SIDE)]),
            ..*self
        }
    }
}

fn luma_of(rgb: &[f64; 3]) -> f64 {
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
}

fn level_step(range: u8) -> f64 {
    0.25 * (f64::from(range) / 4.0).exp2() / f64::from(MAX_LEVEL)
}
