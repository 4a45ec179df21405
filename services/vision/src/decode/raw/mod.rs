//! Camera raw files: the preview that the camera embeds is decoded in place of the raw pixels.
//!
//! Cameras embed a finished JPEG of the photo, usually at full size, and a thumbnail of about 160
//! pixels. The largest preview is used if its longer side has at least [`MIN_PREVIEW_SIDE`] pixels. A
//! thumbnail would make many photos look alike, so a file with nothing larger is not supported.

mod preview;

#[cfg(test)]
mod tests;

use image::metadata::Orientation;

use self::preview::{MIN_PREVIEW_SIDE, Preview, PreviewSource, find_previews};
use crate::decode::{
    deadline::CpuDeadline,
    decoded::{DecoderOutput, MinDecodedSize},
    encoding::SampleEncoding,
    jpeg,
    limits::Limits,
    sniff::{MAX_DIRECTORIES, RawKind},
    tiff::{
        build_exif_block, decode_page,
        directory::{self as tags, TiffDirectory, TiffFile},
        read_orientation, read_painted_profile,
    },
};
use crate::error::DecodeError;

/// Most previews that are tried, the largest first.
const MAX_TRIED_PREVIEWS: usize = 3;

/// Decodes the largest preview of a raw file, with the attributes of the raw file.
pub(crate) fn decode_raw(
    bytes: &[u8],
    kind: RawKind,
    min_size: MinDecodedSize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    let file = TiffFile::open(bytes);
    let directories = file
        .map(|file| file.collect_directories(MAX_DIRECTORIES))
        .unwrap_or_default();
    let previews = find_previews(bytes, file.as_ref(), &directories, deadline)?;
    let mut first_error = None;
    for preview in previews.iter().take(MAX_TRIED_PREVIEWS) {
        match decode_preview(preview, file.as_ref(), min_size, limits, deadline) {
            Ok(mut output) => {
                adopt_attributes(&mut output, preview, file.as_ref(), &directories, bytes);
                return Ok(output);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(DecodeError::RawWithoutPreview {
        format: kind.name(),
        min_side: MIN_PREVIEW_SIDE,
    }))
}

fn decode_preview(
    preview: &Preview<'_>,
    file: Option<&TiffFile<'_>>,
    min_size: MinDecodedSize,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> Result<DecoderOutput, DecodeError> {
    match (&preview.source, file) {
        (PreviewSource::Jpeg(bytes), _) => jpeg::decode_jpeg(bytes, min_size, limits, deadline),
        (PreviewSource::Page(directory), Some(file)) => {
            let image = decode_page(file, directory, limits, deadline)?;
            Ok(DecoderOutput {
                width: image.width(),
                height: image.height(),
                image,
                orientation: None,
                exif: None,
                encoding: SampleEncoding {
                    profile: read_painted_profile(file, directory),
                    ..SampleEncoding::default()
                },
            })
        }
        (PreviewSource::Page(_), None) => Err(DecodeError::NotAnImage),
    }
}

/// Replaces the preview's attributes by those of the raw file, which has more of them.
fn adopt_attributes(
    output: &mut DecoderOutput,
    preview: &Preview<'_>,
    file: Option<&TiffFile<'_>>,
    directories: &[TiffDirectory],
    bytes: &[u8],
) {
    if let (Some(file), Some(first)) = (file, directories.first()) {
        // Without the tag, other attributes such as XMP decide.
        if let Some(orientation) = read_orientation(file, first) {
            let is_upright = is_preview_turned(preview, orientation, file, directories);
            output.orientation = Some(match is_upright {
                true => Orientation::NoTransforms,
                false => orientation,
            });
        }
        let merged: Vec<_> = directories.iter().collect();
        output.exif = Some(build_exif_block(file, &merged));
    } else if let Some(block) = find_canon_block(bytes) {
        output.exif = Some(block.to_vec());
    }
}

/// Returns whether the camera has turned the preview already: the photo is stored lying, must be
/// turned by 90 degrees, and the preview stands.
fn is_preview_turned(
    preview: &Preview<'_>,
    orientation: Orientation,
    file: &TiffFile<'_>,
    directories: &[TiffDirectory],
) -> bool {
    let swaps_sides = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let size = |directory: &TiffDirectory| {
        let width = file.tag_number(directory, tags::IMAGE_WIDTH)?;
        let height = file.tag_number(directory, tags::IMAGE_LENGTH)?;
        Some((width, height))
    };
    let largest = directories
        .iter()
        .filter_map(size)
        .max_by_key(|(width, height)| width.saturating_mul(*height));
    let Some((width, height)) = largest else {
        return false;
    };
    swaps_sides && width > height && preview.width < preview.height
}

/// Finds the EXIF block of a CR3 file: an ISO media box of its metadata contains one.
fn find_canon_block(bytes: &[u8]) -> Option<&[u8]> {
    const MAX_HEAD_BYTES: usize = 256 << 10;
    let head = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    let at = head.windows(4).position(|window| window == b"CMT1")?;
    let length = head.get(at.checked_sub(4)?..at)?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let block = bytes.get(at + 4..(at - 4).checked_add(length)?)?;
    (block.starts_with(b"II*\0") || block.starts_with(b"MM\0*")).then_some(block)
}
