//! Attributes of an image file: size, format, time, camera, keywords, colours.
//!
//! Programs store metadata as EXIF, XMP and IPTC, each format in its own places. Blocks are written
//! by thousands of programs and often broken. Fields that cannot be read are left out; they never
//! make a decode fail. Every block is limited in size before it is read.
//!
//! **Which one counts.** The orientation is that of EXIF's first directory, and where EXIF has none,
//! that of XMP. The time is the first of these that can be read: when the picture was taken, when it
//! became a file, when the file was changed. For each of them, EXIF goes before XMP and XMP before
//! IPTC. PNG's own times come last. See [`date`] for the forms and for zones.

mod blocks;
mod date;
mod fields;
mod text;

mod jpeg_segments;
mod png_metadata;
mod tiff_entries;
mod webp_chunks;

mod exif;
mod iptc;
mod xmp;

pub(crate) mod sidecar;

#[cfg(test)]
mod tests;

use image::metadata::Orientation;

use self::blocks::MetadataBlocks;
use self::date::StatedTime;
use self::fields::MetadataFields;
use self::tiff_entries::pick_tiff_entries;
use crate::decode::{
    heif,
    jxl::boxes::{JxlMetadata, list_metadata},
    sniff::FileFormat,
};
use crate::sketch::Sketch;

/// Keywords of one file that are kept.
const MAX_TAGS: usize = 64;

/// Attributes that are indexed together with the vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedAttributes {
    /// In pixels, of the upright image at full size.
    pub width: u32,
    /// In pixels, of the upright image at full size.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `ico`, `qoi`, `pnm`, `hdr`, `tga`, `heic`, `avif` or `jxl`; of a
    /// camera raw file, the extension of its format, such as `nef`.
    pub format: &'static str,
    /// Time when the picture was taken, in seconds since 1970. Times without a zone count as UTC, and
    /// a date without a time is its midnight.
    pub taken_at: Option<i64>,
    /// Maker and model.
    pub camera: Option<String>,
    /// Keywords, at most 64.
    pub tags: Vec<String>,
    /// Up to three basic colour terms that cover at least 15 % of the image, largest share first.
    pub colors: Vec<String>,
    /// What the picture looks like, to confirm that two pictures are the same.
    pub sketch: Sketch,
}

/// What a file's metadata states about its picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FileMetadata {
    pub orientation: Option<Orientation>,
    /// In seconds since 1970.
    pub taken_at: Option<i64>,
    pub camera: Option<String>,
    pub tags: Vec<String>,
}

/// Reads the metadata of a whole file. `exif_block` is the EXIF block of a format whose decoder
/// extracts it; it has precedence.
pub(crate) fn read_metadata(
    bytes: &[u8],
    format: FileFormat,
    exif_block: Option<&[u8]>,
) -> FileMetadata {
    let mut blocks = MetadataBlocks::default();
    if let Some(block) = exif_block {
        blocks.offer_exif(block.into());
    }
    match format {
        FileFormat::Jpeg => jpeg_segments::collect_jpeg_blocks(bytes, &mut blocks),
        FileFormat::Png => png_metadata::collect_png_blocks(bytes, &mut blocks),
        FileFormat::WebP => webp_chunks::collect_webp_blocks(bytes, &mut blocks),
        FileFormat::Heic | FileFormat::Avif => {
            if let Some(packet) = heif::find_xmp_packet(bytes) {
                blocks.offer_xmp(packet);
            }
        }
        FileFormat::Jxl => {
            for block in list_metadata(bytes) {
                match block {
                    JxlMetadata::Exif(block) => blocks.offer_exif(block),
                    JxlMetadata::Xmp(packet) => blocks.offer_xmp(packet),
                }
            }
        }
        // A TIFF file is itself an EXIF block; other formats have none that is known here.
        _ => {
            blocks.exif.get_or_insert(bytes.into());
        }
    }
    combine_fields(read_blocks(&blocks), &blocks)
}

/// The fields of EXIF, XMP and IPTC.
fn read_blocks(blocks: &MetadataBlocks<'_>) -> [MetadataFields; 3] {
    let [exif, inner_xmp, inner_iptc] = blocks.exif.as_deref().map(read_tiff).unwrap_or_default();
    [
        exif,
        blocks.xmp.as_deref().map_or(inner_xmp, xmp::read_xmp),
        blocks.iptc.as_deref().map_or(inner_iptc, iptc::read_iptc),
    ]
}

/// Reads a TIFF file or an EXIF block, and the blocks within it.
fn read_tiff(bytes: &[u8]) -> [MetadataFields; 3] {
    let Some(entries) = pick_tiff_entries(bytes) else {
        return Default::default();
    };
    let iptc_records = entries
        .iptc
        .or_else(|| entries.photoshop.and_then(iptc::find_iptc_resource));
    [
        exif::read_exif(entries.exif),
        entries.xmp.map(xmp::read_xmp).unwrap_or_default(),
        iptc_records.map(iptc::read_iptc).unwrap_or_default(),
    ]
}

fn combine_fields(fields: [MetadataFields; 3], blocks: &MetadataBlocks<'_>) -> FileMetadata {
    let first = |field: fn(&MetadataFields) -> Option<i64>| fields.iter().find_map(field);
    let creation_time = || {
        let text = blocks.creation_time.as_deref()?;
        StatedTime::parse(text)
            .or_else(|| StatedTime::parse_rfc2822(text))?
            .unix_seconds()
    };
    let name = |field: fn(&MetadataFields) -> Option<&str>| {
        fields.iter().find_map(field).unwrap_or_default()
    };
    FileMetadata {
        orientation: fields
            .iter()
            .find_map(|fields| fields.orientation)
            .and_then(Orientation::from_exif),
        taken_at: first(|fields| fields.original)
            .or_else(|| first(|fields| fields.digitized))
            .or_else(|| first(|fields| fields.modified))
            .or_else(creation_time)
            .or(blocks.written_at),
        camera: join_camera_name(
            name(|fields| fields.make.as_deref()),
            name(|fields| fields.model.as_deref()),
        ),
        tags: join_keywords(&fields),
    }
}

/// Returns the keywords of all blocks once; programs write the same ones into several.
fn join_keywords(fields: &[MetadataFields]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for keyword in fields.iter().flat_map(|fields| &fields.keywords) {
        if tags.len() < MAX_TAGS && !keyword.is_empty() && !tags.contains(keyword) {
            tags.push(keyword.clone());
        }
    }
    tags
}

/// Joins maker and model; a model that repeats the maker stands alone: `"Canon", "Canon EOS R5"` →
/// `Canon EOS R5`.
fn join_camera_name(make: &str, model: &str) -> Option<String> {
    let maker = make.split_whitespace().next().unwrap_or_default();
    let repeats = !maker.is_empty() && model.to_lowercase().starts_with(&maker.to_lowercase());
    let camera = if repeats {
        model.to_owned()
    } else {
        format!("{make} {model}").trim().to_owned()
    };
    (!camera.is_empty()).then_some(camera)
}
