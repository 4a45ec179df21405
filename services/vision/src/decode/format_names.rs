//! The names of all formats that can be indexed, for filters.

/// Every value of [`DecodedAttributes::format`](crate::DecodedAttributes::format).
pub const FORMAT_NAMES: &[&str] = &[
    "jpeg", "png", "gif", "webp", "bmp", "tiff", "ico", "qoi", "pnm", "hdr", "tga", "heic", "avif",
    "jxl",
    // Camera raw files, by the extension of their format; "raw" if the maker is unknown.
    "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "mef", "mos", "mrw", "nef",
    "orf", "pef", "raf", "raw", "rw2", "rwl", "srw", "x3f",
];

#[cfg(test)]
mod tests {
    use super::FORMAT_NAMES;
    use crate::decode::sniff::{FileFormat, RawKind};

    /// Does not compile when a format is new, so that it gets a name above as well.
    fn format_after(format: FileFormat) -> Option<FileFormat> {
        match format {
            FileFormat::Jpeg => Some(FileFormat::Png),
            FileFormat::Png => Some(FileFormat::Gif),
            FileFormat::Gif => Some(FileFormat::WebP),
            FileFormat::WebP => Some(FileFormat::Bmp),
            FileFormat::Bmp => Some(FileFormat::Tiff),
            FileFormat::Tiff => Some(FileFormat::Ico),
            FileFormat::Ico => Some(FileFormat::Qoi),
            FileFormat::Qoi => Some(FileFormat::Pnm),
            FileFormat::Pnm => Some(FileFormat::Hdr),
            FileFormat::Hdr => Some(FileFormat::Tga),
            FileFormat::Tga => Some(FileFormat::Heic),
            FileFormat::Heic => Some(FileFormat::Avif),
            FileFormat::Avif => Some(FileFormat::Jxl),
            // Bitmaps without a header have the name of those with one.
            FileFormat::Jxl | FileFormat::Dib | FileFormat::Raw(_) => None,
        }
    }

    #[test]
    fn every_format_has_a_name() {
        let formats = std::iter::successors(Some(FileFormat::Jpeg), |format| format_after(*format));
        let mut names: Vec<&str> = formats.map(FileFormat::name).collect();
        names.extend(RawKind::all_names());
        assert_eq!(names, FORMAT_NAMES);
    }
}
