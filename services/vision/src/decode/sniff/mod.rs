//! Detects a file's format from its first bytes, never from its name.
//!
//! Known but unsupported image formats are distinguished from files that are not images, so that
//! the list of failures shows a helpful reason.

mod raw_kind;
mod unsupported;

use image::ImageFormat;

pub(crate) use self::raw_kind::{MAX_DIRECTORIES, RawKind, identify_raw};
use self::unsupported::{identify_unsupported, name_iso_media};

use crate::decode::jxl::boxes::CONTAINER_SIGNATURE;
use crate::error::DecodeError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Tiff,
    Ico,
    Qoi,
    Pnm,
    Hdr,
    Tga,
    /// A bitmap without its file header.
    Dib,
    Heic,
    Avif,
    Jxl,
    Raw(RawKind),
}

impl FileFormat {
    /// Returns the value of [`DecodedAttributes::format`](crate::DecodedAttributes::format).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::WebP => "webp",
            Self::Bmp | Self::Dib => "bmp",
            Self::Tiff => "tiff",
            Self::Ico => "ico",
            Self::Qoi => "qoi",
            Self::Pnm => "pnm",
            Self::Hdr => "hdr",
            Self::Tga => "tga",
            Self::Heic => "heic",
            Self::Avif => "avif",
            Self::Jxl => "jxl",
            Self::Raw(kind) => kind.name(),
        }
    }

    /// Returns the format of the `image` crate, or `None` if we decode without it.
    pub(crate) fn image_format(self) -> Option<ImageFormat> {
        Some(match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Ico => ImageFormat::Ico,
            Self::Qoi => ImageFormat::Qoi,
            Self::Pnm => ImageFormat::Pnm,
            Self::Hdr => ImageFormat::Hdr,
            Self::Tga => ImageFormat::Tga,
            Self::Tiff | Self::Dib | Self::Heic | Self::Avif | Self::Jxl | Self::Raw(_) => {
                return None;
            }
        })
    }
}

/// Signatures of supported formats; the first match wins.
const READABLE_SIGNATURES: &[(&[u8], FileFormat)] = &[
    (b"\xff\xd8\xff", FileFormat::Jpeg),
    (b"\x89PNG\r\n\x1a\n", FileFormat::Png),
    (b"GIF87a", FileFormat::Gif),
    (b"GIF89a", FileFormat::Gif),
    (b"BM", FileFormat::Bmp),
    (b"II*\0", FileFormat::Tiff),
    (b"MM\0*", FileFormat::Tiff),
    (b"II+\0", FileFormat::Tiff),
    (b"MM\0+", FileFormat::Tiff),
    (b"\0\0\x01\0", FileFormat::Ico),
    // A cursor.
    (b"\0\0\x02\0", FileFormat::Ico),
    (b"qoif", FileFormat::Qoi),
    (b"P1", FileFormat::Pnm),
    (b"P2", FileFormat::Pnm),
    (b"P3", FileFormat::Pnm),
    (b"P4", FileFormat::Pnm),
    (b"P5", FileFormat::Pnm),
    (b"P6", FileFormat::Pnm),
    (b"P7", FileFormat::Pnm),
    (b"#?RADIANCE", FileFormat::Hdr),
    (b"#?RGBE", FileFormat::Hdr),
    (CONTAINER_SIGNATURE, FileFormat::Jxl),
    (b"\xff\x0a", FileFormat::Jxl),
];

pub(crate) fn sniff_format(bytes: &[u8]) -> Result<FileFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if let Some(kind) = identify_raw(bytes) {
        return Ok(FileFormat::Raw(kind));
    }
    if let Some(&(_, format)) = READABLE_SIGNATURES
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return match format {
            FileFormat::Ico if !is_icon(bytes) => match is_tga(bytes) {
                true => Ok(FileFormat::Tga),
                false => Err(DecodeError::NotAnImage),
            },
            FileFormat::Png if bytes.get(12..16) == Some(b"CgBI") => {
                Err(DecodeError::UnsupportedFeature {
                    format: FileFormat::Png.name(),
                    reason: "Apple's tools changed it for iOS (CgBI); \
                             save it again as a standard PNG"
                        .to_owned(),
                })
            }
            FileFormat::Pnm if !bytes.get(2).is_some_and(u8::is_ascii_whitespace) => {
                Err(DecodeError::NotAnImage)
            }
            format => Ok(format),
        };
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Ok(FileFormat::WebP);
    }
    // A JPEG that is truncated within its signature.
    if b"\xff\xd8\xff".starts_with(bytes) && bytes.len() == 2 {
        return Ok(FileFormat::Jpeg);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return identify_iso_media(bytes);
    }
    if let Some(format) = identify_unsupported(bytes) {
        return Err(DecodeError::UnsupportedFormat { format });
    }
    if is_headerless_bitmap(bytes) {
        return Ok(FileFormat::Dib);
    }
    if is_tga(bytes) {
        return Ok(FileFormat::Tga);
    }
    Err(DecodeError::NotAnImage)
}

/// Recognises the HEIF family by the brands in its `ftyp` box. The first is the main one; generic
/// ones (`mif1`) leave the decision to those that follow.
fn identify_iso_media(bytes: &[u8]) -> Result<FileFormat, DecodeError> {
    /// More brands than any program writes.
    const MAX_BRANDS: usize = 32;
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let brands = bytes[8..bytes.len().min(length.max(12))]
        .chunks_exact(4)
        .enumerate()
        // The second field is the version of the main brand.
        .filter(|(index, _)| *index != 1)
        .map(|(_, brand)| brand)
        .take(MAX_BRANDS);
    let mut is_heif = false;
    for brand in brands {
        match brand {
            b"avif" | b"avis" => return accept_avif(),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => {
                return Ok(FileFormat::Heic);
            }
            b"mif1" | b"mif2" | b"mif3" | b"msf1" => is_heif = true,
            _ => {}
        }
    }
    match is_heif {
        true if is_av1_first(bytes) => accept_avif(),
        true => Ok(FileFormat::Heic),
        false => Err(DecodeError::UnsupportedFormat {
            format: name_iso_media(&bytes[8..bytes.len().min(12)]),
        }),
    }
}

/// Returns whether the first coded item that a container with generic brands names is of AV1.
fn is_av1_first(bytes: &[u8]) -> bool {
    /// The list of items is near the beginning.
    const HEAD_BYTES: usize = 4096;
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let first = head
        .windows(4)
        .find(|kind| matches!(*kind, b"av01" | b"hvc1"));
    first == Some(b"av01")
}

fn accept_avif() -> Result<FileFormat, DecodeError> {
    match cfg!(feature = "avif") {
        true => Ok(FileFormat::Avif),
        false => Err(DecodeError::UnsupportedFormat { format: "AVIF" }),
    }
}

/// Checks the list of an icon or cursor, whose signature is nearly zeros.
fn is_icon(bytes: &[u8]) -> bool {
    let Some(&[count_low, count_high, _, _, _, reserved, ..]) = bytes.get(4..) else {
        return true;
    };
    // The reserved field of an entry is 0, or 255 by some programs.
    (count_low, count_high) != (0, 0) && matches!(reserved, 0 | 255)
}

/// Checks every field of the header for plausibility, because TGA has no signature.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..18) else {
        return false;
    };
    let (map_type, image_type, map_depth) = (header[1], header[2], header[7]);
    let (depth, descriptor) = (header[16], header[17]);
    let maps_fit = match image_type {
        1 | 9 => map_type == 1 && matches!(map_depth, 15 | 16 | 24 | 32) && matches!(depth, 8 | 16),
        2 | 10 => map_type <= 1 && matches!(depth, 15 | 16 | 24 | 32),
        3 | 11 => map_type == 0 && matches!(depth, 8 | 16),
        _ => false,
    };
    maps_fit && descriptor & 0xc0 == 0
}

/// Checks every field of the header of a bitmap without a file header, because it has no signature.
fn is_headerless_bitmap(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..40) else {
        return false;
    };
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (width, height) = (number(4), (number(8) as i32).unsigned_abs());
    matches!(number(0), 40 | 52 | 56 | 64 | 108 | 124)
        && (1..=0xffff).contains(&width)
        && (1..=0xffff).contains(&height)
        && header[12..14] == [1, 0]
        && matches!(header[14], 1 | 2 | 4 | 8 | 16 | 24 | 32)
        && header[15] == 0
        && number(16) <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_sniffed(bytes: &[u8], expected: &str) {
        let found = match sniff_format(bytes) {
            Ok(format) => format.name().to_owned(),
            Err(DecodeError::UnsupportedFormat { format }) => format!("declined: {format}"),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(found, expected, "{:?}", bytes.get(..bytes.len().min(16)));
    }

    #[test]
    fn content_decides() {
        check_sniffed(b"", "empty");
        check_sniffed(b"\xff\xd8\xff\xe0", "jpeg");
        check_sniffed(b"\xff\xd8", "jpeg");
        check_sniffed(b"\xff", "not_an_image");
        check_sniffed(b"RIFF\x10\0\0\0WEBPVP8 ", "webp");
        check_sniffed(b"RIFF\x10\0\0\0WAVEfmt ", "not_an_image");
        check_sniffed(b"P6\n1 1\n255\n", "pnm");
        check_sniffed(b"PK\x03\x04", "not_an_image");
        check_sniffed(b"P5: a text about page five", "not_an_image");
        check_sniffed(b"<html><body>404</body></html>", "not_an_image");
        check_sniffed(
            b"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\"/>",
            "declined: SVG",
        );
        let avif = match cfg!(feature = "avif") {
            true => "avif",
            false => "declined: AVIF",
        };
        check_sniffed(b"\0\0\0\x1cftypavif\0\0\0\0", avif);
        check_sniffed(b"\0\0\0\x10ftypmif1\0\0\0\0infe\0\0av01hvc1", avif);
        check_sniffed(b"\0\0\0\x10ftypmif1\0\0\0\0infe\0\0hvc1av01", "heic");
        check_sniffed(b"\0\0\0\x0cJXL \r\n\x87\n", "jxl");
        check_sniffed(b"\xff\x0a\0", "jxl");
        check_sniffed(b"\0\0\0\x1cftypheic\0\0\0\0", "heic");
        check_sniffed(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", avif);
        check_sniffed(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic");
        check_sniffed(b"\0\0\0\x14ftypisom\0\0\0\0mp42", "declined: MP4 video");
        check_sniffed(b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "cr3");
        check_sniffed(b"FUJIFILMCCD-RAW 0201", "raf");
        check_sniffed(b"IIRO\x08\0\0\0", "orf");
        check_sniffed(b"II*\0\x08\0\0\0\0\0", "tiff");
        check_sniffed(b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI", "unsupported_feature");
        check_sniffed(b"\0\0\x02\0\x01\0\x20\x20\0\0\0\0", "ico");
        check_sniffed(
            b"\x28\0\0\0\x60\0\0\0\x40\0\0\0\x01\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "bmp",
        );
        check_sniffed(b"8BPS\0\x01", "declined: Photoshop");
        check_sniffed(b"                                        ", "not_an_image");
        check_sniffed(&[0; 64], "not_an_image");
        check_sniffed(
            &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 24, 0x20],
            "tga",
        );
    }
}
