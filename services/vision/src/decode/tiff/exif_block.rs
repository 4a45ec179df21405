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
/// Text in UTF-8, a type of EXIF 3 that few readers know.
const UTF8_TEXT: u16 = 129;

/// XMP, IPTC and Photoshop's resources. What is used of them is mostly at their beginning.
const CUT_TAGS: &[u16] = &[700, 33723, 34377];

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
    let mut entries: Vec<TiffEntry> = directories
        .iter()
        .flat_map(|directory| &directory.entries)
        .copied()
        .collect();
    // The sort is stable, so the entry of the earliest directory is the first of its tag.
    entries.sort_by_key(|entry| entry.tag);
    entries.dedup_by_key(|entry| entry.tag);
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
                    let mut count = value.len() / entry.value_bytes().unwrap_or(1);
                    let value = match value.len() {
                        0..=4 => {
                            let mut inline = value.to_vec();
                            inline.resize(4, 0);
                            inline
                        }
                        _ if self.bytes.len() + value.len() > MAX_BLOCK_BYTES => {
                            // An entry without values; offset 0 would be read as the header.
                            count = 0;
                            vec![0; 4]
                        }
                        _ => {
                            let here = self.bytes.len();
                            self.bytes.extend(value);
                            self.encode(here, 4)
                        }
                    };
                    let kind = match entry.kind {
                        UTF8_TEXT => TEXT,
                        kind => kind,
                    };
                    (usize::from(kind), count, value)
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

    /// Returns the bytes of an entry's values, as far as the file has them, if they are worth copying
    /// and of a type of classic TIFF or text.
    fn value(&self, entry: &TiffEntry) -> Option<&'b [u8]> {
        let unit = entry.value_bytes()?;
        let mut length = entry.count.checked_mul(unit as u64)?;
        if matches!(entry.kind, TEXT | UTF8_TEXT) {
            length = length.min(MAX_TEXT_BYTES);
        }
        if CUT_TAGS.contains(&entry.tag) {
            length = length.min(MAX_VALUE_BYTES);
        }
        if length > MAX_VALUE_BYTES || matches!(entry.kind, 14..=128) {
            return None;
        }
        let bytes = self.file.read_bytes_up_to(entry.offset, length);
        let whole = &bytes[..bytes.len() - bytes.len() % unit];
        (!whole.is_empty()).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of `entries` (tag, type, number of values, value or offset).
    fn write_file(entries: &[(u16, u16, u32, u32)], tail: &[u8]) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes.resize(100, 0);
        bytes.extend(tail);
        bytes
    }

    fn rewrite(bytes: &[u8]) -> Vec<u8> {
        let file = TiffFile::open(bytes).unwrap();
        let directory = file.read_directory(8).unwrap();
        build_exif_block(&file, &[&directory, &directory])
    }

    fn read_tag(block: &[u8], tag: u16) -> Option<(u16, &[u8])> {
        let file = TiffFile::open(block).unwrap();
        let directory = file.read_directory(8).unwrap();
        let kind = directory.find_entry(tag)?.kind;
        Some((kind, file.tag_bytes(&directory, tag, u64::MAX)?))
    }

    #[test]
    fn text_in_utf8_and_cut_values_are_copied() {
        let bytes = write_file(
            &[(tags::MAKE, UTF8_TEXT, 7, 100), (700, 1, 50, 107)],
            b"Pr\xc3\xbcfer<x:xmp",
        );
        let block = rewrite(&bytes);
        assert_eq!(
            read_tag(&block, tags::MAKE),
            Some((TEXT, &b"Pr\xc3\xbcfer"[..]))
        );
        assert_eq!(read_tag(&block, 700), Some((1, &b"<x:xmp"[..])));
    }

    #[test]
    fn a_full_block_has_empty_entries() {
        let length = MAX_VALUE_BYTES as u32;
        let entries: Vec<_> = (0..5).map(|tag| (50_000 + tag, 7, length, 100)).collect();
        let bytes = write_file(&entries, &vec![b'x'; length as usize]);
        let block = rewrite(&bytes);
        let lengths: Vec<_> = (0..5)
            .map(|tag| read_tag(&block, 50_000 + tag).map(|(_, value)| value.len()))
            .collect();
        let whole = Some(length as usize);
        assert_eq!(lengths, [whole, whole, whole, Some(0), Some(0)]);
    }

    #[test]
    fn long_xmp_is_cut() {
        let bytes = write_file(&[(700, 1, 2 << 20, 100)], &vec![b'x'; 2 << 20]);
        let block = rewrite(&bytes);
        let (_, value) = read_tag(&block, 700).unwrap();
        assert_eq!(value.len() as u64, MAX_VALUE_BYTES);
    }
}
