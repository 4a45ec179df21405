//! Copies the attributes of a TIFF or raw file into a small EXIF block.
//!
//! A TIFF file is itself an EXIF block, but one of gigabytes: it contains the pixels. Readers of EXIF
//! expect the first directory, classic TIFF, and a whole copy. The block that is made here has the
//! entries of the page that was decoded, and the directories for EXIF and GPS below it.

use super::directory::{self as tags, TiffDirectory, TiffEntry, TiffFile};

/// Longest value that is copied. Colour profiles and XMP are longer than names and dates.
const MAX_VALUE_BYTES: u64 = 1 << 20;
const MAX_BLOCK_BYTES: usize = 4 << 20;

const LONG: u16 = 4;
/// The type of text, and the longest part of one that is copied.
const TEXT: u16 = 2;
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// Tags with offsets into the file, or with much that is not an attribute.
const LEFT_OUT: &[u16] = &[
    tags::STRIP_OFFSETS,
    tags::STRIP_BYTE_COUNTS,
    tags::TILE_OFFSETS,
    tags::TILE_BYTE_COUNTS,
    tags::SUB_DIRECTORIES,
    tags::JPEG_TABLES,
    tags::JPEG_OFFSET,
    tags::JPEG_LENGTH,
    tags::COLOR_MAP,
    // The maker's note has offsets of its own, and interoperability is a directory.
    37500,
    40965,
    tags::EXIF_DIRECTORY,
    tags::GPS_DIRECTORY,
    tags::ICC_PROFILE,
];

/// Returns the block, starting at its TIFF header. `directories` are merged: an entry of an earlier
/// one hides that of a later one.
pub(crate) fn build_exif_block(file: &TiffFile<'_>, directories: &[&TiffDirectory]) -> Vec<u8> {
    let mut writer = BlockWriter {
        file,
        bytes: match file.is_little_endian {
            true => b"II*\0\x08\0\0\0".to_vec(),
            false => b"MM\0*\0\0\0\x08".to_vec(),
        },
    };
    let mut entries: Vec<TiffEntry> = Vec::new();
    for entry in directories.iter().flat_map(|directory| &directory.entries) {
        if entries.iter().all(|known| known.tag != entry.tag) {
            entries.push(*entry);
        }
    }
    entries.sort_by_key(|entry| entry.tag);
    writer.write_directory(&entries, true);
    writer.bytes
}

struct BlockWriter<'a, 'b> {
    file: &'a TiffFile<'b>,
    bytes: Vec<u8>,
}

impl<'b> BlockWriter<'_, 'b> {
    fn encode(&self, number: usize, width: usize) -> Vec<u8> {
        // Blocks are far below 4 GiB.
        let bytes = (number as u32).to_le_bytes();
        let mut bytes = bytes[..width].to_vec();
        if !self.file.is_little_endian {
            bytes.reverse();
        }
        bytes
    }

    /// Writes a directory with the values of its entries behind it.
    fn write_directory(&mut self, entries: &[TiffEntry], has_directories: bool) {
        let begin = self.bytes.len();
        let kept: Vec<_> = entries
            .iter()
            .filter(|entry| match entry.tag {
                tags::EXIF_DIRECTORY | tags::GPS_DIRECTORY => has_directories,
                tag => {
                    let has_value =
                        self.value(entry).is_some() || self.wide_number(entry).is_some();
                    !LEFT_OUT.contains(&tag) && has_value
                }
            })
            .collect();
        self.bytes.resize(begin + 2 + kept.len() * 12 + 4, 0);
        let count = self.encode(kept.len(), 2);
        self.bytes[begin..begin + 2].copy_from_slice(&count);
        for (index, entry) in kept.into_iter().enumerate() {
            let at = begin + 2 + index * 12;
            let (kind, count, value) = match entry.tag {
                tags::EXIF_DIRECTORY | tags::GPS_DIRECTORY => {
                    let offset = self.file.entry_number(entry, 0);
                    let below = offset.and_then(|offset| self.file.read_directory(offset));
                    let here = self.bytes.len();
                    self.write_directory(&below.unwrap_or_default().entries, false);
                    (4, 1, self.encode(here, 4))
                }
                _ if self.wide_number(entry).is_some() => {
                    let number = self.wide_number(entry).unwrap_or_default();
                    (usize::from(LONG), 1, self.encode(number, 4))
                }
                _ => {
                    let value = self.value(entry).unwrap_or_default();
                    let count = match entry.kind {
                        TEXT => value.len(),
                        _ => entry.count as usize,
                    };
                    let value = match value.len() {
                        0..=4 => {
                            let mut inline = value.to_vec();
                            inline.resize(4, 0);
                            inline
                        }
                        _ if self.bytes.len() + value.len() > MAX_BLOCK_BYTES => vec![0; 4],
                        _ => {
                            let here = self.bytes.len();
                            self.bytes.extend(value);
                            self.encode(here, 4)
                        }
                    };
                    (usize::from(entry.kind), count, value)
                }
            };
            let fields = [
                self.encode(usize::from(entry.tag), 2),
                self.encode(kind, 2),
                self.encode(count, 4),
                value,
            ]
            .concat();
            self.bytes[at..at + 12].copy_from_slice(&fields);
        }
    }

    /// Returns a single number of 64 bits, a type of BigTIFF; attributes fit into 32.
    fn wide_number(&self, entry: &TiffEntry) -> Option<usize> {
        if entry.count != 1 || !matches!(entry.kind, 16..=18) {
            return None;
        }
        let number = self.file.read_number(entry.offset, 8)?;
        Some(number as u32 as usize)
    }

    /// Returns the bytes of an entry's values, if they are worth copying and of a type of classic
    /// TIFF.
    fn value(&self, entry: &TiffEntry) -> Option<&'b [u8]> {
        let mut length = entry.count.checked_mul(entry.value_bytes()? as u64)?;
        if entry.kind == TEXT {
            length = length.min(MAX_TEXT_BYTES);
        }
        if length > MAX_VALUE_BYTES || entry.kind > 13 {
            return None;
        }
        self.file
            .read_bytes(entry.offset, usize::try_from(length).ok()?)
    }
}
