//! Converts decoded samples to the picture that people see: opaque 8-bit sRGB.
//!
//! The network, the thumbnail and the names of the colours all use the result, so they agree about
//! what a file shows. The steps are:
//!
//! 1. An alpha channel that its writer did not use is dropped.
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
        AlphaMeaning::MaybeUnused => image = drop_unused_alpha(image),
    }
    let image = convert_to_srgb(image, &encoding.profile, deadline)?;
    Ok(flatten_over_ground(image))
}
