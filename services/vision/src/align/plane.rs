//! The brightness of a picture, in several sizes.

use crate::decode::decoded::DecodedImage;

/// Brightness (luma), 0 to 255, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LumaPlane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl LumaPlane {
    pub(super) fn from_image(image: &DecodedImage) -> Self {
        let (pixels, _) = image.rgb.as_chunks::<3>();
        let luma = pixels.iter().map(|[red, green, blue]| {
            0.299 * f32::from(*red) + 0.587 * f32::from(*green) + 0.114 * f32::from(*blue)
        });
        Self {
            width: image.width as usize,
            height: image.height as usize,
            values: luma.collect(),
        }
    }

    pub(super) fn at(&self, column: usize, row: usize) -> f32 {
        self.values[row * self.width + column]
    }

    /// Returns the mean brightness of each of `width` × `height` cells. Edges of cells may be within
    /// pixels.
    pub(super) fn averaged(&self, width: usize, height: usize) -> Self {
        let across = average_rows(&self.values, self.width, width);
        let columns = transpose(&across, width, self.height);
        let down = average_rows(&columns, self.height, height);
        Self {
            width,
            height,
            values: transpose(&down, height, width),
        }
    }

    /// Returns the brightness at a point in pixels from the top left corner, interpolated between the centres of
    /// pixels, and its change per pixel to the right and down. `None` outside the picture.
    pub(super) fn sample(&self, x: f64, y: f64) -> Option<[f32; 3]> {
        if !(0.0..=self.width as f64).contains(&x) || !(0.0..=self.height as f64).contains(&y) {
            return None;
        }
        let axis = |position: f64, count: usize| {
            let position = (position - 0.5).clamp(0.0, (count - 1) as f64);
            let first = (position as usize).min(count.saturating_sub(2));
            (
                first,
                (first + 1).min(count - 1),
                (position - first as f64) as f32,
            )
        };
        let (left, right, across) = axis(x, self.width);
        let (above, below, down) = axis(y, self.height);
        let (top, bottom) = (above * self.width, below * self.width);
        let [v00, v10, v01, v11] = [
            self.values[top + left],
            self.values[top + right],
            self.values[bottom + left],
            self.values[bottom + right],
        ];
        let (upper, lower) = (v00 + across * (v10 - v00), v01 + across * (v11 - v01));
        let (before, after) = (v00 + down * (v01 - v00), v10 + down * (v11 - v10));
        Some([
            upper + down * (lower - upper),
            after - before,
            lower - upper,
        ])
    }
}

/// Averages each row of `from` values to `to` values.
fn average_rows(values: &[f32], from: usize, to: usize) -> Vec<f32> {
    let step = from as f32 / to as f32;
    let mut averaged = Vec::with_capacity(values.len() / from.max(1) * to);
    for row in values.chunks(from) {
        for cell in 0..to {
            let (start, end) = (cell as f32 * step, (cell as f32 + 1.0) * step);
            let (mut sum, mut weight) = (0.0, 0.0);
            let last = (end.ceil() as usize).min(from);
            for (at, value) in row.iter().enumerate().take(last).skip(start as usize) {
                let share = (end.min(at as f32 + 1.0) - start.max(at as f32)).max(0.0);
                sum += share * value;
                weight += share;
            }
            averaged.push(if weight > 0.0 { sum / weight } else { 0.0 });
        }
    }
    averaged
}

fn transpose(values: &[f32], width: usize, height: usize) -> Vec<f32> {
    let columns = (0..width).flat_map(|column| (0..height).map(move |row| row * width + column));
    columns.map(|at| values[at]).collect()
}

/// A picture in sizes that halve from one to the next.
pub(super) struct LumaPyramid {
    /// The largest first.
    pub levels: Vec<LumaPlane>,
}

/// The longer side of the smallest level is at least this, in pixels.
const MIN_LEVEL_SIDE: usize = 24;

impl LumaPyramid {
    pub(super) fn new(image: &DecodedImage) -> Self {
        let mut levels = vec![LumaPlane::from_image(image)];
        while let Some(last) = levels.last() {
            let (width, height) = (last.width.div_ceil(2), last.height.div_ceil(2));
            if width.max(height) < MIN_LEVEL_SIDE || width.min(height) < 4 {
                break;
            }
            levels.push(last.averaged(width, height));
        }
        Self { levels }
    }

    pub(super) fn largest(&self) -> &LumaPlane {
        &self.levels[0]
    }

    /// Width and height of the largest level, in pixels.
    pub(super) fn size(&self) -> (f64, f64) {
        let largest = self.largest();
        (largest.width as f64, largest.height as f64)
    }

    /// Returns the pixels of a level per pixel of the largest one.
    pub(super) fn level_scale(&self, level: usize) -> (f64, f64) {
        let (width, height) = self.size();
        let plane = &self.levels[level];
        (plane.width as f64 / width, plane.height as f64 / height)
    }
}

/// Returns the correlation of pairs of values, −1 to 1; 0 if one side does not vary.
pub(super) fn correlate_pairs(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (mut count, mut sums, mut squares, mut products) = (0.0, [0.0; 2], [0.0; 2], 0.0);
    for (a, b) in pairs {
        let (a, b) = (f64::from(a), f64::from(b));
        count += 1.0;
        sums[0] += a;
        sums[1] += b;
        squares[0] += a * a;
        squares[1] += b * b;
        products += a * b;
    }
    if count < 1.0 {
        return 0.0;
    }
    let variance = |of: usize| squares[of] / count - (sums[of] / count).powi(2);
    let scale = (variance(0).max(0.0) * variance(1).max(0.0)).sqrt();
    if scale < 1e-6 {
        return 0.0;
    }
    (products / count - sums[0] / count * (sums[1] / count)) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_mean_of_their_pixels() {
        let plane = LumaPlane {
            width: 3,
            height: 2,
            values: vec![0.0, 3.0, 6.0, 6.0, 9.0, 12.0],
        };
        assert_eq!(plane.averaged(3, 2), plane);
        assert_eq!(plane.averaged(1, 1).values, [6.0]);
        let halves = plane.averaged(2, 1).values;
        assert!((halves[0] - 4.0).abs() < 1e-4 && (halves[1] - 8.0).abs() < 1e-4);
    }

    #[test]
    fn samples_are_interpolated_between_centres() {
        let plane = LumaPlane {
            width: 2,
            height: 2,
            values: vec![0.0, 10.0, 20.0, 30.0],
        };
        assert_eq!(plane.sample(1.0, 1.0), Some([15.0, 10.0, 20.0]));
        assert_eq!(plane.sample(0.0, 0.0), Some([0.0, 10.0, 20.0]));
        assert_eq!(plane.sample(2.1, 1.0), None);
    }

    #[test]
    fn correlations_ignore_brightness_and_contrast() {
        let pairs = [(1.0, 12.0), (2.0, 14.0), (4.0, 18.0)];
        assert!((correlate_pairs(pairs.into_iter()) - 1.0).abs() < 1e-9);
        assert_eq!(correlate_pairs([(1.0, 2.0), (1.0, 3.0)].into_iter()), 0.0);
    }
}
