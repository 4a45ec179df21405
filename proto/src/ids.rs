//! Ids, hashes, names and generations: distinct types for distinct things.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes or text that are not the id expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, got {got}")]
pub struct InvalidId {
    what: &'static str,
    expected: &'static str,
    got: String,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Takes the raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;
            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                bytes.try_into().map(Self).map_err(|_| InvalidId {
                    what: $what,
                    expected: $expected,
                    got: format!("{} bytes", bytes.len()),
                })
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            /// Reads lower-case hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId {
                    what: $what,
                    expected: $expected,
                    got: format!("{:?}", text.chars().take(80).collect::<String>()),
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
    /// Names an image for good: given at a file's first sight, it stays with the file through
    /// moves and edits. 16 bytes, written as 32 lower-case hexadecimal digits.
    ImageId, 16, "image id", "32 lower-case hexadecimal digits"
);

hex_id!(
    /// BLAKE3 of a file's bytes: 32 bytes, written as 64 lower-case hexadecimal digits.
    ContentHash, 32, "content hash", "64 lower-case hexadecimal digits"
);

impl ImageId {
    /// The id that a file gets at its first sight: from its library, its path (raw bytes,
    /// relative to the root) and an ordinal, which is above 0 only where the lower ones are
    /// taken by files that were first seen there and moved away since. Deterministic, so that
    /// a catalog that was lost gives most files the ids they had.
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
    /// Hashes bytes that are in memory.
    pub fn hash_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Orders what was observed of one image: microseconds of the clock, never below the last one,
/// so that it grows even over a lost catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Before every observation.
    pub const NONE: Self = Self(0);

    /// Takes a number from the wire or the catalog.
    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    /// The number, in microseconds since 1970 or above.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation of something observed at `now`, above `last` whatever the clock says.
    pub fn next_after(last: Self, now: SystemTime) -> Self {
        let micros = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        // 2^63 microseconds are 292,000 years, and Milvus has signed integers only.
        let micros = u64::try_from(micros).unwrap_or(0).min(i64::MAX as u64 - 1);
        Self(micros.max(last.0 + 1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a library: 1 to 64 of `a-z`, `0-9`, `-` and `_`, so that it can be part of a
/// subject, a URL and a metric's label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibraryName(Arc<str>);

/// Text that can't name a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can't name a library: use 1 to 64 of a-z, 0-9, - and _")]
pub struct InvalidLibraryName(String);

impl LibraryName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, InvalidLibraryName> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if (1..=64).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidLibraryName(name.chars().take(80).collect()))
        }
    }

    /// The name.
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

/// Text that is not a path inside a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path inside a library")]
pub struct InvalidPath(String);

/// A path relative to its library's root: UTF-8, parts between single `/`, never `.` or `..`,
/// no NUL, at most 4,096 bytes. Joined to a root it stays below it (unless a link leads out).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// The longest path, in bytes (Linux' `PATH_MAX`, and the limit of the index's field).
    pub const MAX_BYTES: usize = 4096;

    /// Checks a path.
    pub fn new(path: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = path.into();
        let legal = |part: &str| !part.is_empty() && part != "." && part != "..";
        if path.len() <= Self::MAX_BYTES && !path.contains('\0') && path.split('/').all(legal) {
            Ok(Self(path))
        } else {
            Err(InvalidPath(path.chars().take(120).collect()))
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file's path below `root`.
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
