//! Finds the profile of a TIFF and what its alpha channel means.
//!
//! The tags are read from the bytes, because the decoder would allocate 32 bytes for each byte of a
//! profile.

use crate::decode::encoding::{AlphaMeaning, SampleEncoding, SourceProfile};

const EXTRA_SAMPLES: u64 = 338;
const ICC_PROFILE: u64 = 34_675;
/// The first extra sample is alpha, and the colours are multiplied by it.
const ASSOCIATED_ALPHA: u64 = 1;
/// Tags of the first table that are looked at.
const MAX_ENTRIES: u64 = 4096;

/// Reads the tags of the first picture.
pub(crate) fn read_tiff_encoding(bytes: &[u8]) -> SampleEncoding {
    let tags = TiffTags {
        bytes,
        is_little_endian: bytes.starts_with(b"II"),
    };
    let mut encoding = SampleEncoding::default();
    if tags.find_first_short(EXTRA_SAMPLES) == Some(ASSOCIATED_ALPHA) {
        encoding.alpha = AlphaMeaning::Premultiplied;
    }
    if let Some(profile) = tags.find_bytes(ICC_PROFILE) {
        encoding.profile = SourceProfile::Icc(profile.to_vec());
    }
    encoding
}

struct TiffTags<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
}

/// An entry of a table: how many values it has, and where its field for a value or an offset begins.
struct TagPlace {
    values: u64,
    field_at: u64,
    field_bytes: usize,
}

impl<'a> TiffTags<'a> {
    fn read_number(&self, offset: u64, length: usize) -> Option<u64> {
        let begin = usize::try_from(offset).ok()?;
        let bytes = self.bytes.get(begin..begin.checked_add(length)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.is_little_endian {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }

    fn find_tag(&self, tag: u64) -> Option<TagPlace> {
        // BigTIFF (version 43) has wider fields than classic TIFF.
        let (width, count_width) = match self.read_number(2, 2)? {
            43 => (8, 8),
            _ => (4, 2),
        };
        let table = self.read_number(width as u64, width)?;
        let entries = self.read_number(table, count_width)?.min(MAX_ENTRIES);
        let entry_bytes = 4 + 2 * width as u64;
        (0..entries).find_map(|index| {
            let entry = table
                .checked_add(count_width as u64)?
                .checked_add(index * entry_bytes)?;
            (self.read_number(entry, 2)? == tag).then_some(())?;
            Some(TagPlace {
                values: self.read_number(entry + 4, width)?,
                field_at: entry + 4 + width as u64,
                field_bytes: width,
            })
        })
    }

    /// Returns the first value of a tag of 16-bit numbers.
    fn find_first_short(&self, tag: u64) -> Option<u64> {
        let place = self.find_tag(tag)?;
        let at = match place.values.checked_mul(2)? <= place.field_bytes as u64 {
            true => place.field_at,
            false => self.read_number(place.field_at, place.field_bytes)?,
        };
        self.read_number(at, 2)
    }

    /// Returns the values of a tag of bytes that is too long for the field.
    fn find_bytes(&self, tag: u64) -> Option<&'a [u8]> {
        let place = self.find_tag(tag)?;
        let begin = usize::try_from(self.read_number(place.field_at, place.field_bytes)?).ok()?;
        let length = usize::try_from(place.values).ok()?;
        self.bytes.get(begin..begin.checked_add(length)?)
    }
}
