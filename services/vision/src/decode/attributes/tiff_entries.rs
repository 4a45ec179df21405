//! Picks the entries that are used out of a TIFF structure of any size.
//!
//! An EXIF block is a small TIFF file, and a TIFF file is itself an EXIF block. The EXIF crate wants
//! a copy of the whole file, reads neither BigTIFF nor the types IFD and UTF-8, and needs 24 bytes
//! for each NUL of a text, so a large file could make it allocate gigabytes. Therefore the few
//! entries that are used are copied, at most 1024 bytes of each, into a small block that it reads.

use crate::decode::tiff::directory::{TiffFile, bytes_of_kind};

/// Bytes of one value that are kept: dates, names, numbers.
const MAX_VALUE_BYTES: usize = 1024;

/// Entries of one directory that are looked at.
const MAX_ENTRIES: u64 = 4096;

const EXIF_DIRECTORY: u16 = 0x8769;
const XMP_PACKET: u16 = 0x02bc;
const IPTC_RECORDS: u16 = 0x83bb;
const PHOTOSHOP_RESOURCES: u16 = 0x8649;

/// The tags of either directory that end up in the block: maker, model, orientation, times and
/// their zones, keywords of Windows. TIFF/EP, on which raw formats are based, stores in the first
/// directory what EXIF stores in the second.
const COPIED_TAGS: &[u16] = &[
    0x010f, 0x0110, 0x0112, 0x0132, 0x882a, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9c9e,
];

/// What a TIFF structure says about the image in its first directory.
#[derive(Debug, Default)]
pub(crate) struct PickedEntries<'b> {
    /// A block of at most a few kilobytes that begins with a TIFF header.
    pub exif: Vec<u8>,
    pub xmp: Option<&'b [u8]>,
    pub iptc: Option<&'b [u8]>,
    pub photoshop: Option<&'b [u8]>,
}

/// Picks the entries of a file or block that begins with a TIFF header, or with the header of a raw
/// format that is a TIFF otherwise. `None` if it does not.
pub(crate) fn pick_tiff_entries(bytes: &[u8]) -> Option<PickedEntries<'_>> {
    let reader = EntryReader {
        file: TiffFile::open(bytes)?,
    };
    let first = reader.read_directory(reader.file.first_directory_offset()?);
    let mut entries = PickedEntries::default();
    let mut copied = [Vec::new(), Vec::new()];
    for entry in &first {
        let data = || Some(entry.data).filter(|data| !data.is_empty());
        match entry.tag {
            XMP_PACKET => entries.xmp = data(),
            IPTC_RECORDS => entries.iptc = data(),
            PHOTOSHOP_RESOURCES => entries.photoshop = data(),
            EXIF_DIRECTORY if copied[1].is_empty() => {
                if let Some(offset) = reader.number_of(entry) {
                    copied[1] = reader.read_directory(offset);
                }
            }
            _ => {}
        }
    }
    copied[0] = first;
    entries.exif = write_block(&reader, copied);
    Some(entries)
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
struct PickedEntry<'b> {
    tag: u16,
    kind: u16,
    /// Whole values, as far as the file has them.
    data: &'b [u8],
}

/// Returns the bytes of one value of a type; 0 for an unknown type.
fn value_bytes(kind: u16) -> usize {
    bytes_of_kind(kind).unwrap_or(0)
}

struct EntryReader<'b> {
    file: TiffFile<'b>,
}

impl<'b> EntryReader<'b> {
    /// Returns the first of an entry's whole numbers.
    fn number_of(&self, entry: &PickedEntry<'_>) -> Option<u64> {
        match entry.kind {
            1 | 3 | 4 | 9 | 13 | 16 | 17 | 18 => {
                let first = entry.data.get(..value_bytes(entry.kind))?;
                Some(self.file.join_bytes(first))
            }
            _ => None,
        }
    }

    /// Returns the entries of known types, the first of each tag. Broken ones are left out.
    fn read_directory(&self, offset: u64) -> Vec<PickedEntry<'b>> {
        let (count_bytes, entry_bytes) = if self.file.is_big { (8, 20) } else { (2, 12) };
        let count = self.file.read_number(offset, count_bytes).unwrap_or(0);
        let mut entries: Vec<PickedEntry<'b>> = Vec::new();
        for number in 0..count.min(MAX_ENTRIES) {
            let at = offset.saturating_add(count_bytes as u64 + number * entry_bytes);
            let Some(tag) = self.file.read_number(at, 2) else {
                break;
            };
            let tag = tag as u16;
            if is_used(tag)
                && !entries.iter().any(|entry| entry.tag == tag)
                && let Some(entry) = self.read_entry(at, tag)
            {
                entries.push(entry);
            }
        }
        entries
    }

    fn read_entry(&self, at: u64, tag: u16) -> Option<PickedEntry<'b>> {
        let offset_bytes = self.file.offset_width();
        let kind = self.file.read_number(at + 2, 2)? as u16;
        let unit = value_bytes(kind);
        let count = usize::try_from(self.file.read_number(at + 4, offset_bytes)?).ok()?;
        let length = count.checked_mul(unit).filter(|length| *length > 0)?;
        let value_at = at + 4 + offset_bytes as u64;
        let begin = if length <= offset_bytes {
            value_at
        } else {
            self.file.read_number(value_at, offset_bytes)?
        };
        // A value that the end of the file cuts has the bytes that are left.
        let left = self.file.bytes.get(usize::try_from(begin).ok()?..)?.len();
        let length = length.min(left);
        let data = self.file.read_bytes(begin, length - length % unit)?;
        (!data.is_empty()).then_some(PickedEntry { tag, kind, data })
    }
}

fn is_used(tag: u16) -> bool {
    COPIED_TAGS.contains(&tag)
        || matches!(
            tag,
            EXIF_DIRECTORY | XMP_PACKET | IPTC_RECORDS | PHOTOSHOP_RESOURCES
        )
}

/// Writes both directories as a classic TIFF in the byte order of the source.
fn write_block(reader: &EntryReader<'_>, directories: [Vec<PickedEntry<'_>>; 2]) -> Vec<u8> {
    let [mut first, mut second] = directories;
    first.retain(|entry| COPIED_TAGS.contains(&entry.tag));
    second.retain(|entry| COPIED_TAGS.contains(&entry.tag));
    let put = |block: &mut Vec<u8>, number: u32, length: usize| match reader.file.is_little_endian {
        true => block.extend(&number.to_le_bytes()[..length]),
        false => block.extend(&number.to_be_bytes()[4 - length..]),
    };
    // The header, and for each directory the number of entries, the entries and the next one's
    // offset. The first has the pointer to the second in addition.
    let second_at = 8 + 2 + 12 * (first.len() + 1) + 4;
    let values_at = second_at + 2 + 12 * second.len() + 4;
    let mut block = match reader.file.is_little_endian {
        true => b"II*\0".to_vec(),
        false => b"MM\0*".to_vec(),
    };
    let mut values: Vec<u8> = Vec::new();
    put(&mut block, 8, 4);
    for (entries, pointer) in [(first, Some(second_at)), (second, None)] {
        put(
            &mut block,
            entries.len() as u32 + u32::from(pointer.is_some()),
            2,
        );
        for entry in entries {
            let (kind, data) = narrow_value(reader, entry);
            let kept = &data[..data.len().min(MAX_VALUE_BYTES)];
            put(&mut block, entry.tag.into(), 2);
            put(&mut block, kind.into(), 2);
            put(&mut block, (kept.len() / value_bytes(kind)) as u32, 4);
            if kept.len() <= 4 {
                let begin = block.len();
                block.extend(kept);
                block.resize(begin + 4, 0);
            } else {
                put(&mut block, (values_at + values.len()) as u32, 4);
                values.extend(kept);
            }
        }
        if let Some(pointer) = pointer {
            put(&mut block, EXIF_DIRECTORY.into(), 2);
            put(&mut block, 4, 2);
            put(&mut block, 1, 4);
            put(&mut block, pointer as u32, 4);
        }
        put(&mut block, 0, 4);
    }
    block.extend(values);
    block
}

/// Converts the types that the EXIF crate does not know to those that it does.
fn narrow_value<'b>(
    reader: &EntryReader<'_>,
    entry: PickedEntry<'b>,
) -> (u16, std::borrow::Cow<'b, [u8]>) {
    match entry.kind {
        129 => (2, entry.data.into()),
        13 => (4, entry.data.into()),
        // Only small numbers are used: their high half is zero.
        16..=18 => {
            let low_half = |wide: &'b [u8]| match reader.file.is_little_endian {
                true => &wide[..4],
                false => &wide[4..],
            };
            let kind = if entry.kind == 17 { 9 } else { 4 };
            let kept = entry.data.len().min(2 * MAX_VALUE_BYTES);
            let narrow = entry.data[..kept].chunks_exact(8).flat_map(low_half);
            (kind, narrow.copied().collect::<Vec<_>>().into())
        }
        kind => (kind, entry.data.into()),
    }
}
