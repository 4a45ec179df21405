//! Names formats of pictures, films and documents that cannot be decoded, so that the reason of the
//! failure says what the file is.

/// Where a signature is in a file, the signature, and the format's name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP (XCF)"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"DDS ", "DDS texture"),
    (0, b"\xabKTX 11\xbb\r\n\x1a\n", "KTX texture"),
    (0, b"\xabKTX 20\xbb\r\n\x1a\n", "KTX 2 texture"),
    (0, b"PVR\x03", "PVR texture"),
    (0, b"\x13\xab\xa1\x5c", "ASTC texture"),
    (0, b"farbfeld", "farbfeld"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    (0, b"\x01\xda\0\x01", "SGI"),
    (0, b"\x01\xda\x01\x01", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"icns", "Apple icon (ICNS)"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"/* XPM */", "XPM"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)"),
    (40, b" EMF", "Windows metafile (EMF)"),
    (0, b"%PDF-", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (8, b"AVI ", "AVI video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (0, b"\0\0\x01\xba", "MPEG video"),
    (0, b"\0\0\x01\xb3", "MPEG video"),
    (0, b"FLV\x01", "Flash video"),
    (
        0,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "Windows Media video",
    ),
    (0, b"OggS", "Ogg video or audio"),
    (4, b"moov", "QuickTime video"),
    (4, b"mdat", "QuickTime video"),
    (4, b"wide", "QuickTime video"),
    (4, b"skip", "QuickTime video"),
];

/// Returns the name of a format that is recognised by a signature.
pub(super) fn identify_unsupported(bytes: &[u8]) -> Option<&'static str> {
    let has = |offset: usize, signature: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(signature))
    };
    let found = SIGNATURES
        .iter()
        .find(|(offset, signature, _)| has(*offset, signature));
    match found {
        Some((_, _, name)) => Some(name),
        None if is_pcx(bytes) => Some("PCX"),
        None if is_svg(bytes) => Some("SVG"),
        None if is_transport_stream(bytes) => Some("MPEG transport stream (video)"),
        None => None,
    }
}

/// Returns what a file with the main brand of its `ftyp` box is.
pub(super) fn name_iso_media(brand: &[u8]) -> &'static str {
    match brand {
        b"qt  " => "QuickTime video",
        b"M4A " | b"M4B " => "MPEG-4 audio",
        b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1" | b"M4V "
        | b"MSNV" | b"dash" | b"XAVC" => "MP4 video",
        brand if brand.starts_with(b"3g") => "3GP video",
        b"jp2 " | b"jpx " | b"jpm " => "JPEG 2000",
        _ => "video or unknown ISO media",
    }
}

fn is_pcx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x0a, 0 | 2 | 3 | 4 | 5, 1, 1 | 2 | 4 | 8, ..])
}

/// Recognises XML with an `<svg` element near the beginning.
fn is_svg(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    text.trim_ascii_start().starts_with(b"<") && text.windows(4).any(|window| window == b"<svg")
}

/// Recognises the first bytes of three packets.
fn is_transport_stream(bytes: &[u8]) -> bool {
    const PACKET_BYTES: usize = 188;
    (0..3).all(|packet| bytes.get(packet * PACKET_BYTES) == Some(&0x47))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_a_name_in_words() {
        let named = |bytes: &[u8]| identify_unsupported(bytes).unwrap_or_default();
        for (offset, signature, name) in SIGNATURES {
            let mut file = vec![0; *offset];
            file.extend_from_slice(signature);
            assert_eq!(named(&file), *name);
        }
        let mut stream = vec![0; 400];
        for packet in 0..3 {
            stream[packet * 188] = 0x47;
        }
        assert_eq!(named(&stream), "MPEG transport stream (video)");
        assert_eq!(named(b"\x0a\x05\x01\x08"), "PCX");
        assert_eq!(named(b"<svg xmlns=\"x\"/>"), "SVG");
        assert_eq!(identify_unsupported(b"a text"), None);
        assert_eq!(name_iso_media(b"qt  "), "QuickTime video");
        assert_eq!(name_iso_media(b"3gp4"), "3GP video");
        assert_eq!(name_iso_media(b"none"), "video or unknown ISO media");
    }
}
