//! Metadata in the segments before a JPEG's first scan.

use super::blocks::MetadataBlocks;
use super::iptc::find_iptc_resource;

const EXIF_PREFIX: &[u8] = b"Exif\0";
const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const PHOTOSHOP_PREFIX: &[u8] = b"Photoshop 3.0\0";

/// Bytes of Photoshop's resources that are joined; one segment has at most 64 KiB of them.
const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// Collects the blocks of a JPEG. Segments that end beyond the file end the search.
pub(crate) fn collect_jpeg_blocks<'b>(bytes: &'b [u8], blocks: &mut MetadataBlocks<'b>) {
    let mut resources = Vec::new();
    let mut offset = 2;
    while let Some((marker, body_at)) = next_segment(bytes, offset) {
        let Some(&[high, low]) = bytes.get(body_at..body_at + 2) else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = bytes.get(body_at + 2..body_at + length.max(2)) else {
            break;
        };
        match marker {
            // The end, or the first scan: the blocks that matter stand in front.
            0xd9 | 0xda => break,
            0xe1 if body.starts_with(EXIF_PREFIX) => {
                blocks.offer_exif(body[EXIF_PREFIX.len()..].into());
            }
            0xe1 if body.starts_with(XMP_PREFIX) => {
                blocks.offer_xmp(body[XMP_PREFIX.len()..].into());
            }
            0xed if body.starts_with(PHOTOSHOP_PREFIX) && resources.len() < MAX_RESOURCE_BYTES => {
                resources.extend(&body[PHOTOSHOP_PREFIX.len()..]);
            }
            _ => {}
        }
        offset = body_at + length.max(2);
    }
    if let Some(records) = find_iptc_resource(&resources) {
        blocks.offer_iptc(records.to_vec().into());
    }
}

/// Returns the next marker that has a body, and the offset of the body's length. Like every reader,
/// skips bytes between two segments.
fn next_segment(bytes: &[u8], mut offset: usize) -> Option<(u8, usize)> {
    loop {
        match bytes.get(offset..)? {
            [] | [_] => return None,
            [0xff, 0 | 0x01 | 0xd0..=0xd8, ..] => offset += 2,
            [0xff, marker, ..] if *marker != 0xff => return Some((*marker, offset + 2)),
            _ => offset += 1,
        }
    }
}
