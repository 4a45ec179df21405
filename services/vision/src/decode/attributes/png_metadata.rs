//! Metadata in the chunks of a PNG.
//!
//! Chunks may follow the pixels. Before PNG had a chunk for EXIF, ImageMagick stored blocks of other
//! formats as hexadecimal text under the keyword `Raw profile type exif`, `APP1`, `xmp`, `iptc` or
//! `8bim`; exiftool and many programs do the same. Checksums are not compared: a block with an error
//! is read as far as possible, like those of other formats.

use std::borrow::Cow;
use std::io::Read;

use super::blocks::MetadataBlocks;
use super::date::StatedTime;
use super::iptc::find_iptc_resource;
use crate::decode::png_chunks::{PngChunk, list_png_chunks};

/// Bytes of one text after inflating it, and of one raw profile.
const MAX_TEXT_BYTES: usize = 2 << 20;

/// Texts of one file that are inflated or converted from hexadecimal.
const MAX_TEXTS: usize = 16;

const RAW_PROFILE: &str = "raw profile type ";
const XMP_KEYWORD: &str = "xml:com.adobe.xmp";
const CREATION_TIME: &str = "creation time";

/// Collects the blocks of a PNG.
pub(crate) fn collect_png_blocks<'b>(bytes: &'b [u8], blocks: &mut MetadataBlocks<'b>) {
    let mut texts = Vec::new();
    for chunk in list_png_chunks(bytes) {
        match chunk.name {
            b"eXIf" => blocks.offer_exif(chunk.data.into()),
            b"tIME" if blocks.written_at.is_none() => {
                blocks.written_at = read_time_chunk(chunk.data);
            }
            b"tEXt" | b"zTXt" | b"iTXt" if texts.len() < MAX_TEXTS => {
                texts.extend(PngText::parse(&chunk));
            }
            _ => {}
        }
    }
    // After all chunks: `eXIf` has precedence wherever it stands.
    for text in texts {
        text.offer_to(blocks);
    }
}

/// Year, month, day, hour, minute and second, UTC.
fn read_time_chunk(data: &[u8]) -> Option<i64> {
    let &[high, low, month, day, hour, minute, second] = data else {
        return None;
    };
    let year = u16::from_be_bytes([high, low]);
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z");
    StatedTime::parse(text.as_bytes())?.unix_seconds()
}

/// A text whose keyword is of use.
struct PngText<'b> {
    /// In lower case.
    keyword: String,
    value: &'b [u8],
    is_compressed: bool,
}

impl<'b> PngText<'b> {
    fn parse(chunk: &PngChunk<'b>) -> Option<Self> {
        let data = chunk.data;
        // Keywords have at most 79 bytes.
        let keyword_bytes = data.iter().take(80).position(|byte| *byte == 0)?;
        let keyword = std::str::from_utf8(&data[..keyword_bytes]).ok()?;
        let keyword = keyword.to_ascii_lowercase();
        if !keyword.starts_with(RAW_PROFILE) && keyword != XMP_KEYWORD && keyword != CREATION_TIME {
            return None;
        }
        let rest = &data[keyword_bytes + 1..];
        let (value, is_compressed) = match chunk.name {
            b"tEXt" => (rest, false),
            // The compression method is always zlib's.
            b"zTXt" => (rest.get(1..)?, true),
            // A flag, the method, then the language and the translated keyword, each with a NUL.
            _ => {
                let (&[flag, _], rest) = rest.split_first_chunk()?;
                let mut parts = rest.splitn(3, |byte| *byte == 0);
                (parts.nth(2)?, flag != 0)
            }
        };
        Some(Self {
            keyword,
            value,
            is_compressed,
        })
    }

    fn offer_to(self, blocks: &mut MetadataBlocks<'b>) {
        let value = match self.is_compressed {
            true => Cow::Owned(inflate(self.value)),
            false => Cow::Borrowed(self.value),
        };
        if self.keyword == XMP_KEYWORD {
            blocks.offer_xmp(value);
        } else if self.keyword == CREATION_TIME {
            blocks.creation_time.get_or_insert_with(|| {
                let kept = value.len().min(64);
                value[..kept].to_vec()
            });
        } else {
            let profile = read_raw_profile(&value);
            match &self.keyword[RAW_PROFILE.len()..] {
                "exif" | "app1" => match find_xmp_packet(&profile) {
                    Some(packet) => blocks.offer_xmp(packet.to_vec().into()),
                    None => blocks.offer_exif(profile.into()),
                },
                "xmp" => blocks.offer_xmp(profile.into()),
                // ImageMagick stores Photoshop's resources in the profile `iptc`, too.
                "iptc" | "8bim" => {
                    let records = match profile.starts_with(&[0x1c]) {
                        true => Some(&profile[..]),
                        false => find_iptc_resource(strip_photoshop_prefix(&profile)),
                    };
                    if let Some(records) = records {
                        blocks.offer_iptc(records.to_vec().into());
                    }
                }
                _ => {}
            }
        }
    }
}

/// A segment APP1 of JPEG contains EXIF or, after the address of its namespace, XMP.
fn find_xmp_packet(profile: &[u8]) -> Option<&[u8]> {
    profile
        .strip_prefix(b"http://ns.adobe.com/xap/1.0/\0")
        .or_else(|| Some(profile).filter(|profile| profile.starts_with(b"<")))
}

fn strip_photoshop_prefix(profile: &[u8]) -> &[u8] {
    profile.strip_prefix(b"Photoshop 3.0\0").unwrap_or(profile)
}

/// Inflates as much as is allowed and readable.
fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    // After an error, what came before it remains.
    let _ = flate2::read::ZlibDecoder::new(compressed)
        .take(MAX_TEXT_BYTES as u64)
        .read_to_end(&mut inflated);
    inflated
}

/// Reads a line break, the name, the number of bytes, and the bytes in hexadecimal with line breaks.
fn read_raw_profile(text: &[u8]) -> Vec<u8> {
    let mut lines = text.trim_ascii_start().splitn(3, |byte| *byte == b'\n');
    let (_name, length) = (lines.next(), lines.next().unwrap_or_default());
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(MAX_TEXT_BYTES);
    let mut digits = lines
        .next()
        .unwrap_or_default()
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map_while(|byte| char::from(*byte).to_digit(16));
    let mut profile = Vec::new();
    while profile.len() < length.min(MAX_TEXT_BYTES)
        && let (Some(high), Some(low)) = (digits.next(), digits.next())
    {
        profile.push((high << 4 | low) as u8);
    }
    profile
}
