//! Detects a file's format from its first bytes, never from its name.
//!
//! Known but unsupported image formats are distinguished from files that are not images, so that
//! the list of failures shows a helpful reason.

use image::ImageFormat;

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
}

impl FileFormat {
    /// Returns the value of [`DecodedAttributes::format`](crate::DecodedAttributes::format).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::WebP => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Ico => "ico",
            Self::Qoi => "qoi",
            Self::Pnm => "pnm",
            Self::Hdr => "hdr",
            Self::Tga => "tga",
        }
    }

    pub(crate) fn image_format(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
            Self::Ico => ImageFormat::Ico,
            Self::Qoi => ImageFormat::Qoi,
            Self::Pnm => ImageFormat::Pnm,
            Self::Hdr => ImageFormat::Hdr,
            Self::Tga => ImageFormat::Tga,
        }
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
];

/// Signatures of unsupported image formats.
const UNSUPPORTED_SIGNATURES: &[(&[u8], &str)] = &[
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"DDS ", "DDS"),
    (b"farbfeld", "farbfeld"),
    (b"gimp xcf", "GIMP"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"%PDF-", "PDF"),
];

pub(crate) fn sniff_format(bytes: &[u8]) -> Result<FileFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if let Some(&(_, format)) = READABLE_SIGNATURES
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return match format {
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
    if let Some(&(_, format)) = UNSUPPORTED_SIGNATURES
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return Err(DecodeError::UnsupportedFormat { format });
    }
    if let Some(format) = iso_media_kind(bytes) {
        return Err(DecodeError::UnsupportedFormat { format });
    }
    if is_pcx(bytes) {
        return Err(DecodeError::UnsupportedFormat { format: "PCX" });
    }
    if is_svg(bytes) {
        return Err(DecodeError::UnsupportedFormat { format: "SVG" });
    }
    if is_tga(bytes) {
        return Ok(FileFormat::Tga);
    }
    Err(DecodeError::NotAnImage)
}

/// Recognises the HEIF family by its `ftyp` box and brand.
fn iso_media_kind(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    Some(match bytes.get(8..12)? {
        b"avif" | b"avis" => "AVIF",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"mif2" | b"mif3" | b"msf1" => {
            "HEIC"
        }
        b"crx " => "camera raw",
        _ => "video or unknown ISO media",
    })
}

fn is_pcx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x0a, 0 | 2 | 3 | 4 | 5, 1, 1 | 2 | 4 | 8, ..])
}

/// Recognises XML with an `<svg` element near the beginning.
fn is_svg(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    text.trim_ascii_start().starts_with(b"<") && text.windows(4).any(|window| window == b"<svg")
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
        check_sniffed(b"\0\0\0\x1cftypavif\0\0\0\0", "declined: AVIF");
        check_sniffed(b"\0\0\0\x1cftypheic\0\0\0\0", "declined: HEIC");
        check_sniffed(b"8BPS\0\x01", "declined: Photoshop");
        check_sniffed(b"                                        ", "not_an_image");
        check_sniffed(&[0; 64], "not_an_image");
        check_sniffed(
            &[0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 24, 0x20],
            "tga",
        );
    }
}
