//! Resamples position embeddings to another number of patches than they were learned for.
//!
//! The method is that of timm's `resample_abs_pos_embed`: the square of learned vectors is resampled
//! like an image, bicubic (a = −0.5), antialiased when it shrinks.

/// Resamples the learned vectors of a square of patches to `new_side * new_side` vectors. `name` is
/// the tensor's name for the error.
pub(super) fn resample_to_square(
    name: &str,
    positions: &[f32],
    width: usize,
    new_side: usize,
) -> Result<Vec<f32>, String> {
    let learned = positions.len() / width;
    let side = learned.isqrt();
    if learned == 0 || side * side != learned {
        return Err(format!(
            "{name} has positions for {learned} patches, which is not a square number"
        ));
    }
    Ok(resample_square(positions, width, side, new_side))
}

/// `side * side` vectors of `width` numbers → `new_side * new_side` of them.
fn resample_square(positions: &[f32], width: usize, side: usize, new_side: usize) -> Vec<f32> {
    assert_eq!(positions.len(), side * side * width);
    if side == new_side {
        return positions.to_vec();
    }
    let taps: Vec<ResampleTaps> = (0..new_side)
        .map(|i| ResampleTaps::new(i, side, new_side))
        .collect();
    // First along the rows, then along the columns.
    let mut narrow = vec![0.0_f32; side * new_side * width];
    for y in 0..side {
        for (x, taps) in taps.iter().enumerate() {
            let target = &mut narrow[(y * new_side + x) * width..][..width];
            for (from, weight) in taps.weighted_sources() {
                let source = &positions[(y * side + from) * width..][..width];
                add_scaled(target, source, weight);
            }
        }
    }
    let mut small = vec![0.0_f32; new_side * new_side * width];
    for (y, taps) in taps.iter().enumerate() {
        for x in 0..new_side {
            let target = &mut small[(y * new_side + x) * width..][..width];
            for (from, weight) in taps.weighted_sources() {
                let source = &narrow[(from * new_side + x) * width..][..width];
                add_scaled(target, source, weight);
            }
        }
    }
    small
}

fn add_scaled(target: &mut [f32], source: &[f32], weight: f32) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += source * weight;
    }
}

/// The sources of one target and their weights.
struct ResampleTaps {
    first: usize,
    weights: Vec<f32>,
}

impl ResampleTaps {
    fn new(target: usize, side: usize, new_side: usize) -> Self {
        let scale = side as f64 / new_side as f64;
        let stretch = scale.max(1.0);
        let (support, center) = (2.0 * stretch, scale * (target as f64 + 0.5));
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(side);
        let weights: Vec<f64> = (first..end)
            .map(|source| cubic_kernel((source as f64 - center + 0.5) / stretch))
            .collect();
        let sum: f64 = weights.iter().sum();
        Self {
            first,
            weights: weights.iter().map(|weight| (weight / sum) as f32).collect(),
        }
    }

    fn weighted_sources(&self) -> impl Iterator<Item = (usize, f32)> {
        (self.first..).zip(self.weights.iter().copied())
    }
}

/// Cubic convolution with a = −0.5.
fn cubic_kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
