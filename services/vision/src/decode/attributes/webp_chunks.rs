//! Metadata in the chunks of a WebP.

use super::blocks::MetadataBlocks;

/// Collects the blocks of a WebP, whether or not its header announces them.
pub(crate) fn collect_webp_blocks<'b>(bytes: &'b [u8], blocks: &mut MetadataBlocks<'b>) {
    // Skips `RIFF`, the length and `WEBP`.
    let mut chunks = bytes.get(12..).unwrap_or_default();
    while let Some((head, rest)) = chunks.split_at_checked(8) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        // A truncated chunk has the bytes that are left.
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        match &head[..4] {
            b"EXIF" => blocks.offer_exif(rest[..length].into()),
            b"XMP " => blocks.offer_xmp(rest[..length].into()),
            _ => {}
        }
        // Chunks are padded to an even length.
        chunks = rest.get(length + length % 2..).unwrap_or_default();
    }
}
