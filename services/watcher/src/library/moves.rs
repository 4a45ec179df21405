//! Move detection: which cataloged image a file is that appeared at another path, maybe in another
//! library.

use super::id::LibraryId;
use super::libraries::Libraries;
use crate::catalog::{self, Catalog, CatalogRow, FileLocation, FileState};
use crate::disk::{FileKind, FileStat, hash_file, stat_path};
use crate::paths::split_path;

type Result<T> = std::result::Result<T, catalog::Error>;

/// How long before the original went missing a copy may have been first seen.
const MAX_COPY_AGE_NS: i64 = 600_000_000_000;

impl Libraries {
    /// Queues the other names (hard links) of a written file, because the system reports the write
    /// only for the name that was used.
    pub(super) fn queue_hard_links(
        &mut self,
        id: LibraryId,
        path: &[u8],
        stat: &FileStat,
        catalog: &Catalog,
    ) -> Result<()> {
        for link in catalog.rows_of_inode(stat)? {
            if let Some(link_id) = self.id_of_key(link.library)
                && link.is_present
                && link.stat != *stat
                && (link_id, &link.path()[..]) != (id, path)
            {
                self.vacated_paths.push((link_id, link.path()));
            }
        }
        Ok(())
    }

    /// Finds the image that was this inode and is not any more where it was.
    pub(super) fn find_moved_row(
        &mut self,
        id: LibraryId,
        path: &[u8],
        stat: &FileStat,
        catalog: &Catalog,
    ) -> Result<Option<CatalogRow>> {
        for row in catalog.rows_of_inode(stat)? {
            if row.state == FileState::Ignored && !row.was_sent {
                continue; // Its id was never used.
            }
            if self.is_in_standby_library(&row) {
                continue;
            }
            if !row.is_present || self.has_left_path(id, path, &row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Finds the missing image that had the same bytes: a move to another file system, or one
    /// where inodes change. Reads the bytes only if a file of this size is missing.
    pub(super) fn find_copied_row(
        &mut self,
        id: LibraryId,
        path: &[u8],
        stat: &FileStat,
        catalog: &Catalog,
    ) -> Result<Option<CatalogRow>> {
        let mut rows = Vec::new();
        for file in catalog.hashed_files_of_size(stat.size)? {
            // Nearly always, so that many copies of a file are cheap.
            if file.is_present && self.is_still_there(&file) {
                continue;
            }
            let Some(row) = catalog.row_by_id(&file.id)? else {
                continue;
            };
            if !self.is_in_standby_library(&row)
                && (!row.is_present || self.has_left_path(id, path, &row))
            {
                rows.push(row);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let Ok(hash) = hash_file(&self[id].full_path(path)) else {
            return Ok(None);
        };
        rows.retain(|row| row.content_hash == Some(hash));
        // Of several with these bytes, prefer the one with this name.
        let (_, name) = split_path(path);
        let index = rows.iter().position(|row| row.name == name).unwrap_or(0);
        Ok(rows.into_iter().nth(index))
    }

    /// Whether one look finds a file where the catalog lists it. If not, [`Self::has_left_path`]
    /// decides.
    fn is_still_there(&self, file: &FileLocation) -> bool {
        let library = self.id_of_key(file.library).map(|id| &self[id]);
        let current = library.map(|library| stat_path(&library.full_path(&file.path)));
        matches!(current, Some(Ok(Some(FileKind::File(current)))) if current.is_same_inode(&file.stat))
    }

    /// Whether another watcher holds a row's library. That watcher decides about the file.
    fn is_in_standby_library(&mut self, row: &CatalogRow) -> bool {
        self.library_of_row(row)
            .is_some_and(|library| library.is_standby())
    }

    /// Whether a row's file is not any more where the catalog lists it (and that is not `path`).
    fn has_left_path(&mut self, id: LibraryId, path: &[u8], row: &CatalogRow) -> bool {
        let Some(library) = self.library_of_row(row) else {
            return false; // This process does not watch it and cannot tell.
        };
        if library.id == id && row.path() == path {
            return false;
        }
        match library.root.stat_below(&row.path()) {
            Ok(None) => library.root.is_present(),
            Ok(Some(FileKind::File(current))) if row.stat.is_from_index() => {
                !current.matches_index_stat(&row.stat)
            }
            Ok(Some(FileKind::File(current))) => !current.is_same_inode(&row.stat),
            Ok(Some(_)) => true,
            Err(_) => false,
        }
    }

    /// Finds the file that a missing one was copied to just before it was deleted, as `mv` does
    /// between file systems: it has the same bytes, was created after the original was cataloged,
    /// and was first seen shortly before the original went missing.
    pub(super) fn find_copy(
        &mut self,
        row: &CatalogRow,
        catalog: &Catalog,
    ) -> Result<Option<CatalogRow>> {
        let Some(hash) = row.content_hash else {
            return Ok(None);
        };
        let since_ns = row
            .missing_since_ns
            .saturating_sub(MAX_COPY_AGE_NS)
            .max(row.first_seen_ns);
        for copy in catalog.new_rows_of_size(row.stat.size, since_ns)? {
            let created_ns = match copy.stat.born_ns {
                0 => copy.stat.ctime_ns,
                born_ns => born_ns,
            };
            if copy.state == FileState::Ignored || created_ns <= row.first_seen_ns {
                continue;
            }
            let library = self.library_of_row(&copy);
            let Some(library) = library.filter(|library| !library.is_standby()) else {
                continue;
            };
            let is_same = match copy.content_hash {
                Some(copy_hash) => copy_hash == hash,
                None => hash_file(&library.full_path(&copy.path())).is_ok_and(|disk| disk == hash),
            };
            if is_same {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }
}
