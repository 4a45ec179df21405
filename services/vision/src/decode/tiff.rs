//! Memory that a TIFF's tags make the decoder allocate.
//!
//! A TIFF states how many values each of its tags has, and the decoder allocates space for all of
//! them, 32 bytes each, before it reads the first. A file of a few hundred bytes can therefore
//! request hundreds of megabytes. The decoder's own bound does not follow our settings, so the tags
//! that it reads while it opens a file are checked against our limits first.

/// Bytes that the decoder allocates for one value.
const VALUE_BYTES: u64 = 32;

/// The decoder rejects a tag that would need more.
const MAX_TAG_BYTES: u64 = 256 << 20;

/// Tags that the decoder reads when it opens a file.
const TAGS_READ_ON_OPEN: &[u16] = &[
    256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339, 347, 530,
];

/// Reads a file's numbers in its byte order.
struct TiffNumbers<'b> {
    bytes: &'b [u8],
    is_little_endian: bool,
}

impl TiffNumbers<'_> {
    /// Returns the unsigned number of `length` bytes at `offset`.
    fn read_number(&self, offset: u64, length: usize) -> Option<u64> {
        let begin = usize::try_from(offset).ok()?;
        let bytes = self.bytes.get(begin..begin.checked_add(length)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.is_little_endian {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }
}

/// Returns the bytes that the decoder allocates for the tags while it opens this TIFF.
pub(crate) fn claimed_tag_bytes(bytes: &[u8]) -> u64 {
    let numbers = TiffNumbers {
        bytes,
        is_little_endian: bytes.starts_with(b"II"),
    };
    // BigTIFF (version 43, for files beyond 4 GiB) has wider fields than classic TIFF.
    let tag_bytes = match numbers.read_number(2, 2) {
        Some(43) => sum_tag_bytes(&numbers, 8, 8, 8),
        _ => sum_tag_bytes(&numbers, 4, 4, 2),
    };
    tag_bytes.unwrap_or(0)
}

/// Sums up the tags of the first table. `pointer` is the offset of the table's offset, which has
/// `offset_width` bytes; the number of entries has `count_width` bytes.
fn sum_tag_bytes(
    numbers: &TiffNumbers<'_>,
    pointer: u64,
    offset_width: usize,
    count_width: usize,
) -> Option<u64> {
    let begin = numbers.read_number(pointer, offset_width)?;
    let entries = numbers.read_number(begin, count_width)?;
    let first = begin.checked_add(count_width as u64)?;
    // Tag and type have two bytes each; the number of values and the value have `offset_width`.
    let entry_bytes = 4 + 2 * offset_width as u64;
    let mut sum = 0_u64;
    for entry in 0..entries {
        let entry_offset = first.checked_add(entry.checked_mul(entry_bytes)?)?;
        // A truncated table ends here.
        let (Some(tag), Some(values)) = (
            numbers.read_number(entry_offset, 2),
            numbers.read_number(entry_offset + 4, offset_width),
        ) else {
            break;
        };
        let claimed = values.saturating_mul(VALUE_BYTES);
        let is_read = TAGS_READ_ON_OPEN.iter().any(|read| u64::from(*read) == tag);
        if is_read && claimed <= MAX_TAG_BYTES {
            sum = sum.saturating_add(claimed);
        }
    }
    Some(sum)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table with one entry of `values` values after the entries that every image has.
    pub(crate) fn sample_tiff(tag: u16, values: u32) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        let entries = [
            (256, 3, 1, 8),
            (257, 3, 1, 8),
            (262, 3, 1, 1),
            (tag, 3, values, 200),
        ];
        bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
        for (tag, kind, count, value) in entries {
            bytes.extend(u16::to_le_bytes(tag));
            bytes.extend(u16::to_le_bytes(kind));
            bytes.extend(u32::to_le_bytes(count));
            bytes.extend(u32::to_le_bytes(value));
        }
        bytes.resize(300, 0);
        bytes
    }

    #[test]
    fn claims_are_summed_up() {
        assert_eq!(claimed_tag_bytes(&sample_tiff(258, 1000)), (3 + 1000) * 32);
        // The decoder allocates nothing for tags that it never reads or that it rejects.
        assert_eq!(claimed_tag_bytes(&sample_tiff(37724, 1_000_000)), 3 * 32);
        assert_eq!(claimed_tag_bytes(&sample_tiff(258, u32::MAX)), 3 * 32);
        let whole = sample_tiff(258, 1000);
        for length in 0..whole.len() {
            claimed_tag_bytes(&whole[..length]);
        }
        let mut endless = b"MM\0+\0\x08\0\0".to_vec();
        endless.extend(u64::MAX.to_be_bytes());
        endless.extend([0xff; 64]);
        assert_eq!(claimed_tag_bytes(&endless), 0);
    }
}
