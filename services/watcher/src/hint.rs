//! Hints: reports of the system that something happened near a path.

use crate::library::id::LibraryId;

/// Something happened near a path. A hint may be lost, duplicated or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub library: LibraryId,
    /// Below the library's root, in the file system's bytes; empty for the root itself.
    pub path: Vec<u8>,
    pub kind: HintKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintKind {
    /// A file was closed after writing, or renamed to this path: it is complete.
    Ready,
    /// Something changed and may still be changing.
    Changed,
    /// It was deleted or renamed away.
    Gone,
    /// The folder's own watch reported that it was renamed away.
    MovedItself,
}
