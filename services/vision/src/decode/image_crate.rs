//! Decodes with the `image` crate, within the limits.

use std::borrow::Cow;

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader, error::LimitErrorKind,
};

use crate::decode::{
    animation, color_source,
    deadline::{CpuDeadline, DeadlineReader},
    decoded::DecoderOutput,
    limits::{DecodeClaim, Limits},
    sniff::FileFormat,
    webp,
};
use crate::error::{DecodeError, RaisedLimits};

/// A file opened by the `image` crate whose header is within the limits.
pub(crate) struct OpenedImage<'a> {
    format: FileFormat,
    deadline: &'a CpuDeadline<'a>,
    decoder: Box<dyn ImageDecoder + 'a>,
    /// What the decoder needs in addition to the pixels.
    decoder_bytes: u64,
}

/// Opens `bytes` and checks the header's claims before any pixel is allocated.
pub(crate) fn open_with_image_crate<'a>(
    bytes: &'a [u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &'a CpuDeadline<'a>,
) -> Result<OpenedImage<'a>, DecodeError> {
    let image_format = format
        .image_format()
        .ok_or_else(|| DecodeError::UnsupportedFormat {
            format: format.name(),
        })?;
    let source = DeadlineReader::new(bytes, deadline);
    let mut reader = ImageReader::with_format(source, image_format);
    let mut image_limits = image::Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_decode_bytes);
    reader.limits(image_limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| classify_image_error(error, format, limits))?;
    let opened = OpenedImage {
        format,
        deadline,
        decoder: Box::new(decoder),
        decoder_bytes: match format {
            FileFormat::WebP => webp::claimed_frame_bytes(bytes),
            _ => 0,
        },
    };
    let (width, height) = opened.decoder.dimensions();
    let claim = DecodeClaim {
        width,
        height,
        kept_pixels: u64::from(width) * u64::from(height),
        needed_bytes: opened.needed_bytes(),
    };
    limits.check_claim(format.name(), &claim)?;
    Ok(opened)
}

impl OpenedImage<'_> {
    /// Bytes of a decode at full size.
    fn needed_bytes(&self) -> u64 {
        let (width, height) = self.decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        // The stored pixels, the same again if the format's decoder keeps a working copy, and a
        // second image during conversion to 8-bit RGB or rotation.
        let copies = match self.format {
            FileFormat::Bmp | FileFormat::Pnm | FileFormat::Qoi => 1,
            _ => 2,
        };
        let converted = match self.decoder.color_type() {
            ColorType::Rgb8 => 0,
            _ => 3 * pixels,
        };
        let pixel_bytes = self.decoder.total_bytes();
        let working = pixel_bytes
            .saturating_mul(copies)
            .saturating_add(self.decoder_bytes);
        working.max(pixel_bytes.saturating_add(converted))
    }

    /// Decodes at full size.
    pub(crate) fn decode_fully(self, limits: &Limits) -> Result<DynamicImage, DecodeError> {
        let _permit = self.deadline.reserve_memory(limits, self.needed_bytes())?;
        DynamicImage::from_decoder(self.decoder)
            .map_err(|error| classify_image_error(error, self.format, limits))
    }
}

/// Decodes a picture that is a part of another. The caller has reserved `reserved_bytes` for it:
/// to reserve again while a permit is held could wait for ever.
pub(crate) fn decode_within(
    bytes: &[u8],
    format: FileFormat,
    (max_width, max_height): (u32, u32),
    reserved_bytes: u64,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let opened = open_with_image_crate(bytes, format, limits, deadline)?;
    let (width, height) = opened.decoder.dimensions();
    if width > max_width || height > max_height || opened.needed_bytes() > reserved_bytes {
        return Err(DecodeError::Corrupt {
            format: format.name(),
            reason: "a part of the picture is larger than its place".to_owned(),
        });
    }
    DynamicImage::from_decoder(opened.decoder)
        .map_err(|error| classify_image_error(error, format, limits))
}

pub(crate) fn decode_with_image_crate(
    bytes: &[u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let bytes = match format {
        FileFormat::Png => color_source::png::remove_oversized_profile(bytes),
        _ => Cow::Borrowed(bytes),
    };
    let bytes = &*bytes;
    let mut opened = open_with_image_crate(bytes, format, limits, deadline)?;
    let (width, height) = opened.decoder.dimensions();
    let encoding = color_source::read_sample_encoding(bytes, format, &mut *opened.decoder);
    let image = opened.decode_fully(limits)?;
    let image = animation::choose_frame(image, bytes, format, limits, deadline);
    // The same bytes give the same frame, however fast the machine is.
    deadline.check()?;
    Ok(DecoderOutput {
        image,
        width,
        height,
        orientation: None,
        exif: None,
        encoding,
    })
}

pub(crate) fn classify_image_error(
    error: ImageError,
    format: FileFormat,
    limits: &Limits,
) -> DecodeError {
    let reason = error.to_string();
    let format = format.name();
    match &error {
        ImageError::Unsupported(_) => DecodeError::UnsupportedFeature { format, reason },
        // `check_pixels` checks the sides; a format's own bound on them is one of its rules.
        ImageError::Limits(limit) if limit.kind() != LimitErrorKind::DimensionError => {
            DecodeError::TooMuchMemory {
                max_bytes: limits.max_decode_bytes,
                raised: RaisedLimits::default(),
            }
        }
        _ if is_early_end(&error, &reason) => DecodeError::Truncated { format, reason },
        _ => DecodeError::Corrupt { format, reason },
    }
}

/// Returns whether the file ended too early. Decoders report that in several ways.
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
    .any(|phrase| reason.contains(phrase))
}
