//! Bytes → an upright 8-bit RGB picture and what the file says about itself.
//!
//! Nothing is believed: the format comes from the content, limits are checked on the header's
//! claims before anything is allocated, and a decoder that panics takes only its file down.
//! Animations give their first frame.

pub(crate) mod attributes;
mod colors;
pub(crate) mod deadline;
mod jpeg;
pub(crate) mod limits;
mod sniff;
mod tiff;
mod webp;

use std::panic::AssertUnwindSafe;

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader, Rgb, RgbImage,
    error::LimitErrorKind, metadata::Orientation,
};
use lookalike_chassis::metrics::STAGE_SECONDS;

use crate::{
    decode::attributes::{self, DecodedAttributes},
    decode::colors,
    decode::deadline::{CpuDeadline, DeadlineReader, DecodeMonitor},
    decode::jpeg,
    decode::limits::Limits,
    decode::sniff::{FileFormat, sniff_format},
    decode::tiff,
    decode::webp,
    error::DecodeError,
};

/// An upright picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedImage {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// 8-bit RGB, row by row from the top: `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// How small a decoder may leave a picture, in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MinDecodedSize {
    /// The shorter side will be resized to this, for a network: half as much again must be left,
    /// because a decoder's reduction is not the antialiasing that networks are trained with. (A
    /// 3-megapixel photo reduced to 1.3 times the side kept a cosine of only 0.991.)
    ShortSide(u32),
    /// The longer side must not fall below this.
    LongSide(u32),
}

impl MinDecodedSize {
    pub(crate) fn is_met_by(self, width: u32, height: u32) -> bool {
        match self {
            Self::ShortSide(side) => u64::from(width.min(height)) * 2 >= u64::from(side.max(1)) * 3,
            Self::LongSide(side) => width.max(height) >= side.max(1) && width.min(height) >= 1,
        }
    }
}

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlphaHandling {
    /// Colours as stored, whatever their alpha: what networks are trained with.
    Drop,
    /// Laid over white: what people see.
    OverWhite,
}

/// As it left the decoder: perhaps reduced, not yet upright.
pub(crate) struct DecoderOutput {
    pub image: DynamicImage,
    /// Of the file, before reduction and turning.
    pub width: u32,
    /// Of the file, before reduction and turning.
    pub height: u32,
    /// Where the format itself carries one; else the EXIF block decides.
    pub orientation: Option<Orientation>,
    /// From the TIFF header on.
    pub exif: Option<Vec<u8>>,
}

/// Decodes a file's bytes into an upright picture.
///
/// The picture keeps at least `min_short_side` pixels on its shorter side, or all that the
/// file has; a JPEG that is at least three times as large is decoded at a half, a quarter or an
/// eighth of its size, never below one and a half times what is wanted. Transparency is dropped. The attributes tell of the file, not of the reduced
/// picture.
///
/// # Errors
/// Any [`DecodeError`]; the same bytes always fail the same way.
pub fn decode_image(
    bytes: &[u8],
    min_short_side: u32,
    limits: &Limits,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    decode_monitored(bytes, min_short_side, limits, &DecodeMonitor::default())
}

/// [`decode`], with a watch for whoever waits: where the decoder does not end in time by itself,
/// it can be given up.
///
/// # Errors
/// Any [`DecodeError`].
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
        AlphaHandling::Drop,
        limits,
        monitor,
    )
}

pub(crate) fn decode_to_size(
    bytes: &[u8],
    min_size: MinDecodedSize,
    alpha: AlphaHandling,
    limits: &Limits,
    monitor: &DecodeMonitor,
) -> Result<(DecodedImage, DecodedAttributes), DecodeError> {
    limits.check_file_bytes(bytes.len() as u64)?;
    let format = sniff_format(bytes)?;
    let deadline = CpuDeadline::start(monitor, limits.decode_timeout);
    let run_decoder = || {
        let output = match format {
            FileFormat::Jpeg => jpeg::decode_jpeg(bytes, min_size, limits, &deadline)?,
            _ => decode_with_image_crate(bytes, format, limits, &deadline)?,
        };
        Ok(to_upright_rgb(output, format, alpha))
    };
    // The closure owns nothing that outlives it, and the budget frees itself while unwinding.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(run_decoder)).unwrap_or_else(|panic| {
        Err(DecodeError::DecoderPanic {
            format: format.name(),
            reason: panic_message(&*panic),
        })
    });
    // A decoder that got no more bytes says whatever comes to its mind.
    decoded.map_err(|error| match deadline.has_passed() {
        true => DecodeError::TooSlow {
            max: limits.decode_timeout,
        },
        false => error,
    })
}

/// The text of a caught panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

fn to_upright_rgb(
    output: DecoderOutput,
    format: FileFormat,
    alpha: AlphaHandling,
) -> (DecodedImage, DecodedAttributes) {
    let exif = output.exif.as_deref();
    let orientation = output
        .orientation
        .or_else(|| exif.and_then(Orientation::from_exif_chunk))
        .unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::ImageRgb8(to_rgb8(output.image, format, alpha));
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    let picture = DecodedImage {
        width: rgb.width(),
        height: rgb.height(),
        rgb: rgb.into_raw(),
    };
    let (width, height) = if swaps_sides(orientation) {
        (output.height, output.width)
    } else {
        (output.width, output.height)
    };
    let exif_attributes = exif.map(attributes::read_exif).unwrap_or_default();
    let attributes = DecodedAttributes {
        width,
        height,
        format: format.name(),
        taken_at: exif_attributes.taken_at,
        camera: exif_attributes.camera,
        colors: colors::name_colors(&picture),
    };
    (picture, attributes)
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

fn to_rgb8(mut image: DynamicImage, format: FileFormat, alpha: AlphaHandling) -> RgbImage {
    if format == FileFormat::Hdr
        && let DynamicImage::ImageRgb32F(linear) = &mut image
    {
        // Radiance files hold linear light; everything else here is for the eye.
        for value in linear.iter_mut() {
            *value = value.clamp(0.0, 1.0).powf(1.0 / 2.2);
        }
    }
    if alpha == AlphaHandling::OverWhite && image.color().has_alpha() {
        let rgba = image.into_rgba8();
        return RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
            let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u32::from);
            Rgb([r, g, b].map(|value| ((value * a + 255 * (255 - a) + 127) / 255) as u8))
        });
    }
    image.into_rgb8()
}

/// An opened file of the `image` crate whose claims are within the limits.
pub(crate) struct OpenedImage<'a> {
    format: FileFormat,
    deadline: &'a CpuDeadline<'a>,
    decoder: Box<dyn ImageDecoder + 'a>,
}

/// Opens `bytes` and checks what the header claims; nothing of the picture is allocated yet.
pub(crate) fn open_with_image_crate<'a>(
    bytes: &'a [u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &'a CpuDeadline<'a>,
) -> Result<OpenedImage<'a>, DecodeError> {
    // Given back before the pixels are held: what was read of the tags is small by then.
    let _tag_memory = match format {
        FileFormat::Tiff => {
            Some(limits.reserve_within_deadline(tiff::claimed_tag_bytes(bytes), deadline)?)
        }
        _ => None,
    };
    let source = DeadlineReader::new(bytes, deadline);
    let mut reader = ImageReader::with_format(source, format.image_format());
    let mut image_limits = image::Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_decode_bytes);
    reader.limits(image_limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| classify_image_error(error, format, limits))?;
    let (width, height) = decoder.dimensions();
    limits.check_pixels(format.name(), width, height)?;
    Ok(OpenedImage {
        format,
        deadline,
        decoder: Box::new(decoder),
    })
}

impl OpenedImage<'_> {
    /// Decodes in full. `decoder_bytes` is what this decoder needs beside the pixels.
    pub(crate) fn decode_fully(
        self,
        decoder_bytes: u64,
        limits: &Limits,
    ) -> Result<DynamicImage, DecodeError> {
        let (width, height) = self.decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        // The pixels as stored, as much again for the decoder's own working copy where the
        // format has one, and a second picture while it is converted to 8-bit RGB or turned.
        let copies = match self.format {
            FileFormat::Jpeg | FileFormat::Bmp | FileFormat::Pnm | FileFormat::Qoi => 1,
            _ => 2,
        };
        let converted = match self.decoder.color_type() {
            ColorType::Rgb8 => 0,
            _ => 3 * pixels,
        };
        let working = (copies * self.decoder.total_bytes()).saturating_add(decoder_bytes);
        let bytes = working.max(self.decoder.total_bytes().saturating_add(converted));
        let _permit = limits.reserve_within_deadline(bytes, self.deadline)?;
        DynamicImage::from_decoder(self.decoder)
            .map_err(|error| classify_image_error(error, self.format, limits))
    }
}

fn decode_with_image_crate(
    bytes: &[u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let mut opened = open_with_image_crate(bytes, format, limits, deadline)?;
    let (width, height) = opened.decoder.dimensions();
    // Broken metadata is no reason to refuse a picture.
    let orientation = opened.decoder.orientation().ok();
    let exif = match format {
        // A TIFF file is an EXIF block itself; a copy of a large one would cost more than it tells.
        FileFormat::Tiff if bytes.len() <= 16 << 20 => Some(bytes.to_vec()),
        _ => opened.decoder.exif_metadata().ok().flatten(),
    };
    let frame_bytes = match format {
        FileFormat::WebP => webp::claimed_frame_bytes(bytes),
        _ => 0,
    };
    let image = opened.decode_fully(frame_bytes, limits)?;
    Ok(DecoderOutput {
        image,
        width,
        height,
        orientation,
        exif,
    })
}

fn classify_image_error(error: ImageError, format: FileFormat, limits: &Limits) -> DecodeError {
    let reason = error.to_string();
    let format = format.name();
    match &error {
        ImageError::Unsupported(_) => DecodeError::UnsupportedFeature { format, reason },
        // Sides are checked by us; a format's own bound on them is a rule like any other.
        ImageError::Limits(limit) if limit.kind() != LimitErrorKind::DimensionError => {
            DecodeError::TooMuchMemory {
                max_bytes: limits.max_decode_bytes,
            }
        }
        _ if is_early_end(&error, &reason) => DecodeError::Truncated { format, reason },
        _ => DecodeError::Corrupt { format, reason },
    }
}

/// Whether the file ended too soon, which decoders tell in several ways.
fn is_early_end(error: &ImageError, reason: &str) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::UnexpectedEof
        {
            return true;
        }
        next = error.source();
    }
    let reason = reason.to_lowercase();
    [
        "unexpected end",
        "unexpected eof",
        "end of file",
        "fill whole buffer",
        "no more",
    ]
    .iter()
    .any(|sign| reason.contains(sign))
}
