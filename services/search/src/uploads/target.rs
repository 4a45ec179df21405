//! Where an uploaded picture is stored: its folder and its name, as a client may choose them.
//!
//! The watcher must index what is stored, so names that it ignores are refused: hidden ones, and those
//! of unfinished files. A name without the extension of an image format gets that of its content.

use lookalike_proto::ContentHash;
use lookalike_vision::FORMAT_NAMES;

use crate::problem::Problem;

/// Of a folder, in bytes. With a name, a path stays well below the limit of the index.
pub(crate) const MAX_FOLDER_BYTES: usize = 1000;

/// Of a name, in bytes. File systems allow 255, and a number or an extension may be added.
pub(crate) const MAX_NAME_BYTES: usize = 200;

/// Of each part of a path; the limit of file systems.
const MAX_PART_BYTES: usize = 255;

/// Names that are tried, when files with other content have the first ones.
pub(super) const MAX_NUMBERED_NAMES: usize = 1000;

/// The extensions of the formats that have several; the first one is for new names.
const EXTENSIONS: &[(&str, &[&str])] = &[
    (
        "jpeg",
        &[
            "jpg", "jpeg", "jpe", "jif", "jfif", "jfi", "pjpeg", "pjp", "mpo", "jps", "insp",
        ],
    ),
    ("png", &["png", "apng"]),
    ("bmp", &["bmp", "dib"]),
    ("tiff", &["tif", "tiff"]),
    ("ico", &["ico", "cur"]),
    ("pnm", &["pnm", "pbm", "pgm", "ppm", "pam"]),
    ("heic", &["heic", "heif", "hif"]),
    ("nef", &["nef", "nrw"]),
    // Of an unknown maker; most of them are TIFF files.
    ("raw", &["tif"]),
];

/// The folder below the root of a library. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetFolder(String);

impl TargetFolder {
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    /// Parses the parameter `folder`: parts separated by `/`, or nothing for the root.
    pub(crate) fn parse(folder: &str) -> Result<Self, Problem> {
        let folder = folder.strip_suffix('/').unwrap_or(folder);
        if folder.is_empty() {
            return Ok(Self::root());
        }
        let refuse = |reason: String| Problem::invalid_parameter("folder", reason);
        if folder.len() > MAX_FOLDER_BYTES {
            return Err(refuse(format!(
                "the folder has {} bytes; the limit is {MAX_FOLDER_BYTES}",
                folder.len()
            )));
        }
        if folder.starts_with('/') {
            return Err(refuse(
                "the folder is relative to the root of the library, so it starts with no `/`"
                    .into(),
            ));
        }
        for part in folder.split('/') {
            check_part(part).map_err(|reason| refuse(format!("the folder {reason}")))?;
        }
        Ok(Self(folder.to_owned()))
    }

    /// The parts from the root down.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The path of a file in this folder.
    pub(super) fn path_of(&self, name: &str) -> String {
        match self.0.as_str() {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    /// The start of the paths of all files in and below this folder.
    pub(super) fn prefix(&self) -> String {
        self.path_of("")
    }

    /// Whether a path is that of a file in this folder, not below it.
    pub(super) fn is_parent_of(&self, path: &str) -> bool {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folder == self.0
    }
}

/// The name of a file, without a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetName(String);

impl TargetName {
    /// Parses the parameter `name`.
    pub(crate) fn parse(name: &str) -> Result<Self, Problem> {
        check_name(name)
            .map(|()| Self(name.to_owned()))
            .map_err(|reason| Problem::invalid_parameter("name", format!("the name {reason}")))
    }

    /// Returns the name that a form gives its file, without folders, if it can be used.
    pub(crate) fn from_form(file_name: &str) -> Option<Self> {
        let name = file_name.rsplit(['/', '\\']).next()?;
        Self::parse(name).ok()
    }

    /// The name of a picture without one.
    pub(super) fn from_content(content_hash: &ContentHash) -> Self {
        Self(content_hash.to_string()[..16].to_owned())
    }

    /// Returns the name with an extension of an image format: its own one, or that of the content.
    pub(super) fn with_extension(self, format: &str) -> Self {
        let extension = self.0.rsplit_once('.').map(|(_, extension)| extension);
        if extension.is_some_and(is_image_extension) {
            return self;
        }
        Self(format!("{}.{}", self.0, extension_of(format)))
    }

    /// Returns the name, or with a number above 1 another one: `name (2).jpg`.
    pub(super) fn numbered(&self, number: usize) -> String {
        match (number, self.0.rsplit_once('.')) {
            (..=1, _) => self.0.clone(),
            (_, Some((stem, extension))) => format!("{stem} ({number}).{extension}"),
            (_, None) => format!("{} ({number})", self.0),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.contains(['/', '\\']) {
        return Err("contains `/` or `\\`: give the folder in the parameter folder".into());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!(
            "has {} bytes; the limit is {MAX_NAME_BYTES}",
            name.len()
        ));
    }
    if name.starts_with("~$") {
        return Err("is one of an unfinished file, which is not indexed".into());
    }
    check_part(name)
}

fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("has an empty part".into());
    }
    if part.starts_with('.') {
        return Err(
            "has a part that starts with a dot: hidden files and folders are not indexed".into(),
        );
    }
    if part.chars().any(char::is_control) {
        return Err("contains a control character".into());
    }
    if part.len() > MAX_PART_BYTES {
        return Err(format!("has a part of more than {MAX_PART_BYTES} bytes"));
    }
    Ok(())
}

fn is_image_extension(extension: &str) -> bool {
    let extension = extension.to_ascii_lowercase();
    let is_format = extension != "raw" && FORMAT_NAMES.contains(&&extension[..]);
    is_format
        || EXTENSIONS
            .iter()
            .any(|(_, known)| known.contains(&&extension[..]))
}

fn extension_of(format: &str) -> &str {
    let known = EXTENSIONS.iter().find(|(name, _)| *name == format);
    known.map_or(format, |(_, extensions)| extensions[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_in_the_library() {
        for (folder, expected) in [
            ("", ""),
            ("/", ""),
            ("2026", "2026"),
            ("2026/May 1/", "2026/May 1"),
            ("\u{fc}/\u{5199}\u{771f}", "\u{fc}/\u{5199}\u{771f}"),
            ("a\\b", "a\\b"),
        ] {
            assert_eq!(TargetFolder::parse(folder).unwrap().0, expected, "{folder}");
        }
        let long = ["x"; 600].join("/");
        let part = "x".repeat(256);
        for folder in [
            "..", "../a", "a/../b", ".", "./a", "/etc", "//", "a//b", "a/.git", "a\0b", "a\nb",
            &long, &part,
        ] {
            let problem = TargetFolder::parse(folder).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("folder"), "{folder:?}");
        }
        let folder = TargetFolder::parse("a/b").unwrap();
        assert_eq!(folder.path_of("c.jpg"), "a/b/c.jpg");
        assert_eq!(folder.prefix(), "a/b/");
        assert_eq!(folder.parts().collect::<Vec<_>>(), ["a", "b"]);
        assert!(folder.is_parent_of("a/b/c.jpg"));
        assert!(!folder.is_parent_of("a/b/c/d.jpg"));
        let root = TargetFolder::root();
        assert_eq!(
            (root.path_of("c.jpg"), root.prefix()),
            ("c.jpg".into(), String::new())
        );
        assert_eq!(root.parts().count(), 0);
        assert!(root.is_parent_of("c.jpg") && !root.is_parent_of("a/c.jpg"));
    }

    #[test]
    fn names_are_those_of_pictures() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for name in [
            "",
            ".",
            "..",
            ".a.jpg",
            "a/b.jpg",
            "a\\b.jpg",
            "~$a.jpg",
            "a\0.jpg",
            "a\x1b.jpg",
            &long,
        ] {
            let problem = TargetName::parse(name).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("name"), "{name:?}");
        }
        let stored = |name: &str, format: &str| {
            let name = TargetName::parse(name).unwrap().with_extension(format);
            (name.numbered(1), name.numbered(2))
        };
        assert_eq!(
            stored("a.JPG", "jpeg"),
            ("a.JPG".into(), "a (2).JPG".into())
        );
        assert_eq!(stored("a.png", "jpeg").0, "a.png", "the content decides");
        assert_eq!(stored("a", "jpeg").0, "a.jpg");
        assert_eq!(stored("a.part", "webp").0, "a.part.webp");
        assert_eq!(stored("a.jpg~", "jpeg").0, "a.jpg~.jpg");
        assert_eq!(stored("a.raw", "raw").0, "a.raw.tif");
        assert_eq!(stored("a.NRW", "nef").0, "a.NRW");
        let form = |name: &str| TargetName::from_form(name).map(|name| name.0);
        assert_eq!(form("C:\\Photos\\a.jpg").as_deref(), Some("a.jpg"));
        assert_eq!(form("a/b.jpg").as_deref(), Some("b.jpg"));
        assert_eq!(form(".."), None);
    }

    #[test]
    fn every_format_has_an_extension_that_is_indexed() {
        for format in FORMAT_NAMES {
            assert!(is_image_extension(extension_of(format)), "{format}");
        }
        let hash = ContentHash::hash_content(b"");
        let name = TargetName::from_content(&hash).with_extension("jpeg");
        assert_eq!(name.numbered(1), "af1349b9f5f9a1a6.jpg");
    }
}
