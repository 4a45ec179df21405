//! The blocks of metadata that an image file contains.

use std::borrow::Cow;

/// The first usable block of each kind in a file; further ones are ignored.
#[derive(Debug, Default)]
pub(crate) struct MetadataBlocks<'b> {
    /// Begins with a TIFF header.
    pub exif: Option<Cow<'b, [u8]>>,
    pub xmp: Option<Cow<'b, [u8]>>,
    pub iptc: Option<Cow<'b, [u8]>>,
    /// Time when the picture was made, as PNG states it in words.
    pub creation_time: Option<Vec<u8>>,
    /// Time when a PNG was written, in seconds since 1970.
    pub written_at: Option<i64>,
}

impl<'b> MetadataBlocks<'b> {
    /// Keeps an EXIF block unless there is one or it contains no TIFF header.
    pub(crate) fn offer_exif(&mut self, block: Cow<'b, [u8]>) {
        if self.exif.is_none()
            && let Some(start) = find_tiff_header(&block)
        {
            self.exif = Some(match block {
                Cow::Borrowed(block) => Cow::Borrowed(&block[start..]),
                Cow::Owned(block) => Cow::Owned(block[start..].to_vec()),
            });
        }
    }

    pub(crate) fn offer_xmp(&mut self, packet: Cow<'b, [u8]>) {
        if self.xmp.is_none() {
            self.xmp = Some(packet);
        }
    }

    pub(crate) fn offer_iptc(&mut self, records: Cow<'b, [u8]>) {
        if self.iptc.is_none() {
            self.iptc = Some(records);
        }
    }
}

/// Bytes in front of the TIFF header: `Exif\0\0`, which belongs to JPEG and which programs copy into
/// other formats, sometimes with the marker and length of its segment or the offset of HEIF.
const MAX_PREFIX_BYTES: usize = 32;

/// Returns where the TIFF header of an EXIF block begins.
fn find_tiff_header(block: &[u8]) -> Option<usize> {
    let head = &block[..block.len().min(MAX_PREFIX_BYTES + 4)];
    head.windows(4)
        .position(|window| matches!(window, b"II*\0" | b"MM\0*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_start(block: &[u8], expected: Option<usize>) {
        assert_eq!(find_tiff_header(block), expected, "{block:?}");
    }

    #[test]
    fn prefixes_are_skipped() {
        check_start(b"II*\0\x08\0\0\0", Some(0));
        check_start(b"MM\0*\0\0\0\x08", Some(0));
        check_start(b"Exif\0\0II*\0\x08\0\0\0", Some(6));
        check_start(b"Exif\0\0Exif\0\0MM\0*\0\0\0\x08", Some(12));
        check_start(b"\xff\xe1\0\x20Exif\0\0II*\0", Some(10));
        check_start(b"\0\0\0\x06Exif\0\0MM\0*", Some(10));
        check_start(b"Exif\0\0", None);
        check_start(b"", None);
        check_start(&[0; 100], None);
    }
}
