//! Tells raw files from other files, by their content.

use crate::decode::tiff::directory::{self as tags, TiffFile};

/// A camera raw format, named by the extension of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawKind(&'static str);

impl RawKind {
    /// Returns the value of [`DecodedAttributes::format`](crate::DecodedAttributes::format).
    pub(crate) fn name(self) -> &'static str {
        self.0
    }

    /// Returns the names of all kinds, sorted.
    #[cfg(test)]
    pub(crate) fn all_names() -> Vec<&'static str> {
        let signatures = SIGNATURES.iter().map(|(_, name)| *name);
        let makers = MAKERS.iter().map(|(_, name)| *name);
        let mut names: Vec<_> = signatures
            .chain(makers)
            .chain(["cr2", "cr3", "dng", "iiq", "raw"])
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Most directories of a raw file that are looked at.
pub(crate) const MAX_DIRECTORIES: usize = 64;

/// Signatures of formats with a layout of their own.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"IIRO", "orf"),
    (b"IIRS", "orf"),
    (b"MMOR", "orf"),
    (b"IIU\0", "rw2"),
    (b"FUJIFILMCCD-RAW", "raf"),
    (b"\0MRM", "mrw"),
    (b"FOVb", "x3f"),
    (b"II\x1a\0\0\0HEAPCCDR", "crw"),
];

/// Formats of makers whose files begin like TIFF, by the maker's name in capital letters.
const MAKERS: &[(&str, &str)] = &[
    ("NIKON", "nef"),
    ("CANON", "cr2"),
    ("SONY", "arw"),
    ("PENTAX", "pef"),
    ("RICOH", "pef"),
    ("ASAHI", "pef"),
    ("SAMSUNG", "srw"),
    ("HASSELBLAD", "3fr"),
    ("PHASE ONE", "iiq"),
    ("LEAF", "mos"),
    ("MAMIYA", "mef"),
    ("EPSON", "erf"),
    ("SEIKO EPSON", "erf"),
    ("KODAK", "dcr"),
    ("EASTMAN KODAK", "dcr"),
    ("LEICA", "rwl"),
    ("PANASONIC", "rw2"),
    ("OLYMPUS", "orf"),
];

/// Compressions that only raw pixels have.
const RAW_COMPRESSIONS: &[u64] = &[32767, 32769, 32770, 32772, 34713, 65000, 65535];
/// Pixels behind a colour filter, and linear pixels.
const RAW_PHOTOMETRICS: &[u64] = &[32803, 34892];

/// Returns the kind of a raw file, or `None` if the file is not raw.
///
/// A TIFF is raw if one of its directories describes raw pixels. A DNG without any stays a TIFF.
pub(crate) fn identify_raw(bytes: &[u8]) -> Option<RawKind> {
    if let Some((_, name)) = SIGNATURES
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return Some(RawKind(name));
    }
    if bytes.get(4..12) == Some(b"ftypcrx ") {
        return Some(RawKind("cr3"));
    }
    let file = TiffFile::open(bytes)?;
    match bytes.get(8..12)? {
        [b'C', b'R', 2, _] => return Some(RawKind("cr2")),
        b"IIII" | b"MMMM" => return Some(RawKind("iiq")),
        _ => {}
    }
    let directories = file.collect_directories(MAX_DIRECTORIES);
    let is_raw = directories.iter().any(|directory| {
        let is_one_of = |tag, values: &[u64]| {
            file.tag_number(directory, tag)
                .is_some_and(|value| values.contains(&value))
        };
        directory.find_entry(tags::CFA_PATTERN).is_some()
            || is_one_of(tags::PHOTOMETRIC, RAW_PHOTOMETRICS)
            || is_one_of(tags::COMPRESSION, RAW_COMPRESSIONS)
    });
    if !is_raw {
        return None;
    }
    let has_dng_version = directories
        .iter()
        .any(|directory| directory.find_entry(tags::DNG_VERSION).is_some());
    if has_dng_version {
        return Some(RawKind("dng"));
    }
    let maker = directories
        .iter()
        .find_map(|directory| file.tag_bytes(directory, tags::MAKE, 256))
        .map(|maker| String::from_utf8_lossy(maker).trim().to_uppercase())
        .unwrap_or_default();
    let known = MAKERS.iter().find(|(name, _)| maker.starts_with(name));
    Some(RawKind(known.map_or("raw", |(_, format)| format)))
}
