//! Ids, hashes, names and generations, each a type of its own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes or text that are not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: expected {expected}, got {actual}")]
pub struct InvalidId {
    kind: &'static str,
    expected: &'static str,
    actual: String,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $kind:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;
            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId {
                    kind: $kind,
                    expected: $expected,
                    actual: format!("{} bytes", bytes.len()),
                })
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            /// Parses lower-case hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId {
                    kind: $kind,
                    expected: $expected,
                    actual: format!("{:?}", text.chars().take(80).collect::<String>()),
                };
                if text.len() != $bytes * 2
                    || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                {
                    return Err(invalid());
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
                }
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(
    /// The permanent id of an image: assigned when a file is first seen, it stays with the file
    /// through moves and edits. 16 bytes, written as 32 lower-case hexadecimal digits.
    ImageId, 16, "image id", "32 lower-case hexadecimal digits"
);

hex_id!(
    /// BLAKE3 of a file's bytes: 32 bytes, written as 64 lower-case hexadecimal digits.
    ContentHash, 32, "content hash", "64 lower-case hexadecimal digits"
);

impl ImageId {
    /// Derives the id of a newly seen file from its library, its path (raw bytes, relative to the
    /// root) and an ordinal. The ordinal is above 0 only if files that were first seen at this path
    /// and have moved since use the lower ones. The result is deterministic, so that a watcher that
    /// lost its catalog assigns most files the ids they had.
    pub fn for_new_file(library: &LibraryName, path: &[u8], ordinal: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("lookalike 2026 image id");
        hasher.update(library.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(path);
        hasher.update(&[0]);
        hasher.update(&ordinal.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }
}

impl ContentHash {
    pub fn hash_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Computes a [`ContentHash`] piece by piece.
#[derive(Debug, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> ContentHash {
        ContentHash(*self.0.finalize().as_bytes())
    }
}

/// Orders the observations of one image. A generation is the clock in microseconds, raised above the
/// previous generation if necessary, so that generations keep growing after a catalog is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Lower than the generation of any observation.
    pub const NONE: Self = Self(0);

    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// The number: microseconds since 1970, or higher.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the generation of an observation at `now`. It is above `last` even if the clock was
    /// set back.
    pub fn next_after(last: Self, now: SystemTime) -> Self {
        let micros = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        // 2^63 microseconds are 292,000 years; Milvus has signed integers only.
        let micros = u64::try_from(micros).unwrap_or(0).min(i64::MAX as u64 - 1);
        Self(micros.max(last.0 + 1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A library's name: 1 to 64 of `a-z`, `0-9`, `-` and `_`, so that it can be part of a NATS subject,
/// a URL and a metric label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibraryName(Arc<str>);

/// Text that is not a [`LibraryName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a library name: use 1 to 64 of a-z, 0-9, - and _")]
pub struct InvalidLibraryName(String);

impl LibraryName {
    pub fn new(name: &str) -> Result<Self, InvalidLibraryName> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if (1..=64).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidLibraryName(name.chars().take(80).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LibraryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LibraryName {
    type Err = InvalidLibraryName;
    fn from_str(name: &str) -> Result<Self, InvalidLibraryName> {
        Self::new(name)
    }
}

/// Text that is not a [`RelativePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path inside a library")]
pub struct InvalidPath(String);

/// A path relative to its library's root: UTF-8, at most 4,096 bytes, no NUL, and parts separated by
/// single `/`, none of them `.` or `..`. Joined to a root, it stays below it unless a symbolic link
/// leads out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// The limit in bytes: Linux' `PATH_MAX`, and the size of the index's field.
    pub const MAX_BYTES: usize = 4096;

    pub fn new(path: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = path.into();
        let legal = |part: &str| !part.is_empty() && part != "." && part != "..";
        if path.len() <= Self::MAX_BYTES && !path.contains('\0') && path.split('/').all(legal) {
            Ok(Self(path))
        } else {
            Err(InvalidPath(path.chars().take(120).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the file's path below `root`.
    pub fn join_to(&self, root: &std::path::Path) -> std::path::PathBuf {
        root.join(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_survive_their_text() {
        let id = ImageId::for_new_file(&LibraryName::new("shop").unwrap(), b"a/b.jpg", 0);
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse::<ImageId>().unwrap(), id);
        for bad in ["", "xyz", &"A".repeat(32), &"0".repeat(31), "é"] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pieces_have_the_hash_of_the_whole() {
        let mut hasher = ContentHasher::default();
        assert_eq!(hasher.finish(), ContentHash::hash_content(b""));
        for piece in [&b"ab"[..], b"", b"c"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), ContentHash::hash_content(b"abc"));
    }

    #[test]
    fn ids_of_new_files_depend_on_every_part() {
        let (shop, home) = (
            LibraryName::new("shop").unwrap(),
            LibraryName::new("home").unwrap(),
        );
        let ids = [
            ImageId::for_new_file(&shop, b"a", 0),
            ImageId::for_new_file(&home, b"a", 0),
            ImageId::for_new_file(&shop, b"b", 0),
            ImageId::for_new_file(&shop, b"a", 1),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids[..i].iter().all(|b| a != b));
        }
        // A stored id must never change with a new version of this program.
        assert_eq!(ids[0].to_string(), "3ac9aecf0ebba98faed9a9884f264d9d");
    }

    #[test]
    fn generations_grow_though_the_clock_goes_back() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let first = Generation::next_after(Generation::NONE, now);
        assert_eq!(first.get(), 1_000_000_000_000);
        let second = Generation::next_after(first, now - Duration::from_secs(500));
        assert_eq!(second.get(), first.get() + 1);
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b.jpg", "ü/…/x", "a\nb", "...", "-"] {
            assert!(RelativePath::new(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\0b",
            &"x".repeat(4097),
        ] {
            assert!(RelativePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn library_names_are_checked() {
        for good in ["shop", "a-b_c9"] {
            assert!(LibraryName::new(good).is_ok());
        }
        for bad in ["", "Shop", "a.b", "a b", "ü", &"x".repeat(65)] {
            assert!(LibraryName::new(bad).is_err());
        }
    }
}
