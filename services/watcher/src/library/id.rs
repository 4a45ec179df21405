//! The number of a library within this process.

/// A library's place in the watcher's settings. The catalog's number of it is a `LibraryKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LibraryId(usize);

impl LibraryId {
    pub fn new(index: usize) -> Self {
        Self(index)
    }

    pub fn index(self) -> usize {
        self.0
    }
}
