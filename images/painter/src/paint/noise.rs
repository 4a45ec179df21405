//! Smooth random textures: grain in wood, clouds, the roughness of a hillside.

use super::random::scramble_bits;

/// One row of a grid of random numbers, for reading many cells of it.
#[derive(Debug, Clone, Copy)]
pub struct NoiseRow {
    key: u64,
}

impl NoiseRow {
    /// Makes row `y` of the grid with this seed.
    pub fn new(y: i32, seed: u64) -> NoiseRow {
        NoiseRow {
            key: (u64::from(y as u32) << 32) ^ scramble_bits(seed),
        }
    }

    /// Returns the random number, 0…1, of the cell at `x`.
    pub fn cell_at(self, x: i32) -> f32 {
        (scramble_bits(self.key ^ u64::from(x as u32)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Returns a random number in 0…1 for one cell of the grid.
pub fn random_cell(x: i32, y: i32, seed: u64) -> f32 {
    NoiseRow::new(y, seed).cell_at(x)
}

/// Returns smooth noise in 0…1 with features about one unit of `x` and `y` wide.
pub fn smooth_noise(x: f32, y: f32, seed: u64) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left), ease(y - top));
    let (i, j) = (left as i32, top as i32);
    let between = |row: NoiseRow| row.cell_at(i) * (1.0 - u) + row.cell_at(i + 1) * u;
    let (upper, lower) = (
        between(NoiseRow::new(j, seed)),
        between(NoiseRow::new(j + 1, seed)),
    );
    upper * (1.0 - v) + lower * v
}

/// Adds layers of [`smooth_noise`], each twice as fine and half as strong. The result is in 0…1, mostly near ½.
pub fn layered_noise(x: f32, y: f32, octaves: u32, seed: u64) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += weight * smooth_noise(x * scale, y * scale, seed.wrapping_add(u64::from(octave)));
        total += weight;
        weight *= 0.5;
        scale *= 2.03;
    }
    sum / total
}
