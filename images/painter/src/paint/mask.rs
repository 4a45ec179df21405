//! Coverage: which pixels a shape covers, and how much of each.

use super::math::Point;
use super::path::Path;

/// Coverage (0…1) of a rectangle of pixels. Pixels outside the rectangle are not covered.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Column of the first pixel; may be negative.
    pub left: i32,
    /// Row of the first pixel; may be negative.
    pub top: i32,
    pub width: usize,
    pub height: usize,
    pub coverage: Vec<f32>,
}

/// Sub-rows per pixel row. Coverage is exact along a row and sampled between rows.
const SUB_ROWS: i32 = 8;

impl Mask {
    /// Rasterises `path`, scaled from units to pixels, within a canvas of `width × height` pixels and a border
    /// of `margin` pixels around it, which a later blur can pull in.
    pub fn from_path(path: &Path, scale: f32, width: usize, height: usize, margin: i32) -> Mask {
        let (mut x0, mut y0, mut x1, mut y1) = (f32::MAX, f32::MAX, f32::MIN, f32::MIN);
        for corner in path.contours.iter().flatten() {
            x0 = x0.min(corner.x * scale);
            x1 = x1.max(corner.x * scale);
            y0 = y0.min(corner.y * scale);
            y1 = y1.max(corner.y * scale);
        }
        let (max_right, max_bottom) = (width as i32 + margin, height as i32 + margin);
        let left = (x0.floor() as i32).clamp(-margin, max_right);
        let top = (y0.floor() as i32).clamp(-margin, max_bottom);
        let right = (x1.ceil() as i32).clamp(left, max_right);
        let bottom = (y1.ceil() as i32).clamp(top, max_bottom);
        let (columns, rows) = ((right - left) as usize, (bottom - top) as usize);
        let mut mask = Mask {
            left,
            top,
            width: columns,
            height: rows,
            coverage: vec![0.0; columns * rows],
        };
        if columns > 0 && rows > 0 {
            mask.fill_coverage(path, scale);
        }
        mask
    }

    /// Computes the coverage by the non-zero rule: sorts the crossings of every sub-row and fills the spans
    /// between them.
    fn fill_coverage(&mut self, path: &Path, scale: f32) {
        let sub_row_count = self.height * SUB_ROWS as usize;
        let mut crossings: Vec<Vec<(f32, i32)>> = vec![Vec::new(); sub_row_count];
        let row_of = |y: f32| (y - self.top as f32) * SUB_ROWS as f32 - 0.5;
        for contour in &path.contours {
            for (i, &from) in contour.iter().enumerate() {
                let to = contour[(i + 1) % contour.len()];
                let (a, b, winding) = if from.y <= to.y {
                    (from * scale, to * scale, 1)
                } else {
                    (to * scale, from * scale, -1)
                };
                let first = (row_of(a.y).ceil() as i32).max(0);
                let end = (row_of(b.y).ceil() as i32).min(sub_row_count as i32);
                for row in first..end {
                    let y = self.top as f32 + (row as f32 + 0.5) / SUB_ROWS as f32;
                    let x = a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y);
                    crossings[row as usize].push((x - self.left as f32, winding));
                }
            }
        }
        for (row, row_crossings) in crossings.iter_mut().enumerate() {
            row_crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let start = row / SUB_ROWS as usize * self.width;
            let pixels = &mut self.coverage[start..start + self.width];
            let mut winding = 0;
            for pair in row_crossings.windows(2) {
                winding += pair[0].1;
                if winding != 0 {
                    add_span(pixels, pair[0].0, pair[1].0);
                }
            }
        }
        for value in &mut self.coverage {
            *value = value.min(1.0);
        }
    }

    /// Returns the coverage of one pixel of the canvas.
    pub fn coverage_at(&self, x: i32, y: i32) -> f32 {
        let (column, row) = (x - self.left, y - self.top);
        if column < 0 || row < 0 || column >= self.width as i32 || row >= self.height as i32 {
            return 0.0;
        }
        self.coverage[row as usize * self.width + column as usize]
    }

    /// Multiplies both coverages, so only what both masks cover remains.
    pub fn intersect_with(mut self, other: &Mask) -> Mask {
        for row in 0..self.height {
            for column in 0..self.width {
                self.coverage[row * self.width + column] *=
                    other.coverage_at(self.left + column as i32, self.top + row as i32);
            }
        }
        self
    }

    /// Moves by whole pixels.
    pub fn move_by(mut self, by: Point) -> Mask {
        self.left += by.x.round() as i32;
        self.top += by.y.round() as i32;
        self
    }

    /// Blurs by about `radius` pixels; the mask grows accordingly on all sides.
    pub fn blur_by(self, radius: f32) -> Mask {
        let reach = (radius.max(0.0) / 1.7).round() as usize;
        if reach == 0 || self.coverage.is_empty() {
            return self;
        }
        let grow = 3 * reach;
        let (width, height) = (self.width + 2 * grow, self.height + 2 * grow);
        let mut coverage = vec![0.0; width * height];
        for row in 0..self.height {
            let start = (row + grow) * width + grow;
            coverage[start..start + self.width]
                .copy_from_slice(&self.coverage[row * self.width..][..self.width]);
        }
        box_blur_thrice(&mut coverage, width, height, reach);
        Mask {
            left: self.left - grow as i32,
            top: self.top - grow as i32,
            width,
            height,
            coverage,
        }
    }
}

/// Adds a sub-row's share to the pixels from `from` to `to`; end pixels may be covered partly.
fn add_span(pixels: &mut [f32], from: f32, to: f32) {
    let share = 1.0 / SUB_ROWS as f32;
    let limit = pixels.len() as f32;
    let (from, to) = (from.clamp(0.0, limit), to.clamp(0.0, limit));
    if to <= from {
        return;
    }
    let (first, last) = (from as usize, (to.ceil() as usize) - 1);
    if first == last {
        pixels[first] += (to - from) * share;
        return;
    }
    pixels[first] += ((first + 1) as f32 - from) * share;
    for pixel in &mut pixels[first + 1..last] {
        *pixel += share;
    }
    pixels[last] += (to - last as f32) * share;
}

/// Applies three box blurs, which approximate a Gaussian one. Values outside the plane repeat its edge.
pub fn box_blur_thrice(plane: &mut [f32], width: usize, height: usize, reach: usize) {
    let mut line = vec![0.0; width.max(height)];
    for _ in 0..3 {
        for row in plane.chunks_exact_mut(width) {
            box_blur_line(row, &mut line[..width], reach);
            row.copy_from_slice(&line[..width]);
        }
        let mut column = vec![0.0; height];
        for x in 0..width {
            for y in 0..height {
                column[y] = plane[y * width + x];
            }
            box_blur_line(&column, &mut line[..height], reach);
            for y in 0..height {
                plane[y * width + x] = line[y];
            }
        }
    }
}

fn box_blur_line(from: &[f32], to: &mut [f32], reach: usize) {
    let last = from.len() - 1;
    let at = |i: isize| from[i.clamp(0, last as isize) as usize];
    let reach = reach as isize;
    let share = 1.0 / (2 * reach + 1) as f32;
    let mut sum: f32 = (-reach..=reach).map(at).sum();
    for (i, value) in to.iter_mut().enumerate() {
        *value = sum * share;
        sum += at(i as isize + reach + 1) - at(i as isize - reach);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::math::point;

    #[test]
    fn a_shape_covers_its_area() {
        let mask = Mask::from_path(&Path::circle(point(0.5, 0.5), 0.3), 100.0, 100, 100, 0);
        let area: f32 = mask.coverage.iter().sum();
        assert!((area - std::f32::consts::PI * 900.0).abs() < 8.0, "{area}");
        let blurred: f32 = mask.blur_by(5.0).coverage.iter().sum();
        assert!((blurred - area).abs() < 1.0, "{blurred}");
    }

    #[test]
    fn shapes_outside_cover_nothing() {
        for centre in [point(-3.0, 0.5), point(0.5, 7.0), point(9.0, -9.0)] {
            let mask = Mask::from_path(&Path::circle(centre, 0.3), 50.0, 50, 50, 4);
            assert_eq!(mask.coverage.iter().sum::<f32>(), 0.0);
        }
    }

    #[test]
    fn overlapping_contours_add_up() {
        let twice =
            Path::rectangle(0.1, 0.1, 0.5, 0.5).union_with(Path::rectangle(0.3, 0.1, 0.9, 0.5));
        let area: f32 = Mask::from_path(&twice, 10.0, 10, 10, 0)
            .coverage
            .iter()
            .sum();
        assert!((area - 32.0).abs() < 0.1, "{area}");
    }
}
