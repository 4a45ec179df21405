//! Converts decoded samples to the picture that people see: opaque 8-bit sRGB.
//!
//! The network, the thumbnail and the names of the colours all use the result, so they agree about
//! what a file shows. The steps are:
//!
//! 1. Premultiplied colours are divided by their alpha.
//! 2. The colours of the file's profile become sRGB (`convert`). All pixels that the decoder returned
//!    are converted, before the picture is resized: thumbnails and names of colours need them as well,
//!    and a decoder that can reduce a large JPEG has done that already.
//! 3. Transparent parts show a ground (`ground`).

mod cmyk;
mod convert;
mod ground;
mod profile;

use image::{DynamicImage, RgbImage};

pub(crate) use self::{cmyk::CmykConverter, ground::is_one_color, profile::MAX_PROFILE_BYTES};
use self::{
    convert::convert_to_srgb,
    ground::{drop_unused_alpha, flatten_over_ground},
};
use crate::decode::{
    deadline::CpuDeadline,
    encoding::{AlphaMeaning, SampleEncoding},
};
use crate::error::DecodeError;

/// Returns the picture that a viewer shows for these samples.
///
/// # Errors
/// Fails only if the time for the decode is over. A profile that cannot be used is ignored.
pub(crate) fn render_visible(
    mut image: DynamicImage,
    encoding: &SampleEncoding,
    deadline: &CpuDeadline<'_>,
) -> Result<RgbImage, DecodeError> {
    match encoding.alpha {
        AlphaMeaning::Straight => {}
        AlphaMeaning::Premultiplied => divide_by_alpha(&mut image),
        AlphaMeaning::MaybeUnused => image = drop_unused_alpha(image),
    }
    let image = convert_to_srgb(image, &encoding.profile, deadline)?;
    Ok(flatten_over_ground(image))
}

/// Divides premultiplied colours by their alpha.
fn divide_by_alpha(image: &mut DynamicImage) {
    fn divide<T: Copy>(samples: &mut [T], channels: usize, quotient: impl Fn(T, T) -> T) {
        for pixel in samples.chunks_exact_mut(channels) {
            if let Some((alpha, colors)) = pixel.split_last_mut() {
                for color in colors {
                    *color = quotient(*color, *alpha);
                }
            }
        }
    }
    let quotient_u8 = |color: u8, alpha: u8| match u32::from(alpha) {
        0 => 0,
        alpha => ((u32::from(color) * 255 + alpha / 2) / alpha).min(255) as u8,
    };
    let quotient_u16 = |color: u16, alpha: u16| match u64::from(alpha) {
        0 => 0,
        alpha => ((u64::from(color) * 65_535 + alpha / 2) / alpha).min(65_535) as u16,
    };
    match image {
        DynamicImage::ImageLumaA8(image) => divide(image, 2, quotient_u8),
        DynamicImage::ImageRgba8(image) => divide(image, 4, quotient_u8),
        DynamicImage::ImageLumaA16(image) => divide(image, 2, quotient_u16),
        DynamicImage::ImageRgba16(image) => divide(image, 4, quotient_u16),
        DynamicImage::ImageRgba32F(image) => divide(image, 4, |color, alpha| match alpha {
            0.0.. if alpha > 0.0 => color / alpha,
            _ => 0.0,
        }),
        _ => {}
    }
}
