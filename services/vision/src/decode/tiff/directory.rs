//! Reads the directories of a TIFF file (IFDs), classic and BigTIFF, and of the camera raw formats
//! that are laid out like TIFF.
//!
//! Nothing is allocated in proportion to what a file claims: an entry's values are read from the
//! file one by one, and the number of directories and entries is limited.

use std::collections::HashSet;

/// The name of the format in attributes and errors.
pub(crate) const FORMAT: &str = "tiff";

/// Most entries of a directory; writers use about thirty, raw files about a hundred.
const MAX_ENTRIES: u64 = 4096;
/// How deep directories may point to directories below them.
const MAX_DEPTH: usize = 3;

pub(crate) const NEW_SUBFILE_TYPE: u16 = 254;
pub(crate) const SUBFILE_TYPE: u16 = 255;
pub(crate) const IMAGE_WIDTH: u16 = 256;
pub(crate) const IMAGE_LENGTH: u16 = 257;
pub(crate) const BITS_PER_SAMPLE: u16 = 258;
pub(crate) const COMPRESSION: u16 = 259;
pub(crate) const PHOTOMETRIC: u16 = 262;
pub(crate) const FILL_ORDER: u16 = 266;
pub(crate) const MAKE: u16 = 271;
pub(crate) const STRIP_OFFSETS: u16 = 273;
pub(crate) const ORIENTATION: u16 = 274;
pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
pub(crate) const ROWS_PER_STRIP: u16 = 278;
pub(crate) const STRIP_BYTE_COUNTS: u16 = 279;
pub(crate) const PLANAR_CONFIGURATION: u16 = 284;
pub(crate) const T4_OPTIONS: u16 = 292;
pub(crate) const PREDICTOR: u16 = 317;
pub(crate) const COLOR_MAP: u16 = 320;
pub(crate) const TILE_WIDTH: u16 = 322;
pub(crate) const TILE_LENGTH: u16 = 323;
pub(crate) const TILE_OFFSETS: u16 = 324;
pub(crate) const TILE_BYTE_COUNTS: u16 = 325;
pub(crate) const SUB_DIRECTORIES: u16 = 330;
pub(crate) const INK_SET: u16 = 332;
pub(crate) const EXTRA_SAMPLES: u16 = 338;
pub(crate) const SAMPLE_FORMAT: u16 = 339;
pub(crate) const MIN_SAMPLE_VALUE: u16 = 340;
pub(crate) const MAX_SAMPLE_VALUE: u16 = 341;
pub(crate) const JPEG_TABLES: u16 = 347;
pub(crate) const JPEG_OFFSET: u16 = 513;
pub(crate) const JPEG_LENGTH: u16 = 514;
pub(crate) const YCBCR_COEFFICIENTS: u16 = 529;
pub(crate) const YCBCR_SUBSAMPLING: u16 = 530;
pub(crate) const REFERENCE_BLACK_WHITE: u16 = 532;
pub(crate) const CFA_PATTERN: u16 = 33422;
pub(crate) const ICC_PROFILE: u16 = 34675;
pub(crate) const EXIF_DIRECTORY: u16 = 34665;
pub(crate) const GPS_DIRECTORY: u16 = 34853;
pub(crate) const DNG_VERSION: u16 = 50706;

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TiffEntry {
    pub tag: u16,
    /// The type of the values, such as 3 for 16-bit numbers.
    pub kind: u16,
    pub count: u64,
    /// Where the values are in the file.
    pub offset: u64,
}

impl TiffEntry {
    /// Returns the bytes of one value, or `None` for an unknown type.
    pub(crate) fn value_bytes(&self) -> Option<usize> {
        bytes_of_kind(self.kind)
    }
}

/// Returns the bytes of one value of a type, or `None` for an unknown type.
pub(crate) fn bytes_of_kind(kind: u16) -> Option<usize> {
    Some(match kind {
        // Byte, ASCII, signed byte, undefined; 129 is UTF-8, a type of EXIF 3.
        1 | 2 | 6 | 7 | 129 => 1,
        // Short, signed short.
        3 | 8 => 2,
        // Long, signed long, float, directory.
        4 | 9 | 11 | 13 => 4,
        // Rational, signed rational, double; long, signed long and directory of BigTIFF.
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => return None,
    })
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TiffDirectory {
    pub entries: Vec<TiffEntry>,
    /// Offset of the next directory, 0 if there is none.
    pub next: u64,
    /// The file ends within the directory.
    pub is_cut: bool,
}

impl TiffDirectory {
    pub(crate) fn find_entry(&self, tag: u16) -> Option<&TiffEntry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }
}

/// A file with TIFF's layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TiffFile<'b> {
    pub bytes: &'b [u8],
    pub is_little_endian: bool,
    /// BigTIFF, for files beyond 4 GiB, has wider fields.
    pub is_big: bool,
}

impl<'b> TiffFile<'b> {
    /// Opens a file by its first bytes. Raw formats have numbers of their own in place of 42.
    pub(crate) fn open(bytes: &'b [u8]) -> Option<Self> {
        let (is_little_endian, is_big) = match bytes.get(..4)? {
            b"II*\0" | b"IIRO" | b"IIRS" | b"IIU\0" => (true, false),
            b"MM\0*" | b"MMOR" => (false, false),
            b"II+\0" => (true, true),
            b"MM\0+" => (false, true),
            _ => return None,
        };
        Some(Self {
            bytes,
            is_little_endian,
            is_big,
        })
    }

    /// Returns the unsigned number of `length` bytes at `offset`.
    pub(crate) fn read_number(&self, offset: u64, length: usize) -> Option<u64> {
        Some(self.join_bytes(self.read_bytes(offset, length)?))
    }

    /// Returns the unsigned number that these bytes of the file store.
    pub(crate) fn join_bytes(&self, bytes: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.is_little_endian {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        }
    }

    pub(crate) fn read_bytes(&self, offset: u64, length: usize) -> Option<&'b [u8]> {
        let begin = usize::try_from(offset).ok()?;
        self.bytes.get(begin..begin.checked_add(length)?)
    }

    /// Returns the bytes from `offset` to its end, at most `length`.
    pub(crate) fn read_bytes_up_to(&self, offset: u64, length: u64) -> &'b [u8] {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.bytes.get(begin..).unwrap_or_default();
        &rest[..rest
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX))]
    }

    /// Bytes of an offset.
    pub(crate) fn offset_width(&self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    pub(crate) fn first_directory_offset(&self) -> Option<u64> {
        self.read_number(self.offset_width() as u64, self.offset_width())
    }

    /// Reads the directory at `offset`; of a truncated one, the entries that are there. Returns
    /// `None` if not even their number is within the file.
    pub(crate) fn read_directory(&self, offset: u64) -> Option<TiffDirectory> {
        let width = self.offset_width();
        let count_width = if self.is_big { 8 } else { 2 };
        let count = self.read_number(offset, count_width)?;
        let first = offset.checked_add(count_width as u64)?;
        // Tag and type have two bytes each; count and value have the width of an offset.
        let entry_bytes = 4 + 2 * width as u64;
        let mut directory = TiffDirectory::default();
        for index in 0..count.min(MAX_ENTRIES) {
            let begin = first.checked_add(index * entry_bytes)?;
            let (Some(tag), Some(kind), Some(count)) = (
                self.read_number(begin, 2),
                self.read_number(begin + 2, 2),
                self.read_number(begin + 4, width),
            ) else {
                directory.is_cut = true;
                return Some(directory);
            };
            let mut entry = TiffEntry {
                tag: tag as u16,
                kind: kind as u16,
                count,
                offset: begin + 4 + width as u64,
            };
            let Some(value_bytes) = entry.value_bytes() else {
                continue;
            };
            // Values that fit into the field are stored in it.
            if count.saturating_mul(value_bytes as u64) > width as u64 {
                let Some(offset) = self.read_number(entry.offset, width) else {
                    directory.is_cut = true;
                    return Some(directory);
                };
                entry.offset = offset;
            }
            directory.entries.push(entry);
        }
        let end = first.checked_add(count.checked_mul(entry_bytes)?)?;
        directory.next = self.read_number(end, width).unwrap_or(0);
        Some(directory)
    }

    /// Returns an entry's value as an unsigned number, if it is an integer.
    pub(crate) fn entry_number(&self, entry: &TiffEntry, index: u64) -> Option<u64> {
        if index >= entry.count || !matches!(entry.kind, 1 | 3 | 4 | 7 | 13 | 16 | 18 | 6 | 8 | 9) {
            return None;
        }
        let width = entry.value_bytes()?;
        let offset = index.checked_mul(width as u64)?.checked_add(entry.offset)?;
        self.read_number(offset, width)
    }

    /// Returns an entry's value as a fraction, if it is a number of any type.
    pub(crate) fn entry_fraction(&self, entry: &TiffEntry, index: u64) -> Option<f64> {
        if index >= entry.count {
            return None;
        }
        let width = entry.value_bytes()?;
        let offset = index.checked_mul(width as u64)?.checked_add(entry.offset)?;
        let number = self.read_number(offset, width)?;
        let signed = |number: u64, bits: u32| (number << (64 - bits)) as i64 >> (64 - bits);
        Some(match entry.kind {
            5 | 10 => {
                let (above, below) = (
                    self.read_number(offset, 4)?,
                    self.read_number(offset + 4, 4)?,
                );
                let side = |number| match entry.kind {
                    5 => number as f64,
                    _ => signed(number, 32) as f64,
                };
                if below == 0 {
                    return None;
                }
                side(above) / side(below)
            }
            6 => signed(number, 8) as f64,
            8 => signed(number, 16) as f64,
            9 => signed(number, 32) as f64,
            11 => f64::from(f32::from_bits(number as u32)),
            12 => f64::from_bits(number),
            17 => number as i64 as f64,
            _ => number as f64,
        })
    }

    /// Returns the first value of a tag as an unsigned number.
    pub(crate) fn tag_number(&self, directory: &TiffDirectory, tag: u16) -> Option<u64> {
        self.entry_number(directory.find_entry(tag)?, 0)
    }

    /// Returns the bytes of a tag's values, if there are at most `max_bytes` and all are within the
    /// file.
    pub(crate) fn tag_bytes(
        &self,
        directory: &TiffDirectory,
        tag: u16,
        max_bytes: u64,
    ) -> Option<&'b [u8]> {
        let entry = directory.find_entry(tag)?;
        let length = entry.count.checked_mul(entry.value_bytes()? as u64)?;
        if length > max_bytes {
            return None;
        }
        self.read_bytes(entry.offset, usize::try_from(length).ok()?)
    }

    /// Returns at most `max` directories: those of the main chain, each followed by the ones below
    /// it.
    pub(crate) fn collect_directories(&self, max: usize) -> Vec<TiffDirectory> {
        let mut collector = Collector {
            file: self,
            max,
            seen: HashSet::new(),
            directories: Vec::new(),
        };
        if let Some(first) = self.first_directory_offset() {
            collector.collect_chain(first, 0);
        }
        collector.directories
    }
}

struct Collector<'a, 'b> {
    file: &'a TiffFile<'b>,
    max: usize,
    /// Offsets that were visited: files with cycles exist.
    seen: HashSet<u64>,
    directories: Vec<TiffDirectory>,
}

impl Collector<'_, '_> {
    fn collect_chain(&mut self, first: u64, depth: usize) {
        let mut offset = first;
        while offset != 0
            && self.directories.len() < self.max
            && self.seen.insert(offset)
            && let Some(directory) = self.file.read_directory(offset)
        {
            offset = directory.next;
            let below = directory.find_entry(SUB_DIRECTORIES).copied();
            self.directories.push(directory);
            let Some(below) = below.filter(|_| depth < MAX_DEPTH) else {
                continue;
            };
            for index in 0..below.count.min(self.max as u64) {
                if let Some(offset) = self.file.entry_number(&below, index) {
                    self.collect_chain(offset, depth + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_and_endless_claims_end() {
        // A directory of one entry that is its own successor and its own child.
        let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec();
        bytes.extend([0x4a, 1, 4, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
        bytes.extend(8_u32.to_le_bytes());
        let file = TiffFile::open(&bytes).unwrap();
        assert_eq!(file.collect_directories(64).len(), 1);
        for length in 0..bytes.len() {
            if let Some(file) = TiffFile::open(&bytes[..length]) {
                file.collect_directories(64);
            }
        }
        let mut endless = b"MM\0+\0\x08\0\0".to_vec();
        endless.extend(16_u64.to_be_bytes());
        endless.extend(u64::MAX.to_be_bytes());
        endless.extend([0xff; 64]);
        let file = TiffFile::open(&endless).unwrap();
        assert!(file.collect_directories(64).len() <= 1);
    }

    #[test]
    fn fractions_of_all_types() {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((-3_i32).to_le_bytes());
        bytes.extend(4_i32.to_le_bytes());
        bytes.extend(0.25_f32.to_le_bytes());
        let file = TiffFile::open(&bytes).unwrap();
        let read = |kind, offset| {
            let entry = TiffEntry {
                tag: 1,
                kind,
                count: 1,
                offset,
            };
            file.entry_fraction(&entry, 0)
        };
        assert_eq!(read(10, 8), Some(-0.75));
        assert_eq!(read(9, 8), Some(-3.0));
        assert_eq!(read(8, 8), Some(-3.0));
        assert_eq!(read(11, 16), Some(0.25));
        assert_eq!(read(3, 12), Some(4.0));
        assert_eq!(read(5, 1000), None);
    }
}
