//! Whether two sketches show the same picture, a turned copy, or an altered copy.
//!
//! The limits were chosen with training photos and drawn pages of text; `training/README.md` contains
//! the measurement.

use super::grid::{MAX_LEVEL, SHAPE_STEPS, SIDE, Sketch};

/// The largest difference of the logarithms of width ÷ height between copies: 5 %. Small copies round
/// their sides.
const MAX_SHAPE_DIFFERENCE: f64 = 0.07 * SHAPE_STEPS;
/// The largest difference of the mean brightness and of the mean colours between copies, in levels.
const MAX_MEAN_DIFFERENCE: f32 = 3.0;
/// The largest difference of a cell's colour between copies, in levels.
const MAX_COLOR_DIFFERENCE: i16 = 6;
/// The largest difference of a cell's brightness between copies, as a share of the contrast there.
const MAX_CELL_DIFFERENCE: f32 = 0.1;
/// The further difference that compression causes in cells with a detail, as a share of the largest
/// detail and in levels. It matters in a picture that is empty but for some points or lines.
const DETAIL_DIFFERENCE: f32 = 0.35;
const MIN_DETAIL_LEVELS: f32 = 0.08;
const MAX_DETAIL_LEVELS: f32 = 1.25;

/// Pictures with less contrast than this are of one colour, in levels.
const FLAT_CONTRAST: f32 = 0.04;
/// Altered copies of pictures of one colour differ by at most so many levels.
const MAX_FLAT_CHANGE: f32 = 12.0;
/// Pictures with less contrast than this have little in them, in levels, and so do those of one colour.
/// A photo has a contrast of about 50.
const LOW_CONTRAST: f32 = 8.0;
/// The colours of all cells of a page differ by at most so many levels from their mean.
const MAX_PAGE_COLOR_RANGE: f32 = 4.0;
/// The least correlation of altered copies of such pictures. Different pages of one book have 0.97.
const MIN_PAGE_CORRELATION: f32 = 0.985;
/// The largest difference of the mean colours of altered copies with colours, in levels.
const MAX_COLOR_CHANGE: f32 = 25.0;
/// The least correlation of altered copies, where they overlap. Cropped copies have 0.95, and the
/// most similar of thirty other photos 0.8.
const MIN_CORRELATION: f32 = 0.8;
/// The least correlation of copies with a caption, outside the caption.
const MIN_STRIP_CORRELATION: f32 = 0.9;

/// Cells per side for comparing parts of pictures.
const PART_SIDE: usize = 8;

impl Sketch {
    /// Returns whether the pictures look the same: saved again, or in another size.
    pub fn is_same_picture(&self, other: &Self) -> bool {
        let (shape, other_shape) = (f64::from(self.shape), f64::from(other.shape));
        let means = (f32::from(self.mean) - f32::from(other.mean)).abs();
        if (shape - other_shape).abs() > MAX_SHAPE_DIFFERENCE
            || means > MAX_MEAN_DIFFERENCE
            || !self.has_colors_of(other)
        {
            return false;
        }
        let (levels, other_levels) = (self.levels(), other.levels());
        let contrast = (root_mean_square(&levels) + root_mean_square(&other_levels)) / 2.0;
        let step = self.step().max(other.step());
        let largest = f32::from(MAX_LEVEL) * step;
        let detail = (DETAIL_DIFFERENCE * largest).clamp(MIN_DETAIL_LEVELS, MAX_DETAIL_LEVELS);
        levels.iter().zip(&other_levels).all(|(a, b)| {
            let near = MAX_CELL_DIFFERENCE * (contrast + (a.abs() + b.abs()) / 2.0);
            (a - b).abs() <= near + step + detail
        })
    }

    /// Returns whether the other picture is this one after a turn, mirrored, or both.
    pub fn is_turned_copy(&self, other: &Self) -> bool {
        (1..8).any(|turn| self.turned(turn).is_same_picture(other))
    }

    /// Returns whether one picture is an altered copy of the other: cropped, framed, captioned, brighter,
    /// without colour, of another width.
    pub fn is_altered_copy(&self, other: &Self) -> bool {
        let (levels, other_levels) = (self.levels(), other.levels());
        let (contrast, other_contrast) =
            (root_mean_square(&levels), root_mean_square(&other_levels));
        let (lower, higher) = (contrast.min(other_contrast), contrast.max(other_contrast));
        let color_change = self.color_difference(other);
        if higher < FLAT_CONTRAST {
            let means = (f32::from(self.mean) - f32::from(other.mean)).abs();
            return means <= MAX_FLAT_CHANGE && color_change <= MAX_FLAT_CHANGE;
        }
        let (has_one_color, other_has_one_color) = (self.has_one_color(), other.has_one_color());
        // A copy may have lost its colours.
        if color_change > MAX_COLOR_CHANGE && !has_one_color && !other_has_one_color {
            return false;
        }
        if lower < LOW_CONTRAST || (has_one_color && other_has_one_color) {
            return correlation(&levels, &other_levels) >= MIN_PAGE_CORRELATION;
        }
        let (sums, other_sums) = (CellSums::new(&levels), CellSums::new(&other_levels));
        let (whole, other_whole) = (sums.part(WHOLE), other_sums.part(WHOLE));
        let has_caption = || {
            let (rows, two_rows) = (PART_SIDE, 2 * PART_SIDE);
            let end = PART_SIDE * PART_SIDE;
            [rows..end, two_rows..end, 0..end - rows, 0..end - two_rows]
                .into_iter()
                .any(|strip| {
                    correlation(&whole[strip.clone()], &other_whole[strip]) >= MIN_STRIP_CORRELATION
                })
        };
        has_caption()
            || crop_windows().any(|window| {
                correlation(&sums.part(window), &other_whole) >= MIN_CORRELATION
                    || correlation(&other_sums.part(window), &whole) >= MIN_CORRELATION
            })
    }

    fn has_colors_of(&self, other: &Self) -> bool {
        let cells = self.chroma.iter().flatten();
        let is_near = cells
            .zip(other.chroma.iter().flatten())
            .all(|(a, b)| (i16::from(*a) - i16::from(*b)).abs() <= MAX_COLOR_DIFFERENCE);
        is_near && self.color_difference(other) <= MAX_MEAN_DIFFERENCE
    }

    /// Returns the larger difference of the two mean colours.
    fn color_difference(&self, other: &Self) -> f32 {
        let (mean, other_mean) = (self.mean_color(), other.mean_color());
        let difference = |of: usize| (mean[of] - other_mean[of]).abs();
        difference(0).max(difference(1))
    }

    fn has_one_color(&self) -> bool {
        let mean = self.mean_color();
        let is_near = |pair: &[i8; 2]| {
            let difference = |of: usize| (f32::from(pair[of]) - mean[of]).abs();
            difference(0).max(difference(1)) <= MAX_PAGE_COLOR_RANGE
        };
        self.chroma.iter().all(is_near)
    }

    fn mean_color(&self) -> [f32; 2] {
        [0, 1].map(|of| {
            let values = self.chroma.iter().map(|pair| f32::from(pair[of]));
            values.sum::<f32>() / self.chroma.len() as f32
        })
    }
}

/// Part of a picture: left, top, and side, as shares of the picture's sides.
#[derive(Clone, Copy)]
struct CropWindow {
    left: f32,
    top: f32,
    side: f32,
}

const WHOLE: CropWindow = CropWindow {
    left: 0.0,
    top: 0.0,
    side: 1.0,
};

/// Returns the parts that a copy may show: 75 to 100 % of each side, in steps of less than a cell.
fn crop_windows() -> impl Iterator<Item = CropWindow> {
    [
        (1.0, 1),
        (0.95, 2),
        (0.9, 3),
        (0.85, 4),
        (0.8, 5),
        (0.75, 6),
    ]
    .into_iter()
    .flat_map(|(side, positions)| {
        let position = move |number: u8| match positions {
            1 => 0.0,
            _ => (1.0 - side) * f32::from(number) / f32::from(positions - 1),
        };
        (0..positions * positions).map(move |number: u8| CropWindow {
            left: position(number % positions),
            top: position(number / positions),
            side,
        })
    })
}

/// Sums of all cells above and to the left of each corner of the cells.
struct CellSums([[f32; SIDE + 1]; SIDE + 1]);

impl CellSums {
    fn new(levels: &[f32; SIDE * SIDE]) -> Self {
        let mut sums = [[0.0; SIDE + 1]; SIDE + 1];
        for row in 0..SIDE {
            for column in 0..SIDE {
                sums[row + 1][column + 1] =
                    levels[row * SIDE + column] + sums[row][column + 1] + sums[row + 1][column]
                        - sums[row][column];
            }
        }
        Self(sums)
    }

    /// Returns the sum above and to the left of a point, in cells.
    fn sum_to(&self, x: f32, y: f32) -> f32 {
        let (column, row) = ((x as usize).min(SIDE - 1), (y as usize).min(SIDE - 1));
        let (right, below) = (x - column as f32, y - row as f32);
        let between = |row: usize| {
            self.0[row][column] + right * (self.0[row][column + 1] - self.0[row][column])
        };
        between(row) + below * (between(row + 1) - between(row))
    }

    /// Returns the means of [`PART_SIDE`] × [`PART_SIDE`] cells of a part of the picture.
    fn part(&self, window: CropWindow) -> [f32; PART_SIDE * PART_SIDE] {
        let scale = SIDE as f32;
        let cell = window.side * scale / PART_SIDE as f32;
        let (left, top) = (window.left * scale, window.top * scale);
        let corners: [[f32; PART_SIDE + 1]; PART_SIDE + 1] = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                self.sum_to(left + column as f32 * cell, top + row as f32 * cell)
            })
        });
        std::array::from_fn(|number| {
            let (row, column) = (number / PART_SIDE, number % PART_SIDE);
            let sum =
                corners[row + 1][column + 1] - corners[row][column + 1] - corners[row + 1][column]
                    + corners[row][column];
            sum / (cell * cell)
        })
    }
}

fn root_mean_square(levels: &[f32]) -> f32 {
    let squares: f32 = levels.iter().map(|level| level * level).sum();
    (squares / levels.len() as f32).sqrt()
}

/// Returns the correlation, −1 to 1; 0 if a side does not vary.
fn correlation(levels: &[f32], others: &[f32]) -> f32 {
    let mean = |levels: &[f32]| levels.iter().sum::<f32>() / levels.len() as f32;
    let (mean, other_mean) = (mean(levels), mean(others));
    let (mut product, mut square, mut other_square) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (level, other) in levels.iter().zip(others) {
        let (level, other) = (level - mean, other - other_mean);
        product += level * other;
        square += level * level;
        other_square += other * other;
    }
    let length = (square * other_square).sqrt();
    if length > 0.0 { product / length } else { 0.0 }
}
