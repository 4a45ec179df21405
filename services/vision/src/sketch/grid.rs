//! The sketch of a picture, as numbers.

use std::array::from_fn;

use super::cells::{average_cells, average_lines};
use super::levels::Levels;
use crate::decode::decoded::DecodedImage;

/// Cells per side of the brightness.
pub(super) const SIDE: usize = 16;
pub(super) const CELLS: usize = SIDE * SIDE;
/// Strips across the picture, from top to bottom and from left to right.
pub(super) const STRIPS: usize = 64;
/// Cells per side of the colour.
pub(super) const COLOR_SIDE: usize = 4;
/// Steps of the stored shape for a factor of two between width and height.
pub(super) const SHAPE_STEPS: f64 = 256.0;
/// Steps of the stored size of a cell for a factor of two, and the smallest size, in pixels.
const SIZE_STEPS: f64 = 8.0;
const MIN_CELL_PIXELS: f64 = 1.0 / 16.0;

/// Brightness and colour of a picture in cells and strips.
///
/// The brightness is stored relative to its range in the picture, so that the faint structure of a
/// page or a night sky is kept as precisely as that of a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Logarithm of width ÷ height, in steps of [`SHAPE_STEPS`].
    pub(super) shape: i16,
    /// Logarithm of the mean side of a cell in pixels of the file, in steps of [`SIZE_STEPS`].
    pub(super) cell_size: u8,
    /// Mean brightness (luma), 0 to 255.
    pub(super) mean: u8,
    /// Brightness of the cells minus the mean, row by row.
    pub(super) luma: Levels<CELLS>,
    /// Brightness of strips across the picture minus the mean, from top to bottom. They show where in
    /// a cell a thin line is.
    pub(super) rows: Levels<STRIPS>,
    /// The same from left to right.
    pub(super) columns: Levels<STRIPS>,
    /// Blue and red differences (Cb and Cr without their offset), row by row.
    pub(super) chroma: [[i8; 2]; COLOR_SIDE * COLOR_SIDE],
}

impl Sketch {
    /// Sketches an upright picture. `file_width` and `file_height` are its size in the file, which may be larger
    /// than that of the decoded picture.
    ///
    /// # Panics
    /// Panics if the picture has no pixels, which never happens to images from
    /// [`decode_image`](crate::decode_image).
    pub fn from_image(image: &DecodedImage, file_width: u32, file_height: u32) -> Self {
        let colors = average_cells::<SIDE>(image);
        let luma: [f64; CELLS] = from_fn(|cell| luma_of(&colors[cell]));
        let mean = luma.iter().sum::<f64>() / CELLS as f64;
        let lines = average_lines::<STRIPS>(image);
        let strips = |strips: &[[f64; 3]]| from_fn(|strip| luma_of(&strips[strip]) - mean);
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
        let cell = (f64::from(file_width) * f64::from(file_height)).sqrt() / SIDE as f64;
        let cell_size = (cell / MIN_CELL_PIXELS).log2() * SIZE_STEPS;
        Self {
            shape: shape.round() as i16,
            cell_size: cell_size.round().clamp(0.0, 255.0) as u8,
            mean: mean.round() as u8,
            luma: Levels::from_differences(&luma.map(|value| value - mean)),
            rows: Levels::from_differences(&strips(&lines.rows)),
            columns: Levels::from_differences(&strips(&lines.columns)),
            chroma,
        }
    }

    /// Returns the mean side of a cell in pixels of the file.
    pub(super) fn cell_pixels(&self) -> f32 {
        (MIN_CELL_PIXELS * (f64::from(self.cell_size) / SIZE_STEPS).exp2()) as f32
    }

    /// Returns the mean height and the mean width of a strip in pixels of the file.
    pub(super) fn strip_pixels(&self) -> [f32; 2] {
        let stretch = (f64::from(self.shape) / SHAPE_STEPS / 2.0).exp2() as f32;
        let mean = self.cell_pixels() * SIDE as f32 / STRIPS as f32;
        [mean / stretch, mean * stretch]
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
        let line = |strips: &Levels<STRIPS>, is_reversed: bool| {
            strips.rearrange(|strip| {
                if is_reversed {
                    STRIPS - 1 - strip
                } else {
                    strip
                }
            })
        };
        let rows = line(&self.rows, flips);
        let columns = line(&self.columns, mirrors);
        let (rows, columns) = if swaps {
            (columns, rows)
        } else {
            (rows, columns)
        };
        Self {
            shape: if swaps {
                self.shape.saturating_neg()
            } else {
                self.shape
            },
            luma: self.luma.rearrange(|cell| source(cell, SIDE)),
            rows,
            columns,
            chroma: from_fn(|cell| self.chroma[source(cell, COLOR_SIDE)]),
            ..*self
        }
    }
}

fn luma_of(rgb: &[f64; 3]) -> f64 {
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
}
