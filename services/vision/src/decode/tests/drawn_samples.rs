//! The drawn pictures in `tests/samples`: four colours in the corners, which show whether a decoder reads,
//! turns and mirrors them rightly.

use std::path::{Path, PathBuf};

pub(in crate::decode) const RED: [u8; 3] = [220, 20, 20];
pub(in crate::decode) const GREEN: [u8; 3] = [20, 160, 20];
pub(in crate::decode) const BLUE: [u8; 3] = [20, 40, 210];
pub(in crate::decode) const WHITE: [u8; 3] = [250, 250, 250];

/// Returns the folder of a format's samples.
pub(in crate::decode) fn sample_folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/samples")
        .join(format)
}

/// Reads a sample. Its extension is the name of its folder.
pub(in crate::decode) fn read_sample(name: &str) -> Vec<u8> {
    let (_, format) = name.rsplit_once('.').unwrap();
    std::fs::read(sample_folder(format).join(name)).unwrap()
}

/// Checks the colours near the corners: left and right above, left and right below. `pixel_at` returns
/// the samples of a pixel; each may be `tolerance` off.
#[track_caller]
pub(in crate::decode) fn check_corner_colors(
    name: &str,
    (width, height): (u32, u32),
    expected: [[u8; 3]; 4],
    tolerance: u8,
    pixel_at: impl Fn(u32, u32) -> Vec<u8>,
) {
    let (right, bottom) = (width - 5, height - 5);
    for ((x, y), expected) in [(4, 4), (right, 4), (4, bottom), (right, bottom)]
        .into_iter()
        .zip(expected)
    {
        let pixel = pixel_at(x, y);
        let is_near = pixel
            .iter()
            .zip(expected)
            .all(|(value, expected)| value.abs_diff(expected) <= tolerance);
        assert!(is_near, "{name} at {x}, {y}: {pixel:?}, not {expected:?}");
    }
}
