//! Which files are meant to be indexed: decided by name, size and the rules of `.lookalikeignore`
//! ([`crate::ignore_files`]), before any byte is read.
//!
//! What is not meant to be indexed is listed as ignored with one of [`Ignored`]'s reasons; what
//! is, and can't be, is the embedder's to list as failed.

use std::borrow::Cow;
use std::path::Path;

/// Why a file is not meant to be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ignored {
    /// Its name begins with a dot.
    Hidden,
    /// Its name is one that programs give to files they have not finished.
    Temporary,
    /// Its name has no ending of a picture.
    NotAPicture,
    /// Its path is no UTF-8, or longer than the index can hold.
    Name,
    /// It is larger than `watch.max_file_bytes`.
    TooLarge,
    /// It is a symbolic link: what it points to is indexed where it lies.
    SymbolicLink,
    /// A socket, pipe or device.
    NotAFile,
    /// A rule of a `.lookalikeignore`, in a sentence.
    Rule(String),
}

impl Ignored {
    /// The code in lists and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Temporary => "temporary",
            Self::NotAPicture => "not_a_picture_name",
            Self::Name => "unusable_name",
            Self::TooLarge => "too_large",
            Self::SymbolicLink => "symbolic_link",
            Self::NotAFile => "not_a_file",
            Self::Rule(_) => "ignore_file",
        }
    }

    /// One sentence for a person.
    pub fn detail(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Hidden => "The name begins with a dot.",
            Self::Temporary => "The name is one of unfinished files.",
            Self::NotAPicture => "The name has no ending of a picture (.jpg, .png, …).",
            Self::Name => "The name is not valid UTF-8, or the path is longer than 4,096 bytes.",
            Self::TooLarge => "The file is larger than watch.max_file_bytes.",
            Self::SymbolicLink => "Symbolic links are not followed.",
            Self::NotAFile => "This is a socket, pipe or device.",
            Self::Rule(rule) => rule,
        })
    }
}

/// Endings of picture formats, those too that can't be decoded (yet): their files are listed as
/// failed with that reason, rather than passed over in silence.
const PICTURES: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff", "tga",
    "ico", "cur", "qoi", "pnm", "pbm", "pgm", "ppm", "pam", "hdr", "exr", "avif", "avifs", "heic",
    "heif", "hif", "jxl", "jp2", "j2k", "jpf", "jpx", "psd", "pcx", "svg", "dds", "cr2", "cr3",
    "nef", "arw", "dng", "orf", "rw2", "raf", "pef", "srw",
];

/// Endings that browsers, editors and copy programs give to unfinished files.
const TEMPORARY: &[&str] = &[
    "tmp",
    "temp",
    "part",
    "partial",
    "crdownload",
    "download",
    "swp",
    "filepart",
];

/// Whether a folder of this name is entered.
pub fn enters(name: &[u8]) -> bool {
    !name.starts_with(b".") && !matches!(name, b"lost+found" | b"@eaDir" | b"$RECYCLE.BIN")
}

/// Why the file at `path` (relative to its library's root) is ignored, or `None` if it is meant
/// to be indexed. `size` in bytes.
pub fn ignored(path: &[u8], size: u64, max_file_bytes: u64) -> Option<Ignored> {
    let Ok(text) = std::str::from_utf8(path) else {
        return Some(Ignored::Name);
    };
    if lookalike_proto::RelativePath::new(text).is_err() {
        return Some(Ignored::Name);
    }
    let name = text.rsplit('/').next().unwrap_or(text);
    if name.starts_with('.') {
        return Some(Ignored::Hidden);
    }
    let ending = Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase);
    let is = |list: &[&str]| ending.as_deref().is_some_and(|e| list.contains(&e));
    if is(TEMPORARY) || name.ends_with('~') || name.starts_with("~$") {
        return Some(Ignored::Temporary);
    }
    if !is(PICTURES) {
        return Some(Ignored::NotAPicture);
    }
    (size > max_file_bytes).then_some(Ignored::TooLarge)
}

/// Why something that is neither file nor folder is ignored.
pub fn other(link: bool) -> Ignored {
    if link {
        Ignored::SymbolicLink
    } else {
        Ignored::NotAFile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_size() {
        let check = |path: &[u8]| ignored(path, 10, 100).map(|ignored| ignored.code());
        assert_eq!(check(b"a/b.JPG"), None);
        assert_eq!(check(b"new\nline.png"), None);
        assert_eq!(check(b"x.heic"), None);
        assert_eq!(check(b"a/.b.jpg"), Some("hidden"));
        assert_eq!(check(b"b.jpg.part"), Some("temporary"));
        assert_eq!(check(b"b.jpg~"), Some("temporary"));
        assert_eq!(check(b"notes.txt"), Some("not_a_picture_name"));
        assert_eq!(check(b"jpg"), Some("not_a_picture_name"));
        assert_eq!(check(b"\xff.jpg"), Some("unusable_name"));
        assert_eq!(ignored(b"a.jpg", 101, 100), Some(Ignored::TooLarge));
        assert!(enters(b"2024") && !enters(b".git"));
    }
}
