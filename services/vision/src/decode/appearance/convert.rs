//! Converts pixels from the colour space of a profile to sRGB.
//!
//! A matrix profile costs about as much per pixel as copying, next to decoding it is hardly
//! measurable. Most profiles in photos are sRGB in many variants; those are recognised by what they
//! do to a few colours, and nothing is converted.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use image::{DynamicImage, RgbImage, RgbaImage};
use moxcms::{
    CmsError, ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformExecutor,
    TransformOptions,
};

use super::profile::open_profile;
use crate::decode::{deadline::CpuDeadline, encoding::SourceProfile};
use crate::error::DecodeError;

/// Pixels that are converted between two checks of the deadline.
const CHUNK_PIXELS: usize = 1 << 16;

/// A profile that changes no colour by more than this has no effect that people can see.
const MAX_INVISIBLE_DIFFERENCE: u8 = 2;
/// A profile that makes all colours nearly the same is broken.
const MIN_SPAN: u8 = 64;

/// A sample of 8 or 16 bits.
pub(super) trait ColorSample: Copy + Default {
    fn from_u8(value: u8) -> Self;
    fn to_u8(self) -> u8;
    fn create_transform(
        from: &ColorProfile,
        from_layout: Layout,
        to: &ColorProfile,
        to_layout: Layout,
    ) -> Result<SampleTransform<Self>, CmsError>;
}

pub(super) type SampleTransform<T> = Arc<dyn TransformExecutor<T> + Send + Sync>;

impl ColorSample for u8 {
    fn from_u8(value: u8) -> Self {
        value
    }

    fn to_u8(self) -> u8 {
        self
    }

    fn create_transform(
        from: &ColorProfile,
        from_layout: Layout,
        to: &ColorProfile,
        to_layout: Layout,
    ) -> Result<SampleTransform<Self>, CmsError> {
        from.create_transform_8bit(from_layout, to, to_layout, transform_options())
    }
}

impl ColorSample for u16 {
    fn from_u8(value: u8) -> Self {
        u16::from(value) * 257
    }

    fn to_u8(self) -> u8 {
        ((u32::from(self) + 128) / 257) as u8
    }

    fn create_transform(
        from: &ColorProfile,
        from_layout: Layout,
        to: &ColorProfile,
        to_layout: Layout,
    ) -> Result<SampleTransform<Self>, CmsError> {
        from.create_transform_16bit(from_layout, to, to_layout, transform_options())
    }
}

fn transform_options() -> TransformOptions {
    TransformOptions {
        rendering_intent: RenderingIntent::Perceptual,
        allow_use_cicp_transfer: false,
        ..TransformOptions::default()
    }
}

/// Returns the picture in sRGB, or the picture itself if there is nothing to convert or the profile
/// does not fit the pixels.
///
/// # Errors
/// Fails only if the time for the decode is over.
pub(super) fn convert_to_srgb(
    image: DynamicImage,
    source: &SourceProfile,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let Some(profile) = open_profile(source) else {
        return Ok(image);
    };
    match profile.color_space {
        DataColorSpace::Gray => convert_gray(image, &profile, deadline),
        DataColorSpace::Rgb => convert_rgb(image, &profile, deadline),
        _ => Ok(image),
    }
}

fn convert_gray(
    image: DynamicImage,
    profile: &ColorProfile,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let size = (image.width(), image.height());
    let (gray, gray_alpha) = (Layout::Gray, Layout::GrayAlpha);
    let converted = match &image {
        DynamicImage::ImageLuma8(source) => convert_copy(source, gray, profile, deadline)?,
        DynamicImage::ImageLumaA8(source) => convert_copy(source, gray_alpha, profile, deadline)?,
        DynamicImage::ImageLuma16(source) => convert_copy(source, gray, profile, deadline)?,
        DynamicImage::ImageLumaA16(source) => convert_copy(source, gray_alpha, profile, deadline)?,
        _ => None,
    };
    Ok(converted.map_or(image, |samples| join_samples(samples, size)))
}

fn convert_rgb(
    image: DynamicImage,
    profile: &ColorProfile,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let size = (image.width(), image.height());
    // Viewers apply RGB profiles to gray pictures, too.
    let image = match image {
        // Those of 16 bits, too, become 8 bits: no memory is reserved for three samples of 16 bits.
        image @ (DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_)) => {
            image.into_rgb8().into()
        }
        image @ (DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_)) => {
            image.into_rgba8().into()
        }
        image => image,
    };
    match image {
        DynamicImage::ImageRgb8(mut rgb) => {
            convert_in_place(&mut rgb, Layout::Rgb, profile, deadline)?;
            Ok(rgb.into())
        }
        DynamicImage::ImageRgba8(mut rgba) => {
            convert_in_place(&mut rgba, Layout::Rgba, profile, deadline)?;
            Ok(rgba.into())
        }
        DynamicImage::ImageRgb16(rgb) => {
            let samples = convert_copy(&rgb, Layout::Rgb, profile, deadline)?;
            Ok(samples.map_or(rgb.into(), |samples| join_samples(samples, size)))
        }
        DynamicImage::ImageRgba16(rgba) => {
            let samples = convert_copy(&rgba, Layout::Rgba, profile, deadline)?;
            Ok(samples.map_or(rgba.into(), |samples| join_samples(samples, size)))
        }
        // Samples of 32 bits are linear light and were converted by the decoder.
        image => Ok(image),
    }
}

fn join_samples(samples: Vec<u8>, (width, height): (u32, u32)) -> DynamicImage {
    let pixels = width as usize * height as usize;
    if samples.len() == pixels * 4 {
        RgbaImage::from_raw(width, height, samples).map(DynamicImage::ImageRgba8)
    } else {
        RgbImage::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
    }
    .expect("every pixel was converted to three or four samples")
}

/// Converts 8-bit RGB or RGBA within its memory.
fn convert_in_place(
    samples: &mut [u8],
    layout: Layout,
    profile: &ColorProfile,
    deadline: &CpuDeadline<'_>,
) -> Result<(), DecodeError> {
    let Some(transform) = create_useful_transform::<u8>(profile, layout, layout) else {
        return Ok(());
    };
    let mut scratch = Vec::new();
    for chunk in samples.chunks_mut(CHUNK_PIXELS * layout.channels()) {
        deadline.check()?;
        scratch.clear();
        scratch.extend_from_slice(chunk);
        run_transform(&*transform, &scratch, chunk);
    }
    Ok(())
}

/// Converts to 8-bit RGB, or to RGBA if the source has alpha. Returns `None` if there is nothing to
/// convert.
fn convert_copy<T: ColorSample>(
    samples: &[T],
    layout: Layout,
    profile: &ColorProfile,
    deadline: &CpuDeadline<'_>,
) -> Result<Option<Vec<u8>>, DecodeError> {
    let to_layout = match layout {
        Layout::GrayAlpha | Layout::Rgba => Layout::Rgba,
        _ => Layout::Rgb,
    };
    let Some(transform) = create_useful_transform::<T>(profile, layout, to_layout) else {
        return Ok(None);
    };
    let (from, to) = (layout.channels(), to_layout.channels());
    convert_chunks(samples, from, to, &*transform, deadline).map(Some)
}

/// Converts chunk by chunk, so that no second picture of 16 bits is needed.
pub(super) fn convert_chunks<T: ColorSample>(
    samples: &[T],
    channels: usize,
    to_channels: usize,
    transform: &(dyn TransformExecutor<T> + Send + Sync),
    deadline: &CpuDeadline<'_>,
) -> Result<Vec<u8>, DecodeError> {
    let mut converted = Vec::with_capacity(samples.len() / channels * to_channels);
    let mut scratch = vec![T::default(); CHUNK_PIXELS.min(samples.len()) * to_channels];
    for chunk in samples.chunks(CHUNK_PIXELS * channels) {
        deadline.check()?;
        let scratch = &mut scratch[..chunk.len() / channels * to_channels];
        run_transform(transform, chunk, scratch);
        converted.extend(scratch.iter().map(|sample| sample.to_u8()));
    }
    Ok(converted)
}

fn run_transform<T: ColorSample>(
    transform: &(dyn TransformExecutor<T> + Send + Sync),
    from: &[T],
    to: &mut [T],
) {
    transform
        .transform(from, to)
        .expect("both slices have the same number of whole pixels");
}

/// Returns the transform to sRGB if it changes colours visibly and is not broken.
pub(super) fn create_useful_transform<T: ColorSample>(
    profile: &ColorProfile,
    layout: Layout,
    to_layout: Layout,
) -> Option<SampleTransform<T>> {
    // Unwind safe: the closure only reads the profile, and its result is dropped after a panic.
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        let srgb = ColorProfile::new_srgb();
        let transform = T::create_transform(profile, layout, &srgb, to_layout).ok()?;
        is_useful(&*transform, profile.color_space, layout, to_layout).then_some(transform)
    }))
    .ok()?
}

/// Converts a few colours to see what a transform does.
fn is_useful<T: ColorSample>(
    transform: &(dyn TransformExecutor<T> + Send + Sync),
    color_space: DataColorSpace,
    layout: Layout,
    to_layout: Layout,
) -> bool {
    const LEVELS: [u8; 6] = [0, 51, 102, 153, 204, 255];
    let (from, to) = (layout.channels(), to_layout.channels());
    let colors = match color_space {
        DataColorSpace::Gray => 1,
        DataColorSpace::Cmyk => 4,
        _ => 3,
    };
    let probes: Vec<Vec<u8>> = (0..LEVELS.len().pow(colors as u32))
        .map(|index| {
            (0..from)
                .map(|channel| match channel < colors {
                    true => LEVELS[index / LEVELS.len().pow(channel as u32) % LEVELS.len()],
                    false => 255,
                })
                .collect()
        })
        .collect();
    let source: Vec<T> = probes
        .iter()
        .flatten()
        .map(|&value| T::from_u8(value))
        .collect();
    let mut converted = vec![T::default(); probes.len() * to];
    if transform.transform(&source, &mut converted).is_err() {
        return false;
    }
    let (mut lowest, mut highest, mut largest_difference) = (255, 0, 0);
    for (probe, converted) in probes.iter().zip(converted.chunks_exact(to)) {
        for (channel, sample) in converted[..3].iter().enumerate() {
            let value = sample.to_u8();
            let before = if colors == 1 {
                probe[0]
            } else {
                probe[channel]
            };
            largest_difference = value.abs_diff(before).max(largest_difference);
            lowest = value.min(lowest);
            highest = value.max(highest);
        }
    }
    let changes_colors = colors == 4 || largest_difference > MAX_INVISIBLE_DIFFERENCE;
    changes_colors && highest.saturating_sub(lowest) >= MIN_SPAN
}
