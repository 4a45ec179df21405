//! All libraries of the watcher.

use std::ops::{Index, IndexMut};

use super::Library;
use super::id::LibraryId;
use crate::catalog::{CatalogRow, LibraryKey};

/// The libraries in the order of the settings, and the paths that moves between them left.
pub struct Libraries {
    list: Vec<Library>,
    /// Paths to observe in this tick: images left them, so another file may be there now, or they are
    /// the listed spelling of a reported path.
    pub(super) vacated_paths: Vec<(LibraryId, Vec<u8>)>,
}

impl Libraries {
    pub fn new(list: Vec<Library>) -> Self {
        Self {
            list,
            vacated_paths: Vec::new(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Library> {
        self.list.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn ids(&self) -> impl Iterator<Item = LibraryId> + use<> {
        (0..self.list.len()).map(LibraryId::new)
    }

    /// Returns the library of a row; `None` if this process does not watch it.
    pub fn library_of_row(&mut self, row: &CatalogRow) -> Option<&mut Library> {
        self.list
            .iter_mut()
            .find(|library| library.key == row.library)
    }

    pub fn id_of_key(&self, key: LibraryKey) -> Option<LibraryId> {
        self.iter()
            .find(|library| library.key == key)
            .map(|library| library.id)
    }

    /// The keys of the libraries that this watcher works on.
    pub fn active_keys(&self) -> Vec<LibraryKey> {
        self.iter()
            .filter(|library| library.is_active())
            .map(|library| library.key)
            .collect()
    }

    /// Checks whether the links of a library's root lead to the folder of another library now, into
    /// it, or above it. At the start, no libraries overlap.
    pub fn check_root_overlap(&mut self, id: LibraryId) {
        let target = self[id].root.resolve_given_path();
        let overlaps = |other: &&Library| {
            other.id != id
                && !other.root.is_turned
                && target.as_ref().is_some_and(|target| {
                    target.starts_with(other.root.path()) || other.root.path().starts_with(target)
                })
        };
        let other = self.iter().find(overlaps);
        self[id].overlapping = other.map(|other| other.name.clone());
    }

    pub fn clear_vacated_paths(&mut self) {
        self.vacated_paths.clear();
    }
}

impl Index<LibraryId> for Libraries {
    type Output = Library;

    fn index(&self, id: LibraryId) -> &Library {
        &self.list[id.index()]
    }
}

impl IndexMut<LibraryId> for Libraries {
    fn index_mut(&mut self, id: LibraryId) -> &mut Library {
        &mut self.list[id.index()]
    }
}
