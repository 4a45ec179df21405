//! Parts of a picture that a cropped copy may show, as normalised means of a few cells.

use super::grid::{CELLS, SIDE};

/// Cells per side for comparing parts of pictures.
pub(super) const PART_SIDE: usize = 8;
const PART_CELLS: usize = PART_SIDE * PART_SIDE;

/// The cells of a part. Their mean is 0, and the sum of their squares 1, or 0 if they are all equal.
pub(super) type PartCells = [f32; PART_CELLS];

/// Part of a picture: left, top, and side, as shares of the picture's sides.
#[derive(Clone, Copy)]
struct CropWindow {
    left: f32,
    top: f32,
    side: f32,
}

/// Returns the parts that a copy may show: first the whole, then 75 to 95 % of each side, in steps of less
/// than a cell.
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

/// All parts of a picture.
pub(super) struct PartViews(Vec<PartCells>);

impl PartViews {
    pub(super) fn new(levels: &[f32; CELLS]) -> Self {
        let sums = CellSums::new(levels);
        let views = crop_windows().map(|window| {
            let mut cells = sums.part(window);
            normalise(&mut cells);
            cells
        });
        Self(views.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PartCells> {
        self.0.iter()
    }

    pub(super) fn whole(&self) -> &PartCells {
        &self.0[0]
    }
}

/// Returns the cells of the whole picture.
pub(super) fn whole_view(levels: &[f32; CELLS]) -> PartCells {
    let wide = SIDE / PART_SIDE;
    let mut cells = [0.0; PART_CELLS];
    for (at, level) in levels.iter().enumerate() {
        cells[at / SIDE / wide * PART_SIDE + at % SIDE / wide] += level;
    }
    normalise(&mut cells);
    cells
}

/// Subtracts the mean and scales the sum of the squares to 1, unless all values are equal.
pub(super) fn normalise(values: &mut [f32]) {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    for value in &mut *values {
        *value -= mean;
    }
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
    for value in values {
        *value *= factor;
    }
}

/// Returns the correlation of normalised values, −1 to 1; 0 if a side does not vary.
pub(super) fn correlate(values: &[f32], others: &[f32]) -> f32 {
    // Several sums at once, because every addition waits for the one before.
    let ((values, rest), (others, other_rest)) = (values.as_chunks::<8>(), others.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (values, others) in values.iter().zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(values.iter().zip(others)) {
            *sum += a * b;
        }
    }
    let products = rest.iter().zip(other_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(products).sum()
}

/// Sums of all cells above and to the left of each corner of the cells.
struct CellSums([[f32; SIDE + 1]; SIDE + 1]);

impl CellSums {
    fn new(levels: &[f32; CELLS]) -> Self {
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

    /// Returns the sums of [`PART_SIDE`] × [`PART_SIDE`] cells of a part of the picture.
    fn part(&self, window: CropWindow) -> PartCells {
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
            corners[row + 1][column + 1] - corners[row][column + 1] - corners[row + 1][column]
                + corners[row][column]
        })
    }
}
