//! Smooth random textures: grain in wood, clouds, the roughness of a hillside.

use super::random::scramble;

/// A random number in 0…1 for a cell of the grid.
pub fn cell(x: i32, y: i32, seed: u64) -> f32 {
    let key = (x as u32 as u64) | ((y as u32 as u64) << 32);
    (scramble(key ^ scramble(seed)) >> 40) as f32 / (1u64 << 24) as f32
}

/// Smooth noise in 0…1 with features about one unit of `x` and `y` wide.
pub fn value(x: f32, y: f32, seed: u64) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left), ease(y - top));
    let (i, j) = (left as i32, top as i32);
    let upper = cell(i, j, seed) * (1.0 - u) + cell(i + 1, j, seed) * u;
    let lower = cell(i, j + 1, seed) * (1.0 - u) + cell(i + 1, j + 1, seed) * u;
    upper * (1.0 - v) + lower * v
}

/// Several layers of [`value`], each twice as fine and half as strong; 0…1, mostly near ½.
pub fn layers(x: f32, y: f32, octaves: u32, seed: u64) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += weight * value(x * scale, y * scale, seed.wrapping_add(u64::from(octave)));
        total += weight;
        weight *= 0.5;
        scale *= 2.03;
    }
    sum / total
}
