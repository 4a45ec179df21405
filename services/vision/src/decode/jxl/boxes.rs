//! Finds metadata in the container of a JPEG XL file (ISO/IEC 18181-2). Without a container, there is
//! none.

use std::borrow::Cow;
use std::io::Read;

/// Most bytes of a block that is compressed.
const MAX_BLOCK_BYTES: u64 = 2 << 20;

/// The first box of a container. It has no content but its signature.
pub(crate) const CONTAINER_SIGNATURE: &[u8] = b"\0\0\0\x0cJXL \r\n\x87\n";

/// A block of metadata in a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JxlMetadata<'b> {
    /// Begins with the four bytes that state where its TIFF header is.
    Exif(Cow<'b, [u8]>),
    Xmp(Cow<'b, [u8]>),
}

/// Returns the blocks of metadata, also those that are compressed with Brotli.
pub(crate) fn list_metadata(bytes: &[u8]) -> Vec<JxlMetadata<'_>> {
    /// More than any program writes.
    const MAX_BLOCKS: usize = 16;
    if !bytes.starts_with(CONTAINER_SIGNATURE) {
        return Vec::new();
    }
    ContainerBoxes { rest: bytes }
        .filter_map(|(kind, content)| {
            let (kind, content) = match kind {
                b"brob" => {
                    let (kind, compressed) = content.split_first_chunk()?;
                    (kind, Cow::Owned(decompress_brotli(compressed)?))
                }
                kind => (kind, Cow::Borrowed(content)),
            };
            match kind {
                b"Exif" => Some(JxlMetadata::Exif(content)),
                b"xml " => Some(JxlMetadata::Xmp(content)),
                _ => None,
            }
        })
        .take(MAX_BLOCKS)
        .collect()
}

/// Iterates over the type and the content of boxes. A box that is cut has the bytes that are left.
struct ContainerBoxes<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for ContainerBoxes<'b> {
    type Item = (&'b [u8; 4], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (length, rest) = match u32::from_be_bytes(*length) {
            // The last box.
            0 => (rest.len() as u64, rest),
            1 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length).checked_sub(16)?, rest)
            }
            length => (u64::from(length).checked_sub(8)?, rest),
        };
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let (content, rest) = rest.split_at(length);
        self.rest = rest;
        Some((kind, content))
    }
}

/// Returns `None` if the data is damaged or inflates to more than a block may have.
fn decompress_brotli(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    brotli_decompressor::Decompressor::new(compressed, 4096)
        .take(MAX_BLOCK_BYTES + 1)
        .read_to_end(&mut block)
        .ok()?;
    (block.len() as u64 <= MAX_BLOCK_BYTES).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32 + 8).to_be_bytes();
        [&length[..], kind, content].concat()
    }

    #[test]
    fn blocks_are_found_in_containers_only() {
        let exif = make_box(b"Exif", b"\0\0\0\0II*\0");
        let xmp = make_box(b"xml ", b"<x/>");
        let file = [
            CONTAINER_SIGNATURE,
            &exif,
            &make_box(b"jxlc", b"pixels"),
            &xmp,
        ]
        .concat();
        let expected = [
            JxlMetadata::Exif(Cow::Borrowed(b"\0\0\0\0II*\0")),
            JxlMetadata::Xmp(Cow::Borrowed(b"<x/>")),
        ];
        assert_eq!(list_metadata(&file), expected);
        assert_eq!(list_metadata(&file[1..]), []);
        // A box that is cut, and lengths that cannot be.
        assert_eq!(list_metadata(&file[..file.len() - 4]).len(), 2);
        for length in [1, 2, 7] {
            let mut damaged = file.clone();
            damaged[15] = length;
            assert!(list_metadata(&damaged).len() <= 2);
        }
    }

    /// "<x/>" as an uncompressed Brotli block, and three mebibytes of zeros.
    #[test]
    fn compressed_blocks_are_inflated_within_a_limit() {
        let small = [b"xml ", &b"\x8b\x01\x80<x/>\x03"[..]].concat();
        let file = [CONTAINER_SIGNATURE, &make_box(b"brob", &small)].concat();
        let expected = [JxlMetadata::Xmp(Cow::Borrowed(b"<x/>"))];
        assert_eq!(list_metadata(&file), expected);
        let large = [
            b"xml ",
            &b"\x9b\xff\xff\x2f\x00\x24\x00\xe2\xb1\x40\x72\xef\x5f\x00"[..],
        ]
        .concat();
        let file = [CONTAINER_SIGNATURE, &make_box(b"brob", &large)].concat();
        assert_eq!(list_metadata(&file), []);
        let damaged = [CONTAINER_SIGNATURE, &make_box(b"brob", b"xml \xff\xff\xff")].concat();
        assert_eq!(list_metadata(&damaged), []);
    }
}
