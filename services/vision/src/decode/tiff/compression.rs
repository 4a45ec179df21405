//! Decompresses strips and tiles.
//!
//! Each decoder stops at the number of bytes that the page's layout needs, so a chunk cannot expand
//! beyond it.

use std::borrow::Cow;
use std::io::Read;

use weezl::{BitOrder, LzwStatus, decode::Decoder as LzwDecoder};

use super::directory::FORMAT;
use super::fax::{FaxScheme, decode_fax};
use crate::decode::{
    deadline::{CpuDeadline, DeadlineReader},
    image_crate::decode_within,
    limits::Limits,
    sniff::FileFormat,
};
use crate::error::DecodeError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Fax(FaxScheme),
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
    Zstd,
    WebP,
}

impl Compression {
    /// Returns the scheme of the tag's value.
    ///
    /// # Errors
    /// Fails with the scheme's name if it is not supported.
    pub(crate) fn from_tags(scheme: u64, t4_options: u64) -> Result<Self, DecodeError> {
        let name = match scheme {
            0 | 1 => return Ok(Self::None),
            2 => return Ok(Self::Fax(FaxScheme::ModifiedHuffman)),
            3 => {
                return Ok(Self::Fax(FaxScheme::Group3 {
                    is_two_dimensional: t4_options & 1 == 1,
                }));
            }
            4 => return Ok(Self::Fax(FaxScheme::Group4)),
            5 => return Ok(Self::Lzw),
            7 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32773 => return Ok(Self::PackBits),
            34926 | 50000 => return Ok(Self::Zstd),
            34927 | 50001 => return Ok(Self::WebP),
            6 => "old-style JPEG in parts",
            9 | 10 | 34661 => "JBIG",
            32766 => "NeXT",
            32771 => "CCITT RLE with words",
            32809 => "ThunderScan",
            32895..=32898 => "IT8",
            32908 => "Pixar film",
            32909 => "Pixar log",
            33003..=33005 | 34712 => "JPEG 2000",
            34676 | 34677 => "SGILog",
            34887 => "LERC",
            34892 | 34933 | 34934 => "lossy JPEG, PNG or JPEG XR in a DNG",
            34925 => "LZMA",
            50002 | 52546 => "JPEG XL",
            32767 | 32769 | 32770 | 32772 | 34713 | 65000 | 65535 => "camera raw",
            other => {
                return Err(unsupported(format!(
                    "TIFF with an unknown compression (number {other})"
                )));
            }
        };
        Err(unsupported(format!("TIFF with compression {name}")))
    }

    /// Returns whether each chunk is a picture of its own format, whose decoder converts YCbCr.
    pub(crate) fn stores_pictures(self) -> bool {
        matches!(self, Self::Jpeg | Self::WebP)
    }

    /// Returns the bytes that a decoder may need in addition to the decompressed chunk.
    pub(crate) fn decoder_bytes(self, chunk_bytes: u64) -> u64 {
        match self {
            // Of JPEG, coefficients of two bytes, the planes and the joined picture. Of WebP, two
            // copies with alpha and the frame.
            Self::Jpeg | Self::WebP => chunk_bytes.saturating_mul(4),
            // The decoder refuses a window of more than 100 MiB, and uses no more than the chunk has.
            Self::Zstd => chunk_bytes.min(100 << 20) + (1 << 20),
            _ => 1 << 16,
        }
    }
}

fn unsupported(reason: String) -> DecodeError {
    DecodeError::UnsupportedFeature {
        format: FORMAT,
        reason,
    }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.into(),
    }
}

fn truncated() -> DecodeError {
    DecodeError::Truncated {
        format: FORMAT,
        reason: "the compressed data of a strip or tile ends too early".to_owned(),
    }
}

/// What decompression of a chunk needs to know.
pub(crate) struct ChunkRequest<'a> {
    pub compression: Compression,
    /// In samples, as a row of the chunk.
    pub width: usize,
    pub rows: usize,
    /// Bytes of the decompressed chunk.
    pub bytes: usize,
    /// Whether the file ends within the chunk.
    pub is_cut: bool,
    pub deadline: &'a CpuDeadline<'a>,
}

/// Decompresses a chunk to exactly the requested bytes.
pub(crate) fn decompress<'b>(
    data: &'b [u8],
    request: &ChunkRequest<'_>,
) -> Result<Cow<'b, [u8]>, DecodeError> {
    let ends_early = |got: usize| match got < request.bytes {
        true => Err(truncated()),
        false => Ok(()),
    };
    let is_empty = data.iter().all(|byte| *byte == 0);
    if request.compression != Compression::None && data.len() > 1 && is_empty {
        // A file that was preallocated and never filled; no scheme begins like that.
        return Err(truncated());
    }
    Ok(match request.compression {
        Compression::None => {
            ends_early(data.len())?;
            Cow::Borrowed(&data[..request.bytes])
        }
        Compression::Fax(scheme) => Cow::Owned(decode_fax(
            data,
            scheme,
            (request.width, request.rows),
            request.deadline,
        )?),
        Compression::PackBits => {
            let bytes = unpack_bits(data, request.bytes);
            ends_early(bytes.len())?;
            Cow::Owned(bytes)
        }
        Compression::Lzw => Cow::Owned(decode_lzw(data, request)?),
        Compression::Deflate => {
            let source = DeadlineReader::new(data, request.deadline);
            Cow::Owned(read_stream(
                flate2::read::ZlibDecoder::new(source),
                request,
            )?)
        }
        Compression::Zstd => {
            let source = DeadlineReader::new(data, request.deadline);
            let decoder = ruzstd::decoding::StreamingDecoder::new(source)
                .map_err(|error| corrupt(format!("its Zstandard data is damaged: {error}")))?;
            Cow::Owned(read_stream(decoder, request)?)
        }
        Compression::Jpeg | Compression::WebP => {
            return Err(corrupt("a picture is stored in place of rows"));
        }
    })
}

/// Reads the bytes of a chunk. What follows them, such as a checksum, is not read.
fn read_stream(decoder: impl Read, request: &ChunkRequest<'_>) -> Result<Vec<u8>, DecodeError> {
    // `read_to_end` would double the buffer as it grows, beyond what is reserved.
    let mut bytes = Vec::with_capacity(request.bytes);
    let result = decoder.take(request.bytes as u64).read_to_end(&mut bytes);
    if bytes.len() == request.bytes {
        return Ok(bytes);
    }
    Err(match result {
        Ok(_) => truncated(),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof || request.is_cut => {
            truncated()
        }
        Err(error) => corrupt(format!("its compressed data is damaged: {error}")),
    })
}

fn decode_lzw(data: &[u8], request: &ChunkRequest<'_>) -> Result<Vec<u8>, DecodeError> {
    // Before version 5 of TIFF, the bits were in the other order and the codes grew later.
    let is_old = matches!(data, [0, second, ..] if second & 1 == 1);
    let mut decoder = match is_old {
        true => LzwDecoder::new(BitOrder::Lsb, 8),
        false => LzwDecoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    let mut bytes = vec![0; request.bytes];
    let (mut read, mut written) = (0, 0);
    while written < bytes.len() {
        request.deadline.check()?;
        let end = bytes.len().min(written + (1 << 20));
        let progress = decoder.decode_bytes(&data[read..], &mut bytes[written..end]);
        read += progress.consumed_in;
        written += progress.consumed_out;
        match progress.status {
            Ok(LzwStatus::Ok) => {}
            Ok(LzwStatus::NoProgress | LzwStatus::Done) if written < bytes.len() => {
                return Err(truncated());
            }
            Ok(_) => {}
            Err(_) if request.is_cut => return Err(truncated()),
            Err(error) => return Err(corrupt(format!("its LZW data is damaged: {error}"))),
        }
    }
    Ok(bytes)
}

/// Decodes PackBits to at most `max` bytes (TIFF 6.0, section 9).
fn unpack_bits(data: &[u8], max: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(max);
    let mut rest = data;
    while bytes.len() < max
        && let Some((head, tail)) = rest.split_first()
    {
        let missing = max - bytes.len();
        match head {
            0..=127 => {
                let length = usize::from(*head) + 1;
                let literal = &tail[..length.min(tail.len())];
                bytes.extend(&literal[..literal.len().min(missing)]);
                rest = &tail[literal.len()..];
            }
            128 => rest = tail,
            129..=255 => {
                let Some((value, tail)) = tail.split_first() else {
                    break;
                };
                let length = 257 - usize::from(*head);
                bytes.extend(std::iter::repeat_n(*value, length.min(missing)));
                rest = tail;
            }
        }
    }
    bytes
}

/// A chunk that is a picture of another format.
pub(crate) struct ChunkPicture {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    pub samples: Vec<u8>,
}

/// The place of a chunk that is a picture. Memory is reserved for a picture that fills it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PicturePlace {
    pub max_width: u32,
    pub max_height: u32,
    pub max_channels: usize,
}

impl PicturePlace {
    pub(crate) fn bytes(&self) -> u64 {
        (u64::from(self.max_width) * u64::from(self.max_height))
            .saturating_mul(self.max_channels as u64)
    }
}

/// How the decoder of a JPEG chunk treats its components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JpegColors {
    /// Converts YCbCr to RGB.
    YCbCr,
    /// Leaves them as they are.
    Unchanged,
}

/// Decodes a JPEG chunk, whose tables may be stored once for all chunks.
pub(crate) fn decode_jpeg_chunk(
    tables: Option<&[u8]>,
    data: &[u8],
    colors: JpegColors,
    place: PicturePlace,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<ChunkPicture, DecodeError> {
    use jpeg_decoder::{ColorTransform, PixelFormat};
    let stream = join_jpeg_tables(tables, data);
    let mut decoder = jpeg_decoder::Decoder::new(DeadlineReader::new(&stream, deadline));
    decoder.set_max_decoding_buffer_size(
        usize::try_from(limits.max_decode_bytes).unwrap_or(usize::MAX),
    );
    let is_early_end = |error: &jpeg_decoder::Error| matches!(error, jpeg_decoder::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof);
    let classify = |error: jpeg_decoder::Error| match error {
        jpeg_decoder::Error::Unsupported(feature) => {
            unsupported(format!("JPEG compression with {feature:?}"))
        }
        error if is_early_end(&error) => truncated(),
        error => corrupt(format!("its JPEG data is damaged: {error}")),
    };
    decoder.read_info().map_err(classify)?;
    let info = decoder
        .info()
        .ok_or_else(|| corrupt("its JPEG data has no frame"))?;
    limits.check_pixels(FORMAT, info.width.into(), info.height.into())?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if width > place.max_width || height > place.max_height {
        return Err(corrupt("its JPEG is larger than its strip or tile"));
    }
    match (info.pixel_format, colors) {
        (PixelFormat::L8, _) => {}
        (PixelFormat::L16, _) => {
            return Err(unsupported(
                "JPEG compression with more than 8 bits".to_owned(),
            ));
        }
        (PixelFormat::RGB24, JpegColors::YCbCr) => {
            decoder.set_color_transform(ColorTransform::YCbCr);
        }
        (PixelFormat::RGB24, JpegColors::Unchanged) => {
            decoder.set_color_transform(ColorTransform::RGB);
        }
        (PixelFormat::CMYK32, _) => decoder.set_color_transform(ColorTransform::CMYK),
    }
    let channels = info.pixel_format.pixel_bytes();
    if channels > place.max_channels {
        return Err(corrupt(format!(
            "its JPEG has {channels} colours; the page has {}",
            place.max_channels
        )));
    }
    let mut samples = decoder.decode().map_err(classify)?;
    if info.pixel_format == PixelFormat::CMYK32 {
        // The decoder inverts inks, because JPEG files from Adobe's programs store them inverted.
        // TIFF does not.
        samples.iter_mut().for_each(|sample| *sample = !*sample);
    }
    Ok(ChunkPicture {
        width,
        height,
        channels,
        samples,
    })
}

/// Joins the common tables and the data of a chunk; both have a start and an end marker.
fn join_jpeg_tables<'b>(tables: Option<&[u8]>, data: &'b [u8]) -> Cow<'b, [u8]> {
    match tables {
        Some(tables) if tables.starts_with(b"\xff\xd8") && data.starts_with(b"\xff\xd8") => {
            let tables = tables.strip_suffix(b"\xff\xd9").unwrap_or(tables);
            Cow::Owned([tables, &data[2..]].concat())
        }
        _ => Cow::Borrowed(data),
    }
}

/// Decodes a WebP chunk as RGB, or as RGB and alpha.
pub(crate) fn decode_webp_chunk(
    data: &[u8],
    has_alpha: bool,
    place: PicturePlace,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<ChunkPicture, DecodeError> {
    let size = (place.max_width, place.max_height);
    // What the page reserves for this chunk.
    let reserved_bytes = Compression::WebP.decoder_bytes(place.bytes());
    let image = decode_within(
        data,
        FileFormat::WebP,
        size,
        reserved_bytes,
        limits,
        deadline,
    )?;
    let (width, height) = (image.width(), image.height());
    let (channels, samples) = match has_alpha {
        true => (4, image.into_rgba8().into_raw()),
        false => (3, image.into_rgb8().into_raw()),
    };
    Ok(ChunkPicture {
        width,
        height,
        channels,
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bits_are_unpacked() {
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x80, 0x03, 1, 2,
        ];
        let whole = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 1, 2,
        ];
        assert_eq!(unpack_bits(&packed, 100), whole);
        assert_eq!(unpack_bits(&packed, 2), [0xaa, 0xaa]);
        assert!(unpack_bits(&[0xfe], 9).is_empty());
    }

    #[test]
    fn every_compression_has_a_name_or_a_decoder() {
        for (scheme, words) in [
            (6, "old-style JPEG in parts"),
            (34676, "TIFF with compression SGILog"),
            (34712, "JPEG 2000"),
            (24, "unknown compression (number 24)"),
        ] {
            let error = Compression::from_tags(scheme, 0).unwrap_err();
            assert_eq!(error.code(), "unsupported_feature");
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(
            Compression::from_tags(3, 5).unwrap(),
            Compression::Fax(FaxScheme::Group3 {
                is_two_dimensional: true
            })
        );
    }
}
