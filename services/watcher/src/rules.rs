//! Which files are meant to be indexed: decided by name, size and the rules of `.lookalikeignore`
//! ([`crate::ignore_files`]), before any byte is read.
//!
//! Other files are listed as ignored with one of [`IgnoreReason`]'s codes. Files that should be
//! indexed and cannot be are listed as failed by the embedder.

use std::borrow::Cow;
use std::path::Path;

use crate::settings::Settings;

/// Why a file is not meant to be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IgnoreReason {
    /// The name begins with a dot.
    Hidden,
    /// Programs give such names to unfinished files.
    Temporary,
    /// The name has no extension of an image format.
    NotAnImageName,
    /// The path is not UTF-8, or longer than the index can store.
    UnusableName,
    /// A folder at a path that is too long for the system: nothing in it can be opened.
    DeepFolder,
    /// The file is larger than `watch.max_file_bytes`.
    TooLarge,
    /// A symbolic link: its target is indexed at its own path.
    SymbolicLink,
    /// A socket, pipe or device.
    SpecialFile,
    /// A rule of a `.lookalikeignore`, in a sentence.
    IgnoreFileRule(String),
}

impl IgnoreReason {
    /// The code in lists and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Temporary => "temporary",
            Self::NotAnImageName => "not_a_picture_name",
            Self::UnusableName | Self::DeepFolder => "unusable_name",
            Self::TooLarge => "too_large",
            Self::SymbolicLink => "symbolic_link",
            Self::SpecialFile => "not_a_file",
            Self::IgnoreFileRule(_) => "ignore_file",
        }
    }

    /// One sentence for users.
    pub fn detail(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Hidden => "The name begins with a dot.",
            Self::Temporary => "The name is typical of unfinished files.",
            Self::NotAnImageName => "The name has no extension of an image format (.jpg, .png, …).",
            Self::UnusableName => {
                "The name is not valid UTF-8, or the path is longer than 4,096 bytes."
            }
            Self::DeepFolder => {
                "The path of this folder is so long that the system cannot open what is in it \
                 (4,096 bytes with the library's folder). Move it to a shorter path."
            }
            Self::TooLarge => "The file is larger than watch.max_file_bytes.",
            Self::SymbolicLink => "Symbolic links are not followed.",
            Self::SpecialFile => "This is a socket, pipe or device.",
            Self::IgnoreFileRule(rule) => rule,
        })
    }
}

/// Extensions of image formats, including those that cannot be decoded (yet): their files are
/// listed as failed with that reason instead of being skipped silently. The content decides about the
/// format, so a name only has to be one that programs give to pictures.
const IMAGE_EXTENSIONS: &[&[&str]] = &[
    // JPEG, also of browsers, panoramic and stereo cameras, and as Twitter names it.
    &["jpg", "jpeg", "jpe", "jif", "jfif", "jfi", "pjpeg", "pjp"],
    &["mpo", "jps", "insp", "jpg_large", "jpg-large", "jpg_orig"],
    // Other formats of the web.
    &[
        "png", "apng", "pns", "gif", "webp", "avif", "avifs", "svg", "jxl", "qoi",
    ],
    // Bitmaps, icons, cursors, textures.
    &[
        "bmp", "dib", "ico", "cur", "tga", "pcx", "dds", "ktx", "ktx2",
    ],
    &["tif", "tiff", "btf", "tf8"],
    &["heic", "heics", "heif", "heifs", "hif"],
    &["jp2", "j2k", "j2c", "jpc", "jpf", "jpx"],
    &[
        "pnm", "pbm", "pgm", "ppm", "pam", "hdr", "exr", "psd", "psb", "xcf",
    ],
    // Camera raw.
    &[
        "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq",
    ],
    &[
        "k25", "kdc", "mef", "mos", "mrw", "nef", "nrw", "orf", "pef", "raf", "rw2",
    ],
    &["rwl", "sr2", "srf", "srw", "x3f"],
];

/// Extensions that browsers, editors and copy programs give to unfinished files.
const TEMPORARY_EXTENSIONS: &[&str] = &[
    "tmp",
    "temp",
    "part",
    "partial",
    "crdownload",
    "download",
    "swp",
    "filepart",
];

/// Folders that systems and storage devices make for themselves, in lower case: recycle bins,
/// snapshots, thumbnails and recovered fragments.
const SYSTEM_FOLDERS: &[&str] = &[
    // File systems, Windows, macOS.
    "lost+found",
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "__macosx",
    "$windows.~bt",
    "$windows.~ws",
    "$extend",
    "msdownld.tmp",
    "thevolumesettingsfolder",
    // Cameras and phones.
    "lost.dir",
    // Synology, QNAP, ASUSTOR, Western Digital, NetApp, ZFS and Btrfs over SMB.
    "#recycle",
    "#snapshot",
    "#sharebin",
    "@eadir",
    "@tmp",
    "@sharebin",
    "@sharesnap",
    "@snapshot",
    "@recently-snapshot",
    "@recycle",
    "@__thumb",
    "@appstore",
    "@database",
    "network trash folder",
    "temporary items",
    "~snapshot",
];

/// Whether the watcher enters a folder of this name. It enters no hidden folder, and those of
/// systems and storage devices only with `watch.enter_system_folders`.
pub fn is_entered_folder(name: &[u8], enters_system_folders: bool) -> bool {
    if name.starts_with(b".") {
        return false;
    }
    let has_name = |folder: &&str| folder.as_bytes().eq_ignore_ascii_case(name);
    enters_system_folders
        || !(SYSTEM_FOLDERS.iter().any(has_name) || is_recovered_fragments_folder(name))
}

/// Whether Windows gives such a name to a folder of recovered fragments: `FOUND.000`, ….
fn is_recovered_fragments_folder(name: &[u8]) -> bool {
    let (prefix, number) = name.split_at(name.len().min(6));
    prefix.eq_ignore_ascii_case(b"found.")
        && number.len() == 3
        && number.iter().all(u8::is_ascii_digit)
}

/// Returns why the file at `path` (relative to its library's root) is ignored, or `None` if it is
/// meant to be indexed. `size` in bytes.
pub fn ignore_reason(path: &[u8], size: u64, settings: &Settings) -> Option<IgnoreReason> {
    let Ok(text) = std::str::from_utf8(path) else {
        return Some(IgnoreReason::UnusableName);
    };
    if lookalike_proto::RelativePath::new(text).is_err() {
        return Some(IgnoreReason::UnusableName);
    }
    let name = text.rsplit('/').next().unwrap_or(text);
    if name.starts_with('.') {
        return Some(IgnoreReason::Hidden);
    }
    let extension = Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase);
    let is_one_of = |list: &[&str]| extension.as_deref().is_some_and(|e| list.contains(&e));
    if is_one_of(TEMPORARY_EXTENSIONS) || name.ends_with('~') || name.starts_with("~$") {
        return Some(IgnoreReason::Temporary);
    }
    let is_accepted = match extension {
        Some(_) => IMAGE_EXTENSIONS.iter().any(|list| is_one_of(list)),
        None => settings.files_without_extension,
    };
    if !is_accepted {
        return Some(IgnoreReason::NotAnImageName);
    }
    (size > settings.max_file_bytes).then_some(IgnoreReason::TooLarge)
}

/// Returns why something that is neither file nor folder is ignored.
pub fn special_file_reason(is_symlink: bool) -> IgnoreReason {
    if is_symlink {
        IgnoreReason::SymbolicLink
    } else {
        IgnoreReason::SpecialFile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            max_file_bytes: 100,
            ..Settings::default()
        }
    }

    #[test]
    fn by_name_and_size() {
        let check =
            |path: &[u8]| ignore_reason(path, 10, &settings()).map(|ignored| ignored.code());
        assert_eq!(check(b"a/b.JPG"), None);
        assert_eq!(check(b"new\nline.png"), None);
        assert_eq!(check(b"x.heic"), None);
        assert_eq!(check(b"a/.b.jpg"), Some("hidden"));
        assert_eq!(check(b"b.jpg.part"), Some("temporary"));
        assert_eq!(check(b"b.jpg~"), Some("temporary"));
        assert_eq!(check(b"notes.txt"), Some("not_a_picture_name"));
        assert_eq!(check(b"jpg"), Some("not_a_picture_name"));
        assert_eq!(check(b"\xff.jpg"), Some("unusable_name"));
        assert_eq!(
            ignore_reason(b"a.jpg", 101, &settings()),
            Some(IgnoreReason::TooLarge)
        );
    }

    #[test]
    fn folders_of_systems_are_entered_on_request() {
        for name in [
            "2024",
            "Recycle",
            "tmp",
            "@home",
            "snapshot",
            "#1",
            "found.1",
            "found.0001",
            "lost",
        ] {
            assert!(is_entered_folder(name.as_bytes(), false), "{name}");
        }
        for name in [
            "lost+found",
            "@eaDir",
            "$RECYCLE.BIN",
            "$Recycle.Bin",
            "#recycle",
            "@Recycle",
            "RECYCLER",
            "System Volume Information",
            "#snapshot",
            "@tmp",
            "@__thumb",
            "__MACOSX",
            "LOST.DIR",
            "FOUND.000",
            "$WINDOWS.~BT",
            "TheVolumeSettingsFolder",
        ] {
            assert!(!is_entered_folder(name.as_bytes(), false), "{name}");
            assert!(is_entered_folder(name.as_bytes(), true), "{name}");
        }
        for name in [".git", ".Trash-1000", ".Spotlight-V100", ".snapshots"] {
            assert!(!is_entered_folder(name.as_bytes(), true), "{name}");
        }
    }

    #[test]
    fn pictures_by_any_name_that_programs_give_them() {
        for name in [
            "a.jfif",
            "a.jpe",
            "a.mpo",
            "a.INSP",
            "a.jps",
            "a.jpg_large",
            "a.cur",
            "a.dib",
            "a.HEIF",
            "a.hif",
            "a.NEF",
            "a.nrw",
            "a.dng",
            "a.3fr",
            "a.iiq",
            "a.RW2",
            "a.raf",
            "a.cr3",
            "a.tif",
        ] {
            assert_eq!(
                ignore_reason(name.as_bytes(), 10, &settings()),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn names_without_extension_are_a_setting() {
        let accepting = Settings {
            files_without_extension: true,
            ..settings()
        };
        for name in ["IMG_0001", "folder.jpg/scan 7", "f_00a3c1"] {
            let name = name.as_bytes();
            assert_eq!(
                ignore_reason(name, 10, &settings()),
                Some(IgnoreReason::NotAnImageName)
            );
            assert_eq!(ignore_reason(name, 10, &accepting), None);
        }
        let refused =
            |name: &[u8]| ignore_reason(name, 10, &accepting).map(|ignored| ignored.code());
        assert_eq!(refused(b"notes.txt"), Some("not_a_picture_name"));
        assert_eq!(refused(b".profile"), Some("hidden"));
        assert_eq!(refused(b"IMG_0001~"), Some("temporary"));
    }
}
