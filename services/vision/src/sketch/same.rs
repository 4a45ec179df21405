//! Whether two sketches show the same picture, or a turned copy.
//!
//! Copies that differ only as files have nearly equal levels. What remains comes from the compression, and
//! from pixels on the edges of cells after a change of the size. Both fall as the cells get larger in
//! pixels, so the limits depend on the smaller picture: a page of 1,240 × 1,754 pixels differs visibly from one
//! with another line of sixty, while a thumbnail of it does not. The limits were measured with copies of
//! training photos, pages, skies and icons; `training/README.md` contains the measurement.

use super::grid::{CELLS, SHAPE_STEPS, SIDE, STRIPS, Sketch};
use super::levels::Levels;

/// The largest difference of the logarithms of width ÷ height between copies: 5 %. Small copies round
/// their sides.
const MAX_SHAPE_DIFFERENCE: f64 = 0.07 * SHAPE_STEPS;
/// The largest difference of the mean brightness and of the mean colours between copies, in levels.
pub(super) const MAX_MEAN_DIFFERENCE: f32 = 3.0;
/// The largest difference of a cell's colour between copies, in levels.
const MAX_COLOR_DIFFERENCE: i16 = 6;

/// Compression makes thin dark lines on a white ground wider or narrower everywhere, which changes the
/// contrast of a page by up to this factor. The contrast of photos does not change.
const MAX_PAGE_GAIN: f32 = 1.15;
const MAX_PHOTO_GAIN: f32 = 1.04;
/// Contrasts from which pictures count as a photo more and more, and fully, in levels.
const PHOTO_CONTRAST: [f32; 2] = [20.0, 40.0];

/// What is expected of every value, in levels.
const LEAST_NOISE: f32 = 0.06;
/// Rounding of both sketches, as a share of their steps.
const ROUNDING: f32 = 0.4;
/// Compression in cells of up to [`BLOCK_PIXELS`] per side, as a share of the contrast, which counts up to
/// [`MAX_NOISE_CONTRAST`].
const COMPRESSION: f32 = 0.2;
const MAX_NOISE_CONTRAST: f32 = 20.0;
/// Side of a block of JPEG. Errors of blocks cancel each other in larger cells.
const BLOCK_PIXELS: f32 = 8.0;
/// Shift of the edge of a cell, in pixels.
const EDGE_SHIFT: f32 = 0.25;
/// Other changes, as a share of the contrast, and of the contrast that only photos have.
const CONTRAST_NOISE: f32 = 0.006;
const PHOTO_NOISE: f32 = 0.05;
const PHOTO_NOISE_CONTRAST: f32 = 24.0;

/// Limits as multiples of the noise: for each cell, for the root mean square of a row or column of cells
/// (one other line of a page changes many cells a little), and for each strip.
const CELL_LIMIT: f32 = 1.9;
const LINE_LIMIT: f32 = 0.62;
const STRIP_LIMIT: f32 = 2.0;
/// Compression changes isolated points, such as stars, and the cells next to them: a share of what they differ
/// by more than the contrast times [`POINT_CONTRASTS`], in levels.
const POINT_CHANGE: f32 = 1.3;
const POINT_CONTRASTS: f32 = 1.7;
const MAX_POINT_CHANGE: f32 = 3.0;

impl Sketch {
    /// Returns whether the pictures look the same: saved again, or in another size.
    pub fn is_same_picture(&self, other: &Self) -> bool {
        let (shape, other_shape) = (f64::from(self.shape), f64::from(other.shape));
        (shape - other_shape).abs() <= MAX_SHAPE_DIFFERENCE
            && self.has_mean_of(other)
            && self.has_colors_of(other)
            && self.has_levels_of(other)
    }

    /// Returns whether the other picture is this one after a turn, mirrored, or both.
    pub fn is_turned_copy(&self, other: &Self) -> bool {
        // Most pictures differ in what no turn changes.
        let (shape, other_shape) = (f64::from(self.shape).abs(), f64::from(other.shape).abs());
        (shape - other_shape).abs() <= MAX_SHAPE_DIFFERENCE
            && self.has_mean_of(other)
            && self.color_difference(other) <= MAX_MEAN_DIFFERENCE
            && (1..8).any(|turn| self.turned(turn).is_same_picture(other))
    }

    fn has_mean_of(&self, other: &Self) -> bool {
        (f32::from(self.mean) - f32::from(other.mean)).abs() <= MAX_MEAN_DIFFERENCE
    }

    fn has_colors_of(&self, other: &Self) -> bool {
        let cells = self.chroma.iter().flatten();
        let is_near = cells
            .zip(other.chroma.iter().flatten())
            .all(|(a, b)| (i16::from(*a) - i16::from(*b)).abs() <= MAX_COLOR_DIFFERENCE);
        is_near && self.color_difference(other) <= MAX_MEAN_DIFFERENCE
    }

    fn has_levels_of(&self, other: &Self) -> bool {
        let gain = self.find_gain(other);
        let pixels = self.cell_pixels().min(other.cell_pixels());
        let cells = LevelPair::new(&self.luma, &other.luma, gain);
        if !cells_agree(&cells, pixels) {
            return false;
        }
        let strips = self.strip_pixels();
        let other_strips = other.strip_pixels();
        [(&self.rows, &other.rows), (&self.columns, &other.columns)]
            .into_iter()
            .enumerate()
            .all(|(axis, (strips_of, others))| {
                let width = strips[axis].min(other_strips[axis]);
                strips_agree(&LevelPair::new(strips_of, others, gain), width, pixels)
            })
    }

    /// Returns the square root of the factor between the contrasts.
    fn find_gain(&self, other: &Self) -> f32 {
        let contrast = root_mean_square(&self.luma.scaled(1.0));
        let other_contrast = root_mean_square(&other.luma.scaled(1.0));
        if contrast.min(other_contrast) < 0.01 {
            return 1.0;
        }
        let [page, photo] = PHOTO_CONTRAST;
        let likeness = (f32::midpoint(contrast, other_contrast) - page) / (photo - page);
        let most = MAX_PAGE_GAIN + likeness.clamp(0.0, 1.0) * (MAX_PHOTO_GAIN - MAX_PAGE_GAIN);
        (other_contrast / contrast).clamp(1.0 / most, most).sqrt()
    }
}

/// Levels of two pictures, with equal contrasts.
struct LevelPair<const N: usize> {
    levels: [f32; N],
    others: [f32; N],
    contrast: f32,
    /// Sum of the steps of both.
    steps: f32,
}

impl<const N: usize> LevelPair<N> {
    fn new(levels: &Levels<N>, others: &Levels<N>, gain: f32) -> Self {
        let steps = levels.step() * gain + others.step() / gain;
        let (levels, others) = (levels.scaled(gain), others.scaled(1.0 / gain));
        Self {
            contrast: f32::midpoint(root_mean_square(&levels), root_mean_square(&others)),
            levels,
            others,
            steps,
        }
    }

    fn difference(&self, at: usize) -> f32 {
        (self.levels[at] - self.others[at]).abs()
    }

    /// Returns the larger level of both pictures.
    fn largest(&self, at: usize) -> f32 {
        self.levels[at].abs().max(self.others[at].abs())
    }

    /// Returns the larger difference of two neighbours.
    fn edge(&self, at: usize, neighbour: usize) -> f32 {
        let edge = |levels: &[f32; N]| (levels[at] - levels[neighbour]).abs();
        edge(&self.levels).max(edge(&self.others))
    }

    /// Returns the noise that all values have, in levels. `side` is that of a square of equal area, in pixels.
    fn common_noise(&self, side: f32) -> f32 {
        let blocks = (side / BLOCK_PIXELS).max(1.0);
        LEAST_NOISE
            + ROUNDING * self.steps
            + COMPRESSION * self.contrast.min(MAX_NOISE_CONTRAST) / blocks
            + CONTRAST_NOISE * self.contrast
            + PHOTO_NOISE * (self.contrast - PHOTO_NOISE_CONTRAST).max(0.0)
    }

    /// Returns what compression may change near a point of this level.
    fn point_change(&self, largest: f32) -> f32 {
        let excess = largest - POINT_CONTRASTS * self.contrast;
        (POINT_CHANGE * excess).clamp(0.0, MAX_POINT_CHANGE)
    }
}

/// Compares cells of this mean side, in pixels of the smaller picture.
fn cells_agree(cells: &LevelPair<CELLS>, pixels: f32) -> bool {
    let common = cells.common_noise(pixels);
    let mut squares = [[0.0_f32; 2]; 2 * SIDE];
    for at in 0..CELLS {
        let (row, column) = (at / SIDE, at % SIDE);
        let rows = row.saturating_sub(1)..=(row + 1).min(SIDE - 1);
        let columns = column.saturating_sub(1)..=(column + 1).min(SIDE - 1);
        let (mut largest, mut edge) = (0.0_f32, 0.0_f32);
        for neighbour_row in rows {
            for neighbour_column in columns.clone() {
                let neighbour = neighbour_row * SIDE + neighbour_column;
                largest = largest.max(cells.largest(neighbour));
                if neighbour_row == row || neighbour_column == column {
                    edge = edge.max(cells.edge(at, neighbour));
                }
            }
        }
        let noise = common + EDGE_SHIFT * edge / pixels;
        let point = cells.point_change(largest);
        let difference = cells.difference(at);
        if difference > CELL_LIMIT * noise + point {
            return false;
        }
        let limit = LINE_LIMIT * noise + point;
        for line in [row, SIDE + column] {
            squares[line][0] += difference * difference;
            squares[line][1] += limit * limit;
        }
    }
    squares
        .iter()
        .all(|[differences, limits]| differences <= limits)
}

/// Compares strips of this width, in pixels of the smaller picture.
fn strips_agree(strips: &LevelPair<STRIPS>, width: f32, cell_pixels: f32) -> bool {
    // Blocks cancel each other as in a cell with the area of a sixteenth of a strip.
    let side = (width.max(0.5) * cell_pixels).sqrt();
    let common = strips.common_noise(side);
    (0..STRIPS).all(|at| {
        let neighbours = [at.saturating_sub(1), (at + 1).min(STRIPS - 1)];
        let edges = neighbours.map(|neighbour| strips.edge(at, neighbour));
        let largest = neighbours.map(|neighbour| strips.largest(neighbour));
        let largest = largest[0].max(largest[1]).max(strips.largest(at));
        let noise = common + EDGE_SHIFT * edges[0].max(edges[1]) / width;
        strips.difference(at) <= STRIP_LIMIT * noise + strips.point_change(largest)
    })
}

pub(super) fn root_mean_square(levels: &[f32]) -> f32 {
    let squares: f32 = levels.iter().map(|level| level * level).sum();
    (squares / levels.len() as f32).sqrt()
}
