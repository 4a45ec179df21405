//! Pixels → the numbers that an image network reads.

/// Returns `(value / 255 − mean) / std` for every byte, per channel.
pub(super) fn pixel_table(mean: [f32; 3], std: [f32; 3]) -> [[f32; 256]; 3] {
    let mut table = [[0.0; 256]; 3];
    for (channel, values) in table.iter_mut().enumerate() {
        for (byte, value) in values.iter_mut().enumerate() {
            *value = (byte as f32 / 255.0 - mean[channel]) / std[channel];
        }
    }
    table
}
