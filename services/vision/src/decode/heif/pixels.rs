//! Small steps on the way to pixels.

use heic_rs::{Image as HeicImage, Mirror, PixelLayout, Transform};
use image::{DynamicImage, RgbImage, RgbaImage};

/// Exchanges the two kinds of mirrors. `heic-rs` 0.1.4 follows the first edition of the standard
/// (ISO/IEC 23008-12:2017). Cameras and other programs follow the second, which defines 1 as the exchange
/// of left and right.
pub(super) fn correct_mirrors(transforms: &[Transform]) -> Vec<Transform> {
    transforms
        .iter()
        .map(|transform| match transform {
            Transform::Mirror(Mirror::LeftRight) => Transform::Mirror(Mirror::TopBottom),
            Transform::Mirror(Mirror::TopBottom) => Transform::Mirror(Mirror::LeftRight),
            other => *other,
        })
        .collect()
}

/// Bytes per pixel of the planes, which have 16 bits per sample.
pub(super) fn plane_bytes(chroma_format: u64) -> u64 {
    match chroma_format {
        0 => 2,
        1 => 3,
        2 => 4,
        _ => 6,
    }
}

pub(super) fn to_dynamic_image(image: HeicImage) -> Option<DynamicImage> {
    let (width, height) = (image.width, image.height);
    match image.layout {
        PixelLayout::Rgba8 => {
            RgbaImage::from_raw(width, height, image.data).map(DynamicImage::ImageRgba8)
        }
        _ => RgbImage::from_raw(width, height, image.data).map(DynamicImage::ImageRgb8),
    }
}

pub(super) fn divide_by_alpha(image: &mut RgbaImage) {
    for [red, green, blue, alpha] in image.pixels_mut().map(|pixel| &mut pixel.0) {
        let opacity = u32::from(*alpha).max(1);
        for color in [red, green, blue] {
            *color = ((u32::from(*color) * 255 + opacity / 2) / opacity).min(255) as u8;
        }
    }
}
