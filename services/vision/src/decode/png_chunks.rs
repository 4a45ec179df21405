//! The chunks of a PNG.

use std::ops::Range;

/// Bytes before the first chunk.
const SIGNATURE_BYTES: usize = 8;

/// Bytes of a chunk in addition to its data: length, name and checksum.
const FRAME_BYTES: usize = 12;

/// A chunk whose length and name are in the file.
#[derive(Debug, Clone)]
pub(crate) struct PngChunk<'b> {
    pub name: &'b [u8; 4],
    /// As much of the data as the file has.
    pub data: &'b [u8],
    /// The place of the whole chunk, which may end behind the file.
    pub place: Range<usize>,
}

impl PngChunk<'_> {
    pub(crate) fn has_all_data(&self) -> bool {
        self.data.len() + FRAME_BYTES == self.place.len()
    }
}

/// Iterates over the chunks, of which the last one may be cut.
pub(crate) fn list_png_chunks(bytes: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    let mut offset = SIGNATURE_BYTES;
    std::iter::from_fn(move || {
        let begin = offset;
        let (length, rest) = bytes.get(begin..)?.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        offset = begin.checked_add(length)?.checked_add(FRAME_BYTES)?;
        Some(PngChunk {
            name,
            data: &rest[..length.min(rest.len())],
            place: begin..offset,
        })
    })
}

/// Iterates over the chunks before the compressed pixels that have all of their data.
pub(crate) fn list_header_chunks(bytes: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    list_png_chunks(bytes).take_while(|chunk| chunk.name != b"IDAT" && chunk.has_all_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_may_be_cut() {
        let file = b"\x89PNG\r\n\x1a\n\0\0\0\x02tEXtab----\0\0\0\x03IDATabc----";
        let list = |bytes| -> Vec<_> {
            let chunks = list_png_chunks(bytes);
            chunks.map(|chunk| (chunk.data, chunk.place)).collect()
        };
        let text = (&b"ab"[..], 8..22);
        assert_eq!(list(file), [text.clone(), (&b"abc"[..], 22..37)]);
        assert_eq!(list(&file[..32]), [text.clone(), (&b"ab"[..], 22..37)]);
        // Without its name, it is nothing.
        assert_eq!(list(&file[..29]), [text]);
        assert_eq!(list(b"\x89PNG"), []);
        assert_eq!(list_header_chunks(file).count(), 1);
        assert_eq!(list_header_chunks(&file[..17]).count(), 0);
        // The checksum may be missing.
        assert_eq!(list_header_chunks(&file[..19]).count(), 1);
    }
}
