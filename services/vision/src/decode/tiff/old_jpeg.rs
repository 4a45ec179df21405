//! Old-style JPEG compression (TIFF 6.0, section 22), which scanners of the nineties wrote.
//!
//! The section allowed to store the parts of a JPEG at many places. Files that contain one whole JPEG are
//! read; others are not.

use image::{DynamicImage, GrayImage, RgbImage};

use super::compression::{Compression, JpegColors, PicturePlace, decode_jpeg_chunk};
use super::directory::{self as tags, FORMAT, TiffDirectory, TiffFile};
use crate::decode::{deadline::CpuDeadline, limits::Limits};
use crate::error::DecodeError;

const OLD_JPEG: u64 = 6;
const YCBCR: u64 = 6;

/// Returns the whole JPEG of a page with old-style compression, if there is one.
pub(crate) fn find_whole_jpeg<'b>(
    file: &TiffFile<'b>,
    directory: &TiffDirectory,
) -> Option<&'b [u8]> {
    let number = |tag| file.tag_number(directory, tag);
    (number(tags::COMPRESSION) == Some(OLD_JPEG)).then_some(())?;
    let has_one_strip = directory
        .find_entry(tags::STRIP_OFFSETS)
        .is_some_and(|strips| strips.count == 1);
    let interchange = number(tags::JPEG_OFFSET).map(|offset| (offset, u64::MAX));
    let strip = number(tags::STRIP_OFFSETS)
        .filter(|_| has_one_strip)
        .map(|offset| (offset, number(tags::STRIP_BYTE_COUNTS).unwrap_or(u64::MAX)));
    [interchange, strip]
        .into_iter()
        .flatten()
        .map(|(offset, length)| file.read_bytes_up_to(offset, length))
        // The header of an abbreviated JPEG, which is only tables, ends at once.
        .find(|bytes| bytes.starts_with(b"\xff\xd8") && has_frame_and_scan(bytes))
}

/// Returns whether the segments at the beginning include a frame and a scan.
fn has_frame_and_scan(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    let mut has_frame = false;
    while let [0xff, marker, high, low, ..] = rest {
        match marker {
            0xc0..=0xc2 => has_frame = true,
            0xda => return has_frame,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(2 + length.max(2)..).unwrap_or_default();
    }
    false
}

/// Decodes the whole JPEG of a page.
pub(crate) fn decode_whole_jpeg(
    jpeg: &[u8],
    file: &TiffFile<'_>,
    directory: &TiffDirectory,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DynamicImage, DecodeError> {
    let number = |tag| file.tag_number(directory, tag).unwrap_or(0);
    let side = |tag| u32::try_from(number(tag)).unwrap_or(u32::MAX);
    let (width, height) = (side(tags::IMAGE_WIDTH), side(tags::IMAGE_LENGTH));
    limits.check_pixels(FORMAT, width, height)?;
    let place = PicturePlace {
        max_width: width,
        max_height: height,
        max_channels: 4,
    };
    let needed_bytes = Compression::Jpeg.decoder_bytes(place.bytes());
    let _permit = deadline.reserve_memory(limits, needed_bytes)?;
    let colors = match number(tags::PHOTOMETRIC) {
        YCBCR => JpegColors::YCbCr,
        _ => JpegColors::Unchanged,
    };
    let picture = decode_jpeg_chunk(None, jpeg, colors, place, limits, deadline)?;
    if (picture.width, picture.height) != (width, height) {
        return Err(DecodeError::Corrupt {
            format: FORMAT,
            reason: "its JPEG has another size than the page".to_owned(),
        });
    }
    match picture.channels {
        1 => GrayImage::from_raw(width, height, picture.samples).map(DynamicImage::ImageLuma8),
        3 => RgbImage::from_raw(width, height, picture.samples).map(DynamicImage::ImageRgb8),
        _ => None,
    }
    .ok_or_else(|| DecodeError::UnsupportedFeature {
        format: FORMAT,
        reason: format!("old-style JPEG with {} colours", picture.channels),
    })
}
