//! Thumbnails: small JPEGs for people.

use crate::decode::{
    deadline::DecodeMonitor,
    decode_to_size,
    decoded::{DecodedImage, MinDecodedSize},
    limits::Limits,
};
use crate::encode::encode_jpeg;
use crate::error::DecodeError;
use crate::model::description::ResampleFilter;
use crate::preprocess::resample_image;

const THUMBNAIL_QUALITY: u8 = 82;

/// Decodes a file and encodes the upright image as a JPEG whose longer side has at most `size`
/// pixels. Smaller images keep their size. The JPEG is sRGB and has no profile.
pub fn encode_thumbnail(bytes: &[u8], size: u32, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let size = size.max(1);
    let (min_size, monitor) = (MinDecodedSize::LongSide(size), DecodeMonitor::default());
    let (image, _) = decode_to_size(bytes, min_size, limits, &monitor)?;
    let long_side = image.width.max(image.height);
    let resized = if long_side > size {
        let scaled = |side: u32| {
            let side = f64::from(side) * f64::from(size) / f64::from(long_side);
            (side.round() as u32).max(1)
        };
        let (width, height) = (scaled(image.width), scaled(image.height));
        DecodedImage {
            width,
            height,
            rgb: resample_image(&image, None, width, height, ResampleFilter::Bicubic),
        }
    } else {
        image
    };
    Ok(encode_jpeg(
        &resized.rgb,
        resized.width,
        resized.height,
        THUMBNAIL_QUALITY,
    ))
}
