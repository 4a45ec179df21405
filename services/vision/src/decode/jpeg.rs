//! Decodes JPEG with our own header parser and two decoders.
//!
//! `jpeg-decoder` can decode at 1/2, 1/4 or 1/8 of the size, which saves most of the time on camera
//! photos. `image` decodes at full size and also supports CMYK. If one decoder fails, the other is
//! tried, so a file is rejected only if both fail.
//!
//! **Truncated files.** Decoders disagree about files that end early, and some fill the rest with
//! gray. Here a JPEG without an end marker after its first scan is always `truncated`, because half
//! an image would get a wrong vector. An image with damage *within* the compressed data is used: it
//! looks the same in any viewer.
//!
//! **Slow files.** Every scan of a progressive file covers the whole image, and a scan can have a
//! dozen bytes. `image` reads a file completely before it decodes, so no deadline can end it.
//! Therefore files with very many scans are decoded only by `jpeg-decoder`, which reads while it
//! decodes.

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::PixelFormat;

use crate::decode::{
    appearance::CmykConverter,
    color_source::jpeg::read_jpeg_profile,
    deadline::{CpuDeadline, DeadlineReader},
    decoded::{DecoderOutput, MinDecodedSize},
    encoding::{SampleEncoding, SourceProfile},
    image_crate::open_with_image_crate,
    limits::Limits,
    sniff::FileFormat,
};
use crate::error::DecodeError;

const FORMAT: &str = "jpeg";

/// More scans than any program writes (the longest script of mozjpeg has about 64).
const MAX_FULL_DECODE_SCANS: usize = 200;

/// Contents of the segments before the first scan.
#[derive(Debug, PartialEq, Eq)]
struct JpegHeader {
    width: u32,
    height: u32,
    components: u8,
    /// Bits per sample.
    precision: u8,
    /// Low four bits of the frame's marker: 0 baseline, 1 extended, 2 progressive, 3 lossless, …
    process: u8,
    /// The EXIF block, starting at its TIFF header.
    exif: Option<std::ops::Range<usize>>,
    /// Offset of the first scan's segment.
    scan_offset: usize,
}

impl JpegHeader {
    fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let truncated = |place: &str| DecodeError::Truncated {
            format: FORMAT,
            reason: format!("the file ends {place}"),
        };
        let corrupt = |reason: &str| DecodeError::Corrupt {
            format: FORMAT,
            reason: reason.to_owned(),
        };
        let mut frame = None;
        let mut exif = None;
        let mut offset = 2;
        loop {
            // Like every reader, skips bytes between two segments.
            let marker = loop {
                match bytes.get(offset..) {
                    None | Some([]) | Some([_]) => {
                        return Err(truncated("before the image begins"));
                    }
                    Some([0xff, marker, ..]) if !matches!(marker, 0 | 0xff) => {
                        offset += 2;
                        break *marker;
                    }
                    Some(_) => offset += 1,
                }
            };
            if matches!(marker, 0x01 | 0xd0..=0xd8) {
                continue;
            }
            if marker == 0xd9 {
                return Err(corrupt("it ends before an image begins"));
            }
            let Some(&[high, low]) = bytes.get(offset..offset + 2) else {
                return Err(truncated("within a segment"));
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (Some(body), 2..) = (bytes.get(offset + 2..offset + length.max(2)), length) else {
                return Err(if length < 2 {
                    corrupt("a segment is shorter than its own length field")
                } else {
                    truncated("within a segment")
                });
            };
            match marker {
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && frame.is_none() => {
                    let &[precision, h1, h0, w1, w0, components, ..] = body else {
                        return Err(corrupt("its frame header is too short"));
                    };
                    frame = Some((
                        u32::from(u16::from_be_bytes([w1, w0])),
                        u32::from(u16::from_be_bytes([h1, h0])),
                        components,
                        precision,
                        marker & 0x0f,
                    ));
                }
                0xe1 if exif.is_none() && body.starts_with(b"Exif\0") && body.len() > 6 => {
                    exif = Some(offset + 8..offset + length);
                }
                0xda => {
                    let (width, height, components, precision, process) =
                        frame.ok_or_else(|| corrupt("a scan comes before the frame header"))?;
                    return Ok(Self {
                        width,
                        height,
                        components,
                        precision,
                        process,
                        exif,
                        scan_offset: offset,
                    });
                }
                _ => {}
            }
            offset += length;
        }
    }

    fn is_progressive(&self) -> bool {
        matches!(self.process, 2 | 6 | 10 | 14)
    }

    fn pixel_count(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes that a progressive decoder keeps for the coefficients of the whole image.
    fn coefficient_bytes(&self) -> u64 {
        if self.is_progressive() {
            self.pixel_count() * u64::from(self.components) * 2
        } else {
            0
        }
    }

    /// Returns 8, 4, 2 or 1: the strongest reduction that keeps at least `min_size`.
    fn strongest_reduction(&self, min_size: MinDecodedSize) -> u32 {
        [8, 4, 2]
            .into_iter()
            .find(|divisor| min_size.is_met_by(self.width / divisor, self.height / divisor))
            .unwrap_or(1)
    }
}

/// Decodes a JPEG, reduced as far as `min_size` allows, not yet upright.
pub(crate) fn decode_jpeg(
    bytes: &[u8],
    min_size: MinDecodedSize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let header = JpegHeader::parse(bytes)?;
    limits.check_pixels(FORMAT, header.width, header.height)?;
    if !has_end_marker(&bytes[header.scan_offset..]) {
        return Err(DecodeError::Truncated {
            format: FORMAT,
            reason: "its end marker is missing".to_owned(),
        });
    }
    let reduction = header.strongest_reduction(min_size);
    // Four components are CMYK, which `image` converts to RGB and `jpeg-decoder` does not.
    // With the profile of the inks, we convert them.
    let profile = read_jpeg_profile(bytes);
    let inks = match header.components {
        4 => CmykConverter::open(&profile),
        _ => None,
    };
    let can_reduce = header.components != 4 || inks.is_some();
    let inks = inks.as_ref();
    let reduced = |reduction| decode_reduced(bytes, &header, reduction, inks, limits, deadline);
    let in_full = || decode_in_full(bytes, &header, limits, deadline);
    let image = match (reduction, can_reduce) {
        (_, true) if header.components == 4 => reduced(reduction).or_else(|_| in_full()),
        (_, false) => in_full(),
        (1, true) => in_full()
            .or_else(|first| reduced(1).map_err(|second| more_helpful_error(first, second))),
        (_, true) => reduced(reduction)
            .or_else(|first| in_full().map_err(|second| more_helpful_error(first, second))),
    }?;
    Ok(DecoderOutput {
        image,
        width: header.width,
        height: header.height,
        orientation: None,
        exif: header.exif.map(|range| bytes[range].to_vec()),
        encoding: SampleEncoding {
            profile: match header.components {
                4 => SourceProfile::Srgb,
                _ => profile,
            },
            ..SampleEncoding::default()
        },
    })
}

/// Returns the more helpful of two decoders' errors: a missing feature or memory before damage.
fn more_helpful_error(first: DecodeError, second: DecodeError) -> DecodeError {
    let helps = |error: &DecodeError| {
        matches!(
            error,
            DecodeError::UnsupportedFeature { .. } | DecodeError::TooMuchMemory { .. }
        )
    };
    if !helps(&first) && helps(&second) {
        second
    } else {
        first
    }
}

/// Returns whether an end marker follows. Any data after it is allowed (maker's data, a second
/// image).
fn has_end_marker(from_scan: &[u8]) -> bool {
    from_scan
        .windows(2)
        .rev()
        .any(|window| window == [0xff, 0xd9])
}

fn decode_reduced(
    bytes: &[u8],
    header: &JpegHeader,
    reduction: u32,
    inks: Option<&CmykConverter>,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let side = |side: u32| side.div_ceil(reduction);
    let (width, height) = (side(header.width), side(header.height));
    let reduced_bytes = u64::from(width) * u64::from(height) * u64::from(header.components);
    // The planes and the joined image exist at the same time; a rotated copy is made after the
    // planes are freed.
    let decoder_bytes = 2 * reduced_bytes * bytes_per_sample(header) + header.coefficient_bytes();
    let _permit = deadline.reserve_memory(limits, decoder_bytes)?;
    let mut decoder = jpeg_decoder::Decoder::new(DeadlineReader::new(bytes, deadline));
    decoder.set_max_decoding_buffer_size(
        usize::try_from(limits.max_decode_bytes).unwrap_or(usize::MAX),
    );
    // The decoder uses the smallest of its scales at which one side is at least as large as requested.
    let to_u16 = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    decoder
        .scale(to_u16(width), to_u16(height))
        .map_err(classify_jpeg_error)?;
    let info = decoder.info().ok_or_else(|| DecodeError::Corrupt {
        format: FORMAT,
        reason: "it has no frame".to_owned(),
    })?;
    limits.check_pixels(FORMAT, info.width.into(), info.height.into())?;
    let pixels = decoder.decode().map_err(classify_jpeg_error)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        PixelFormat::L16 => {
            // The samples are native-endian and have `precision` bits.
            let shift = header.precision.saturating_sub(8).min(8);
            let gray = pixels
                .chunks_exact(2)
                .map(|sample| (u16::from_ne_bytes([sample[0], sample[1]]) >> shift) as u8)
                .collect();
            GrayImage::from_raw(width, height, gray).map(DynamicImage::ImageLuma8)
        }
        PixelFormat::RGB24 => {
            RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
        }
        PixelFormat::CMYK32 => {
            let inks = inks.ok_or_else(|| DecodeError::UnsupportedFeature {
                format: FORMAT,
                reason: "CMYK at a reduced size".to_owned(),
            })?;
            // The decoder inverts the samples of every file, as all viewers do.
            let rgb = inks.convert_to_srgb(&pixels, deadline)?;
            RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
        }
    };
    image.ok_or_else(|| DecodeError::Corrupt {
        format: FORMAT,
        reason: "it has fewer pixels than its header claims".to_owned(),
    })
}

fn bytes_per_sample(header: &JpegHeader) -> u64 {
    if header.precision > 8 { 2 } else { 1 }
}

fn decode_in_full(
    bytes: &[u8],
    header: &JpegHeader,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    if header.is_progressive() && scan_count(&bytes[header.scan_offset..]) > MAX_FULL_DECODE_SCANS {
        return Err(DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: format!("more than {MAX_FULL_DECODE_SCANS} scans"),
        });
    }
    // `image` keeps a copy of the file.
    let decoder_bytes = header.coefficient_bytes() + bytes.len() as u64;
    open_with_image_crate(bytes, FileFormat::Jpeg, limits, deadline)?
        .decode_fully(decoder_bytes, limits)
}

/// Counts the scans. Compressed data cannot contain a marker.
fn scan_count(from_scan: &[u8]) -> usize {
    let later = from_scan
        .windows(2)
        .filter(|window| window == &[0xff, 0xda]);
    1 + later.count()
}

fn classify_jpeg_error(error: jpeg_decoder::Error) -> DecodeError {
    let reason = error.to_string();
    match error {
        jpeg_decoder::Error::Unsupported(feature) => DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: format!("{feature:?}"),
        },
        jpeg_decoder::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated {
                format: FORMAT,
                reason,
            }
        }
        _ => DecodeError::Corrupt {
            format: FORMAT,
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::deadline::DecodeMonitor;

    fn decode_with_limits(
        bytes: &[u8],
        wanted: MinDecodedSize,
        limits: &Limits,
    ) -> Result<DecoderOutput, DecodeError> {
        let watch = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&watch, limits.decode_timeout);
        super::decode_jpeg(bytes, wanted, limits, &deadline)
    }

    fn sample_jpeg() -> Vec<u8> {
        crate::encode::encode_jpeg(&[90; 40 * 24 * 3], 40, 24, 80)
    }

    #[test]
    fn header_tells_size_and_scan() {
        let bytes = sample_jpeg();
        let header = JpegHeader::parse(&bytes).unwrap();
        assert_eq!((header.width, header.height), (40, 24));
        assert_eq!((header.components, header.precision), (3, 8));
        assert!(!header.is_progressive());
        assert_eq!(header.exif, None);
    }

    #[test]
    fn every_cut_is_truncated() {
        let bytes = sample_jpeg();
        for length in 3..bytes.len() - 1 {
            let error = decode_with_limits(
                &bytes[..length],
                MinDecodedSize::ShortSide(8),
                &Limits::default(),
            );
            assert_eq!(
                error.err().map(|error| error.code()),
                Some("truncated"),
                "{length}"
            );
        }
    }

    #[test]
    fn reduction_keeps_at_least_what_is_wanted() {
        let bytes = crate::encode::encode_jpeg(&vec![90; 640 * 480 * 3], 640, 480, 80);
        let limits = Limits::default();
        for (wanted, size) in [
            (MinDecodedSize::ShortSide(40), (80, 60)),
            (MinDecodedSize::ShortSide(41), (160, 120)),
            (MinDecodedSize::ShortSide(146), (320, 240)),
            (MinDecodedSize::ShortSide(161), (640, 480)),
            (MinDecodedSize::LongSide(80), (80, 60)),
            (MinDecodedSize::LongSide(1000), (640, 480)),
        ] {
            let raw = decode_with_limits(&bytes, wanted, &limits).unwrap();
            assert_eq!((raw.image.width(), raw.image.height()), size, "{wanted:?}");
            assert_eq!((raw.width, raw.height), (640, 480));
        }
    }
}
