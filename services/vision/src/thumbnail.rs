//! Small JPEGs for people to look at.

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

use crate::{
    decode::deadline::DecodeMonitor,
    decode::limits::Limits,
    decode::{AlphaHandling, DecodedImage, MinDecodedSize, decode_to_size},
    error::DecodeError,
    model::description::ResampleFilter,
    preprocess::resample_image,
};

const THUMBNAIL_QUALITY: u8 = 82;

/// A JPEG of the upright picture whose longer side has at most `size` pixels; never enlarged.
/// Transparent parts become white.
///
/// # Errors
/// Any [`DecodeError`], as [`decode`](crate::decode).
pub fn encode_thumbnail(bytes: &[u8], size: u32, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let size = size.max(1);
    let (min_size, monitor) = (MinDecodedSize::LongSide(size), DecodeMonitor::default());
    let (picture, _) = decode_to_size(bytes, min_size, AlphaHandling::OverWhite, limits, &monitor)?;
    let long_side = picture.width.max(picture.height);
    let resized = if long_side > size {
        let scaled = |side: u32| {
            let side = f64::from(side) * f64::from(size) / f64::from(long_side);
            (side.round() as u32).max(1)
        };
        let (width, height) = (scaled(picture.width), scaled(picture.height));
        DecodedImage {
            width,
            height,
            rgb: resample_image(&picture, None, width, height, ResampleFilter::Bicubic),
        }
    } else {
        picture
    };
    Ok(encode_jpeg(
        &resized.rgb,
        resized.width,
        resized.height,
        THUMBNAIL_QUALITY,
    ))
}

/// Encodes 8-bit RGB pixels (row by row from the top) as a baseline JPEG; quality 1 to 100.
///
/// # Panics
/// When `rgb` has not `width * height * 3` bytes, or a side is 0 or above 65,535: the caller's
/// mistake.
pub fn encode_jpeg(rgb: &[u8], width: u32, height: u32, quality: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality.clamp(1, 100))
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .expect("memory takes what is written, and the caller's sides fit the pixels");
    jpeg
}
