//! Whether one picture is an altered copy of another: cropped, framed, captioned, brighter, without
//! colour, of another width.
//!
//! The limits were chosen with training photos, icons, and drawn pages of text; `training/README.md` contains
//! the measurement.

use super::grid::{CELLS, SIDE, Sketch};
use super::parts::{PART_SIDE, PartCells, PartViews, correlate, normalise, whole_view};
use super::same::root_mean_square;

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
/// The least correlation of copies that no vector needs to confirm. The most similar of thirty other photos
/// have 0.86 in 99 of 100 cases.
const MIN_CLEAR_CORRELATION: f32 = 0.93;
/// The least correlation of the whole of both. Nearly all copies have more, and most other pictures less.
const MIN_WHOLE_CORRELATION: f32 = 0.4;

/// Cells that differ by less than this share of the contrast from those to the right and below are even.
const EVEN_SHARE: f32 = 0.04;
/// Share of even cells from which a picture is a flat graphic, such as an icon. Most photos have less than 0.2.
const MIN_EVEN_CELLS: f32 = 0.33;
/// Icons in one style correlate as strongly as copies, because their ground is the same. The largest
/// difference of a part of flat graphics, as a multiple of the standard deviation.
const MAX_FLAT_DIFFERENCE: f32 = 0.6;

/// A picture, prepared for comparing it with many others.
pub struct AlterationSearch {
    sketch: Sketch,
    levels: [f32; CELLS],
    contrast: f32,
    is_even: bool,
    parts: PartViews,
}

impl AlterationSearch {
    pub fn new(sketch: Sketch) -> Self {
        let levels = sketch.luma.scaled(1.0);
        Self {
            contrast: root_mean_square(&levels),
            is_even: has_even_cells(&levels, sketch.luma.step()),
            parts: PartViews::new(&levels),
            levels,
            sketch,
        }
    }

    /// Returns whether one picture is an altered copy of the other. The order does not matter.
    pub fn is_altered_copy(&self, other: &Sketch) -> bool {
        let sketch = &self.sketch;
        let other_levels = other.luma.scaled(1.0);
        let other_contrast = root_mean_square(&other_levels);
        let lower = self.contrast.min(other_contrast);
        let color_change = sketch.color_difference(other);
        if self.contrast.max(other_contrast) < FLAT_CONTRAST {
            let means = (f32::from(sketch.mean) - f32::from(other.mean)).abs();
            return means <= MAX_FLAT_CHANGE && color_change <= MAX_FLAT_CHANGE;
        }
        let (has_one_color, other_has_one_color) = (sketch.has_one_color(), other.has_one_color());
        // A copy may have lost its colours.
        if color_change > MAX_COLOR_CHANGE && !has_one_color && !other_has_one_color {
            return false;
        }
        if lower < LOW_CONTRAST || (has_one_color && other_has_one_color) {
            let (mut levels, mut other_levels) = (self.levels, other_levels);
            normalise(&mut levels);
            normalise(&mut other_levels);
            return correlate(&levels, &other_levels) >= MIN_PAGE_CORRELATION;
        }
        let match_of = PartMatch {
            min_correlation: MIN_CORRELATION,
            max_difference: self.max_difference(other, &other_levels),
        };
        let other_parts = PartViews::new(&other_levels);
        match_of.finds_caption(self.parts.whole(), other_parts.whole())
            || match_of.finds_parts(&self.parts, &other_parts)
    }

    /// Returns whether one picture shows a part of the other, or all of it, so clearly that their vectors need not
    /// confirm it: a vector may change much with the colours or with a frame.
    pub fn is_clear_copy(&self, other: &Sketch) -> bool {
        let other_levels = other.luma.scaled(1.0);
        if self.contrast.min(root_mean_square(&other_levels)) < LOW_CONTRAST
            || (self.sketch.has_one_color() && other.has_one_color())
        {
            return false;
        }
        let other_whole = whole_view(&other_levels);
        if correlate(self.parts.whole(), &other_whole) < MIN_WHOLE_CORRELATION {
            return false;
        }
        let match_of = PartMatch {
            min_correlation: MIN_CLEAR_CORRELATION,
            max_difference: self.max_difference(other, &other_levels),
        };
        match_of.finds_parts(&self.parts, &PartViews::new(&other_levels))
    }

    /// Returns how much cells of a part may differ, in standard deviations.
    fn max_difference(&self, other: &Sketch, other_levels: &[f32; CELLS]) -> f32 {
        match self.is_even && has_even_cells(other_levels, other.luma.step()) {
            true => MAX_FLAT_DIFFERENCE,
            false => f32::INFINITY,
        }
    }
}

/// How parts of two pictures are compared.
struct PartMatch {
    min_correlation: f32,
    /// In standard deviations.
    max_difference: f32,
}

impl PartMatch {
    /// Compares normalised cells.
    fn agree(&self, cells: &[f32], others: &[f32], min_correlation: f32) -> bool {
        let most = self.max_difference / (cells.len() as f32).sqrt();
        let mut pairs = cells.iter().zip(others);
        correlate(cells, others) >= min_correlation && pairs.all(|(a, b)| (a - b).abs() <= most)
    }

    /// Returns whether a part of one picture is like the whole of the other.
    fn finds_parts(&self, parts: &PartViews, other_parts: &PartViews) -> bool {
        let finds = |parts: &PartViews, whole: &PartCells| {
            let mut parts = parts.iter();
            parts.any(|part| self.agree(part, whole, self.min_correlation))
        };
        finds(parts, other_parts.whole()) || finds(other_parts, parts.whole())
    }

    /// Compares the pictures without an eighth or a quarter at the top or at the bottom.
    fn finds_caption(&self, whole: &PartCells, other_whole: &PartCells) -> bool {
        let (row, end) = (PART_SIDE, PART_SIDE * PART_SIDE);
        [row..end, 2 * row..end, 0..end - row, 0..end - 2 * row]
            .into_iter()
            .any(|strip| {
                let (mut cells, mut others) = (*whole, *other_whole);
                let (cells, others) = (&mut cells[strip.clone()], &mut others[strip]);
                normalise(cells);
                normalise(others);
                self.agree(cells, others, MIN_STRIP_CORRELATION)
            })
    }
}

/// Returns whether many cells are like those to the right and below.
fn has_even_cells(levels: &[f32; CELLS], step: f32) -> bool {
    let most = EVEN_SHARE * root_mean_square(levels) + step;
    let inner = (0..SIDE - 1).flat_map(|row| (0..SIDE - 1).map(move |column| row * SIDE + column));
    let is_even = |at: &usize| {
        let difference = |neighbour: usize| (levels[*at] - levels[neighbour]).abs();
        difference(at + 1).max(difference(at + SIDE)) <= most
    };
    let even = inner.filter(is_even).count();
    even as f32 >= MIN_EVEN_CELLS * ((SIDE - 1) * (SIDE - 1)) as f32
}

impl Sketch {
    /// Returns the larger difference of the two mean colours.
    pub(super) fn color_difference(&self, other: &Self) -> f32 {
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
