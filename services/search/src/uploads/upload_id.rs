//! The id of an upload: the library, the path and the content hash of its file, in base64. So the
//! state of an upload can be determined at any time, by any service.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lookalike_proto::{ContentHash, LibraryName, RelativePath};

const HASH_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadId {
    pub library: LibraryName,
    pub path: RelativePath,
    pub content_hash: ContentHash,
}

impl fmt::Display for UploadId {
    /// Writes the hash, the length of the library's name, the name, and the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = self.library.as_str().as_bytes();
        let length = u8::try_from(library.len()).expect("a name has at most 64 bytes");
        let bytes = [
            self.content_hash.as_bytes(),
            &[length][..],
            library,
            self.path.as_str().as_bytes(),
        ];
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes.concat()))
    }
}

impl UploadId {
    /// Returns `None` for a text that is not the id of an upload.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (hash, rest) = bytes.split_at_checked(HASH_BYTES)?;
        let (length, rest) = rest.split_first()?;
        let (library, path) = rest.split_at_checked(usize::from(*length))?;
        Some(Self {
            library: LibraryName::new(std::str::from_utf8(library).ok()?).ok()?,
            path: RelativePath::new(std::str::from_utf8(path).ok()?).ok()?,
            content_hash: ContentHash::try_from(hash).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        let id = UploadId {
            library: LibraryName::new("shop").unwrap(),
            path: RelativePath::new("2026/\u{fc}.jpg").unwrap(),
            content_hash: ContentHash::hash_content(b"a"),
        };
        let text = id.to_string();
        assert_eq!(UploadId::parse(&text), Some(id));
        for wrong in ["", "a", &text[..40], &text[..50], "%", &format!("{text}=")] {
            assert_eq!(UploadId::parse(wrong), None, "{wrong}");
        }
        let outside = |path: &[u8]| {
            let bytes = [&[0; HASH_BYTES][..], b"\x04shop", path].concat();
            UploadId::parse(&URL_SAFE_NO_PAD.encode(bytes))
        };
        assert!(outside(b"a").is_some());
        for path in [&b"../a"[..], b"/a", b"", b"a\0", b"\xff"] {
            assert_eq!(outside(path), None);
        }
    }
}
