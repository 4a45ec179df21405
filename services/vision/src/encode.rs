//! JPEG encoding.

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

/// Encodes 8-bit RGB pixels (row by row from the top) as a baseline JPEG of quality 1 to 100.
///
/// # Panics
/// Panics if the length of `rgb` is not `width * height * 3`, or if a side is 0 or above 65,535.
pub fn encode_jpeg(rgb: &[u8], width: u32, height: u32, quality: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality.clamp(1, 100))
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .expect("writing to memory cannot fail, and the caller passes sides that fit the pixels");
    jpeg
}
