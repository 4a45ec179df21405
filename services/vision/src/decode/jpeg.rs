//! Decodes JPEG with our own header parser and three decoders.
//!
//! `jpeg-decoder` can decode at 1/2, 1/4 or 1/8 of the size, which saves most of the time on camera
//! photos. `zune-jpeg` decodes at full size and also supports CMYK. The header chooses between the
//! two. Our own `tolerant` decoder is slow and exact. It decodes files whose sampling the other two
//! get wrong, and files that they reject.
//!
//! **Truncated files.** Decoders disagree about files that end early, and some fill the rest with
//! gray. Half an image would get a wrong vector, so `completeness` decides whether a file is
//! `truncated`. An image with damage *within* the compressed data is used: it looks the same in any
//! viewer.
//!
//! **Slow files.** Every scan of a progressive file covers the whole image, and a scan can have a
//! dozen bytes. `zune-jpeg` does not look at the deadline. Therefore it gets no files with very many
//! scans; the other decoders end in time.

mod blocks;
mod completeness;
mod frame;
mod huffman;
mod planes;
mod segments;
mod tolerant;

#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::PixelFormat;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

use self::completeness::{END_OF_DATA, ImageMap};
use self::frame::FORMAT;
use self::tolerant::{decode_tolerantly, measure_extent};
use crate::decode::{
    appearance::CmykConverter,
    color_source::jpeg::read_jpeg_profile,
    deadline::{CpuDeadline, DeadlineReader},
    decoded::{DecoderOutput, MinDecodedSize},
    encoding::{SampleEncoding, SourceProfile},
    limits::{DecodeClaim, Limits},
};
use crate::error::DecodeError;

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

    /// Rejects processes that no decoder supports, by their names.
    fn check_process(&self) -> Result<(), DecodeError> {
        let unsupported = |reason: String| {
            Err(DecodeError::UnsupportedFeature {
                format: FORMAT,
                reason,
            })
        };
        match self.process {
            0..=2 if self.precision != 8 => {
                unsupported(format!("it has {} bits per sample, not 8", self.precision))
            }
            0..=3 => Ok(()),
            5..=7 => unsupported("it is hierarchical".to_owned()),
            9..=11 => unsupported("it uses arithmetic coding".to_owned()),
            13..=15 => unsupported("it is hierarchical with arithmetic coding".to_owned()),
            process => unsupported(format!("its coding process {process} is unknown")),
        }
    }

    fn is_lossless(&self) -> bool {
        self.process == 3
    }

    fn is_progressive(&self) -> bool {
        self.process == 2
    }

    /// Returns the width and height at 1/`reduction`.
    fn reduced_size(&self, reduction: u32) -> (u32, u32) {
        (
            self.width.div_ceil(reduction),
            self.height.div_ceil(reduction),
        )
    }

    /// Bytes that a progressive decoder keeps for the coefficients of the whole image.
    fn coefficient_bytes(&self) -> u64 {
        if self.is_progressive() {
            u64::from(self.width) * u64::from(self.height) * u64::from(self.components) * 2
        } else {
            0
        }
    }

    /// Bytes that `jpeg-decoder` needs: the planes and the joined image exist at the same time; a
    /// rotated copy is made after the planes are freed.
    fn reduced_decode_bytes(&self, reduction: u32) -> u64 {
        let (width, height) = self.reduced_size(reduction);
        let bytes_per_sample = if self.precision > 8 { 2 } else { 1 };
        let samples = u64::from(width) * u64::from(height) * u64::from(self.components);
        2 * samples * bytes_per_sample + self.coefficient_bytes()
    }

    /// Rejects an image that is too large at 1/`reduction` of its size. Only a progressive decoder
    /// keeps all pixels until it can reduce them.
    fn check_limits(&self, reduction: u32, limits: &Limits) -> Result<(), DecodeError> {
        let (width, height) = match self.is_progressive() {
            true => (self.width, self.height),
            false => self.reduced_size(reduction),
        };
        limits.check_claim(
            FORMAT,
            &DecodeClaim {
                width: self.width,
                height: self.height,
                kept_pixels: u64::from(width) * u64::from(height),
                // Other decoders need about as much, in whole blocks.
                needed_bytes: self.reduced_decode_bytes(reduction) * 9 / 8 + (1 << 20),
            },
        )
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
    header.check_process()?;
    let profile = read_jpeg_profile(bytes);
    let image = if header.is_lossless() {
        decode_lossless(bytes, &header, limits, deadline)?
    } else {
        let reduction = header.strongest_reduction(min_size);
        header.check_limits(reduction, limits)?;
        // Four components are CMYK. With the profile of the inks, we convert them.
        let inks = match header.components {
            4 => CmykConverter::open(&profile),
            _ => None,
        };
        decode_reduced(bytes, &header, reduction, inks.as_ref(), limits, deadline)?
    };
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

/// Decodes a complete sequential or progressive file with the decoder that its header asks for.
fn decode_reduced(
    bytes: &[u8],
    header: &JpegHeader,
    reduction: u32,
    inks: Option<&CmykConverter>,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let map = ImageMap::find(bytes)?;
    map.check_scans(bytes, limits, deadline)?;
    let data = &bytes[..map.data_end];
    let tolerant = || -> Result<DynamicImage, DecodeError> {
        let reduction = reduction as usize;
        let decode = decode_tolerantly(data, &map.frame, reduction, inks, limits, deadline)?;
        map.check_extent(&decode.extent)?;
        Ok(decode.image)
    };
    // `zune-jpeg` loses scans of a sequential file that has one for each component.
    let is_separate = !header.is_progressive() && map.scans > 1;
    if is_separate || !map.frame.has_usual_sampling() {
        return tolerant();
    }
    // Four components are CMYK, which `zune-jpeg` converts to RGB without their profile.
    let fast = match (reduction, header.components, inks) {
        (1, _, None) | (_, 4, None) => decode_with_zune(data, header, map.scans, limits, deadline),
        _ => decode_with_jpeg_decoder(data, END_OF_DATA, header, reduction, inks, limits, deadline),
    };
    let fast_error = match fast {
        Ok(image) => return Ok(image),
        Err(error) => error,
    };
    // Measured first, because the pixels of a file without data are not worth their memory.
    let extent = measure_extent(data, &map.frame, limits, deadline)?;
    map.check_extent(&extent)?;
    tolerant().map_err(|error| more_helpful_error(error, fast_error))
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

/// Decodes a file of the lossless process, which has no blocks. Only its end marker tells that it is
/// complete.
fn decode_lossless(
    bytes: &[u8],
    header: &JpegHeader,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    header.check_limits(1, limits)?;
    let has_end_marker = bytes[header.scan_offset..]
        .windows(2)
        .rev()
        .any(|window| window == [0xff, 0xd9]);
    if !has_end_marker {
        return Err(DecodeError::Truncated {
            format: FORMAT,
            reason: "its end marker is missing".to_owned(),
        });
    }
    decode_with_jpeg_decoder(bytes, &[], header, 1, None, limits, deadline)
}

/// Decodes `bytes` and the `tail` after them.
fn decode_with_jpeg_decoder(
    bytes: &[u8],
    tail: &[u8],
    header: &JpegHeader,
    reduction: u32,
    inks: Option<&CmykConverter>,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let _permit = deadline.reserve_memory(limits, header.reduced_decode_bytes(reduction))?;
    let mut decoder = jpeg_decoder::Decoder::new(DeadlineReader::with_tail(bytes, tail, deadline));
    decoder.set_max_decoding_buffer_size(
        usize::try_from(limits.max_decode_bytes).unwrap_or(usize::MAX),
    );
    // The decoder uses the smallest of its scales at which one side is at least as large as requested.
    let (width, height) = header.reduced_size(reduction);
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
                reason: "it is lossless and CMYK".to_owned(),
            })?;
            // The decoder inverts the samples of every file, as all viewers do.
            let rgb = inks.convert_to_srgb(&pixels, deadline)?;
            RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8)
        }
    };
    image.ok_or_else(too_few_pixels)
}

fn too_few_pixels() -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: "it has fewer pixels than its header claims".to_owned(),
    }
}

/// Decodes at full size and fails at any damage.
fn decode_with_zune(
    data: &[u8],
    header: &JpegHeader,
    scans: usize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    if header.is_progressive() && scans > MAX_FULL_DECODE_SCANS {
        return Err(DecodeError::UnsupportedFeature {
            format: FORMAT,
            reason: format!("it has more than {MAX_FULL_DECODE_SCANS} scans"),
        });
    }
    limits.check_pixels(FORMAT, header.width, header.height)?;
    let channels = if header.components == 1 { 1 } else { 3 };
    let pixel_bytes = u64::from(header.width) * u64::from(header.height) * channels;
    // The decoder gets a copy of the file, with our end.
    let decoder_bytes = pixel_bytes + header.coefficient_bytes() + data.len() as u64;
    let _permit = deadline.reserve_memory(limits, decoder_bytes)?;
    let file = [data, END_OF_DATA].concat();
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(match channels {
            1 => ColorSpace::Luma,
            _ => ColorSpace::RGB,
        });
    let mut decoder =
        zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(file.as_slice()), options);
    let pixels = decoder.decode().map_err(|error| DecodeError::Corrupt {
        format: FORMAT,
        reason: format!("{error:?}"),
    })?;
    let (width, height) = (header.width, header.height);
    match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    }
    .ok_or_else(too_few_pixels)
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
