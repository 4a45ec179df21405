//! The canvas: pixels, and the operations that paint on them.

use super::colour::{Colour, rgb};
use super::mask::{Mask, box_blur_thrice};
use super::math::{Point, point, smooth_step};
use super::noise;
use super::path::Path;

/// A picture of `columns × rows` pixels, one unit high.
#[derive(Debug, Clone)]
pub struct Canvas {
    columns: usize,
    rows: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Makes a black canvas of the given size in pixels. Panics if a side is zero.
    pub fn new(columns: usize, rows: usize) -> Canvas {
        assert!(columns > 0 && rows > 0, "a canvas has pixels");
        Canvas {
            columns,
            rows,
            pixels: vec![Colour::default(); columns * rows],
        }
    }

    /// Returns the width in units; the height is one.
    pub fn width(&self) -> f32 {
        self.columns as f32 / self.rows as f32
    }

    /// Returns the number of pixels per unit.
    pub fn scale(&self) -> f32 {
        self.rows as f32
    }

    /// Returns which pixels of this canvas `path` covers.
    pub fn rasterise_path(&self, path: &Path) -> Mask {
        Mask::from_path(
            path,
            self.scale(),
            self.columns,
            self.rows,
            self.rows as i32 / 3,
        )
    }

    /// Paints the whole canvas with a function of the place.
    pub fn paint_all(&mut self, paint: impl Fn(Point) -> Colour) {
        let step = 1.0 / self.scale();
        for (row, pixels) in self.pixels.chunks_exact_mut(self.columns).enumerate() {
            let y = (row as f32 + 0.5) * step;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                *pixel = paint(point((column as f32 + 0.5) * step, y));
            }
        }
    }

    /// Repaints the whole canvas with a function of the place and the colour already there.
    pub fn repaint_all(&mut self, paint: impl Fn(Point, Colour) -> Colour) {
        let step = 1.0 / self.scale();
        for (row, pixels) in self.pixels.chunks_exact_mut(self.columns).enumerate() {
            let y = (row as f32 + 0.5) * step;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                *pixel = paint(point((column as f32 + 0.5) * step, y), *pixel);
            }
        }
    }

    /// Where `mask` covers, blends the colour already there with the result of `paint`.
    pub fn blend_mask(&mut self, mask: &Mask, paint: impl Fn(Point, Colour) -> Colour) {
        let step = 1.0 / self.scale();
        let first_row = mask.top.max(0);
        let end_row = (mask.top + mask.height as i32).min(self.rows as i32);
        let first_column = mask.left.max(0);
        let end_column = (mask.left + mask.width as i32).min(self.columns as i32);
        for row in first_row..end_row {
            for column in first_column..end_column {
                let covered = mask.coverage_at(column, row);
                if covered > 0.0 {
                    let pixel = &mut self.pixels[row as usize * self.columns + column as usize];
                    let place = point((column as f32 + 0.5) * step, (row as f32 + 0.5) * step);
                    *pixel = pixel.mix_with(paint(place, *pixel), covered);
                }
            }
        }
    }

    /// Fills `path` with one colour.
    pub fn fill_path(&mut self, path: &Path, colour: Colour) {
        let mask = self.rasterise_path(path);
        self.blend_mask(&mask, |_, _| colour);
    }

    /// Fills `path` with a translucent colour: `1 − opacity` of the colour below remains.
    pub fn glaze_path(&mut self, path: &Path, colour: Colour, opacity: f32) {
        let mask = self.rasterise_path(path);
        self.blend_mask(&mask, |_, below| below.mix_with(colour, opacity));
    }

    /// Fills `path` with a function of the place.
    pub fn paint_path(&mut self, path: &Path, paint: impl Fn(Point) -> Colour) {
        let mask = self.rasterise_path(path);
        self.blend_mask(&mask, |place, _| paint(place));
    }

    /// Paints the shadow of `path`, moved by `offset` and softened by `softness` units.
    pub fn cast_shadow(&mut self, path: &Path, offset: Point, softness: f32, strength: f32) {
        let scale = self.scale();
        let mask = self
            .rasterise_path(path)
            .move_by(offset * scale)
            .blur_by(softness * scale);
        // Shadows are slightly blue: the sky or the wall lights them, not the lamp.
        let tint = rgb(0.10, 0.09, 0.16);
        self.blend_mask(&mask, |_, below| {
            below.mix_with(below.lit_by(tint.mix_white(0.25)), strength)
        });
    }

    /// Adds a soft glow of the given colour, fading out at `radius` units.
    pub fn add_glow(&mut self, centre: Point, radius: f32, colour: Colour, strength: f32) {
        let mask = self.rasterise_path(&Path::circle(centre, radius));
        self.blend_mask(&mask, |place, below| {
            let t = smooth_step(radius, 0.0, (place - centre).length());
            // Blend mode "screen": brightens, but never beyond white.
            let add = colour.scale_by(t * t * strength);
            rgb(
                1.0 - (1.0 - below.r) * (1.0 - add.r),
                1.0 - (1.0 - below.g) * (1.0 - add.g),
                1.0 - (1.0 - below.b) * (1.0 - add.b),
            )
        });
    }

    /// Blurs everything painted so far by about `radius` units. Later shapes stay sharp.
    pub fn blur_all(&mut self, radius: f32) {
        let reach = (radius * self.scale() / 1.7).round() as usize;
        if reach == 0 {
            return;
        }
        let mut plane = vec![0.0; self.pixels.len()];
        for part in 0..3 {
            for (value, pixel) in plane.iter_mut().zip(&self.pixels) {
                *value = [pixel.r, pixel.g, pixel.b][part];
            }
            box_blur_thrice(&mut plane, self.columns, self.rows, reach);
            for (value, pixel) in plane.iter().zip(&mut self.pixels) {
                match part {
                    0 => pixel.r = *value,
                    1 => pixel.g = *value,
                    _ => pixel.b = *value,
                }
            }
        }
    }

    /// Replaces the part below the line `y` with the mirror image of the part above it, as still water
    /// shows it. `ripple(place)` moves each point sideways and up, in units.
    pub fn mirror_below(&mut self, y: f32, ripple: impl Fn(Point) -> Point) {
        let above = self.clone();
        let scale = self.scale();
        self.repaint_all(|place, below| {
            if place.y < y {
                return below;
            }
            let push = ripple(place);
            let mirrored = (2.0 * y - place.y + push.y).clamp(0.0, y - 1.0 / scale);
            above.sample_pixels((place.x + push.x) * scale - 0.5, mirrored * scale - 0.5)
        });
    }

    /// Darkens the corners, as a camera lens does.
    pub fn darken_corners(&mut self, strength: f32) {
        let centre = point(self.width() / 2.0, 0.5);
        let corner = centre.length();
        self.repaint_all(|place, below| {
            let far = (place - centre).length() / corner;
            below.scale_by(1.0 - strength * far * far * far)
        });
    }

    /// Returns the picture as 8-bit RGB of `columns × rows` pixels. A larger size than the painted one is
    /// interpolated. Film grain of strength `grain`, in 1/255ths, is added at the final size.
    pub fn render_rgb(&self, columns: usize, rows: usize, grain: f32, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(columns * rows * 3);
        let same = columns == self.columns && rows == self.rows;
        let (sx, sy) = (
            self.columns as f32 / columns as f32,
            self.rows as f32 / rows as f32,
        );
        for row in 0..rows {
            let fine_row = noise::NoiseRow::new(row as i32, seed);
            let coarse_row = noise::NoiseRow::new(row as i32 / 2, seed ^ 0x67);
            let mut coarse = 0.0;
            for column in 0..columns {
                let colour = if same {
                    self.pixels[row * columns + column]
                } else {
                    self.sample_pixels(
                        (column as f32 + 0.5) * sx - 0.5,
                        (row as f32 + 0.5) * sy - 0.5,
                    )
                };
                if column % 2 == 0 {
                    coarse = coarse_row.cell_at(column as i32 / 2);
                }
                let noise = fine_row.cell_at(column as i32) + coarse - 1.0;
                // Grain is strongest in the mid-tones and equal in all three channels.
                let bright = (colour.r + colour.g + colour.b) / 3.0;
                let add = grain * noise * (0.5 + 2.0 * (bright * (1.0 - bright)).max(0.0)) + 0.5;
                for part in [colour.r, colour.g, colour.b] {
                    // The conversion clamps to 0…255.
                    bytes.push((part * 255.0 + add) as u8);
                }
            }
        }
        bytes
    }

    /// Returns the colour at a place, interpolated.
    pub fn colour_at(&self, place: Point) -> Colour {
        let scale = self.scale();
        self.sample_pixels(place.x * scale - 0.5, place.y * scale - 0.5)
    }

    /// Interpolates between four pixels; `x` and `y` are in pixels.
    fn sample_pixels(&self, x: f32, y: f32) -> Colour {
        let x = x.clamp(0.0, (self.columns - 1) as f32);
        let y = y.clamp(0.0, (self.rows - 1) as f32);
        let (i, j) = (x as usize, y as usize);
        let (right, below) = ((i + 1).min(self.columns - 1), (j + 1).min(self.rows - 1));
        let (u, v) = (x - i as f32, y - j as f32);
        let at = |column: usize, row: usize| self.pixels[row * self.columns + column];
        at(i, j)
            .mix_with(at(right, j), u)
            .mix_with(at(i, below).mix_with(at(right, below), u), v)
    }
}
