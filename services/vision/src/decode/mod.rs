//! Decodes a file's bytes into an upright 8-bit RGB image and its attributes.
//!
//! Files are not trusted: the format is detected from the content, the header's claims are checked
//! against the limits before anything is allocated, and a panic of a decoder fails only its file.
//! Of an animation, the first frame that is not a single colour is decoded.
//!
//! All functions fail with a [`DecodeError`]; the same bytes always fail the same way.

pub(crate) mod format_names;
mod sniff;

pub(crate) mod deadline;
pub(crate) mod limits;

pub(crate) mod decoded;
pub(crate) mod encoding;

mod color_source;

mod animation;
mod heif;
mod icon;
mod image_crate;
mod jpeg;
mod jxl;
mod png;
mod png_chunks;
mod raw;
mod tiff;
mod unwritten;
mod webp;

mod appearance;

pub(crate) mod attributes;
pub(crate) mod colors;

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;

use image::{DynamicImage, metadata::Orientation};
use lookalike_chassis::metrics::STAGE_SECONDS;

use self::{
    attributes::DecodedAttributes,
    deadline::{CpuDeadline, DecodeMonitor},
    decoded::{DecodedImage, DecoderOutput, MinDecodedSize},
    image_crate::decode_with_image_crate,
    limits::Limits,
    sniff::{FileFormat, sniff_format},
};
use crate::{error::DecodeError, panics::panic_message, sketch::Sketch};

/// Returns the format of a file, one of [`FORMAT_NAMES`](format_names::FORMAT_NAMES), from its first
/// bytes. 64 KiB are enough for all formats; the file may still be damaged behind them.
pub fn detect_format(head: &[u8]) -> Result<&'static str, DecodeError> {
    sniff_format(head).map(FileFormat::name)
}

/// Decodes a file's bytes into an upright image for the network.
///
/// The image keeps at least `min_short_side` pixels on its shorter side, or all that the file has.
/// A JPEG that is at least three times as large is decoded at a half, a quarter or an eighth of its
/// size, never below 1.5 times `min_short_side`. Colours are sRGB, and transparent parts show a ground,
/// as in thumbnails. The attributes describe the file, not the reduced image.
pub fn decode_image(
    bytes: &[u8],
    min_short_side: u32,
    limits: &Limits,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    decode_monitored(bytes, min_short_side, limits, &DecodeMonitor::default())
}

/// Does the same as [`decode_image`] and lets another thread abandon the decode through `monitor`,
/// for a decoder that does not end in time.
pub fn decode_monitored(
    bytes: &[u8],
    min_short_side: u32,
    limits: &Limits,
    monitor: &DecodeMonitor,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    let _timer = STAGE_SECONDS.with_label_values(&["decode"]).start_timer();
    decode_to_size(
        bytes,
        MinDecodedSize::ShortSide(min_short_side),
        limits,
        monitor,
    )
}

pub(crate) fn decode_to_size(
    bytes: &[u8],
    min_size: MinDecodedSize,
    limits: &Limits,
    monitor: &DecodeMonitor,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    limits.check_file_bytes(bytes.len() as u64)?;
    let format = sniff_format(bytes)?;
    let deadline = CpuDeadline::start(monitor, limits.decode_timeout);
    let run_decoder = || {
        let output = match format {
            FileFormat::Jpeg => jpeg::decode_jpeg(bytes, min_size, limits, &deadline)?,
            _ => {
                unwritten::check_written(bytes, format)?;
                let decoded = match format {
                    FileFormat::Png => png::decode_png(bytes, min_size, limits, &deadline),
                    FileFormat::Tiff => tiff::decode_tiff(bytes, limits, &deadline),
                    FileFormat::Raw(kind) => {
                        raw::decode_raw(bytes, kind, min_size, limits, &deadline)
                    }
                    FileFormat::Heic | FileFormat::Avif => {
                        heif::decode_heif(bytes, format.name(), limits, &deadline)
                    }
                    FileFormat::Jxl => jxl::decode_jxl(bytes, limits, &deadline),
                    FileFormat::Ico => icon::decode_icon(bytes, limits, &deadline),
                    FileFormat::Dib => icon::decode_headerless_bitmap(bytes, limits, &deadline),
                    _ => decode_with_image_crate(bytes, format, limits, &deadline),
                };
                decoded.map_err(|error| unwritten::explain_error(error, bytes, format))?
            }
        };
        to_upright_rgb(output, bytes, format, &deadline)
    };
    // Unwind safe: the closure owns nothing that outlives it, and unwinding releases the memory
    // permits.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(run_decoder)).unwrap_or_else(|panic| {
        Err(DecodeError::DecoderPanic {
            format: format.name(),
            reason: panic_message(&*panic),
        })
    });
    // Once the reader refuses bytes, the decoder's own error is arbitrary.
    decoded.map_err(|error| match deadline.has_passed() {
        true => DecodeError::TooSlow {
            max: limits.decode_timeout,
        },
        false => error,
    })
}

fn to_upright_rgb(
    output: DecoderOutput,
    bytes: &[u8],
    format: FileFormat,
    deadline: &CpuDeadline<'_>,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    let metadata = attributes::read_metadata(bytes, format, output.exif.as_deref());
    let orientation = output
        .orientation
        .or(metadata.orientation)
        .unwrap_or(Orientation::NoTransforms);
    let stored = apply_display_curve(output.image, format);
    let visible = appearance::render_visible(stored, &output.encoding, deadline)?;
    let mut image = DynamicImage::ImageRgb8(visible);
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    let decoded = DecodedImage {
        width: rgb.width(),
        height: rgb.height(),
        rgb: rgb.into_raw(),
    };
    let (width, height) = if swaps_sides(orientation) {
        (output.height, output.width)
    } else {
        (output.width, output.height)
    };
    let attributes = DecodedAttributes {
        width,
        height,
        format: format.name(),
        taken_at: metadata.taken_at,
        camera: metadata.camera,
        tags: metadata.tags,
        colors: colors::name_colors(&decoded),
        sketch: Sketch::from_image(&decoded, width, height),
    };
    Ok((decoded, attributes))
}

fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Converts linear light, which Radiance files store, to the values that screens take.
fn apply_display_curve(mut image: DynamicImage, format: FileFormat) -> DynamicImage {
    if format == FileFormat::Hdr
        && let DynamicImage::ImageRgb32F(linear) = &mut image
    {
        for value in linear.iter_mut() {
            *value = value.clamp(0.0, 1.0).powf(1.0 / 2.2);
        }
    }
    image
}
