//! Libraries: their roots, the position of their outcome reader, their lease epoch, their counts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use lookalike_bus::{FileCounts, StreamPosition};
use lookalike_proto::LibraryName;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::connection::{Catalog, Result};
use super::row::{FileState, LibraryKey};
use crate::disk::FolderIdentity;

/// What the catalog stores of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryRecord {
    /// The root folder when cataloged files were last seen below it.
    pub root_identity: Option<FolderIdentity>,
    /// The last outcome that was applied.
    pub outcomes_read: Option<StreamPosition>,
    /// How often the library was activated with this catalog. Above 0, the rows of the index were
    /// imported before.
    pub lease_epoch: u64,
}

impl Catalog {
    /// Whether a watcher with the catalog at `file` worked on this library below `root`, or below a
    /// folder to which links in `root` may lead. False if the file cannot be read; true if another
    /// process uses it, which [`Catalog::open`] reports.
    pub fn has_library_root(file: &Path, library: &LibraryName, root: &Path) -> bool {
        let read = || -> rusqlite::Result<Option<Vec<u8>>> {
            let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            // A watcher keeps its lock for as long as it runs.
            db.busy_timeout(Duration::ZERO)?;
            let sql = "SELECT root_path FROM libraries WHERE name = ?1";
            db.query_row(sql, [library.as_str()], |row| row.get(0))
        };
        match read() {
            Ok(Some(known)) => {
                let known = Path::new(OsStr::from_bytes(&known));
                known == root || known == resolve_existing_part(root) || has_dangling_link(root)
            }
            Ok(None) => false,
            Err(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ),
        }
    }

    /// The library's key; assigned on the first call.
    pub fn library_key(&mut self, library: &LibraryName) -> Result<LibraryKey> {
        self.db.execute(
            "INSERT OR IGNORE INTO libraries (name) VALUES (?1)",
            [library.as_str()],
        )?;
        let key = self.db.query_row(
            "SELECT key FROM libraries WHERE name = ?1",
            [library.as_str()],
            |row| row.get(0),
        )?;
        for state in FileState::ALL {
            self.db.execute(
                "INSERT OR IGNORE INTO counts (library, state, files) VALUES (?1, ?2, 0)",
                params![key, state as i64],
            )?;
        }
        Ok(key)
    }

    /// Returns the path of the root that was last recorded.
    pub fn root_path(&self, library: LibraryKey) -> Result<Option<PathBuf>> {
        let sql = "SELECT root_path FROM libraries WHERE key = ?1";
        let path: Option<Vec<u8>> = self.db.query_row(sql, [library], |row| row.get(0))?;
        Ok(path.map(|path| PathBuf::from(OsString::from_vec(path))))
    }

    /// Stores the path of a library's root; true if it was another path before. The identity of
    /// the previous root is dropped then, because a user chose another folder.
    pub fn set_root_path(&mut self, library: LibraryKey, path: &Path) -> Result<bool> {
        let before = self.root_path(library)?;
        if before.as_deref() == Some(path) {
            return Ok(false);
        }
        self.db.execute(
            "UPDATE libraries SET root_path = ?2, root_device = NULL, root_inode = NULL WHERE key = ?1",
            params![library, path.as_os_str().as_bytes()],
        )?;
        Ok(before.is_some())
    }

    pub fn library_record(&self, library: LibraryKey) -> Result<LibraryRecord> {
        let sql = "SELECT root_device, root_inode, outcomes_created, outcomes_sequence, \
                   root_born_ns, lease_epoch FROM libraries WHERE key = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row([library], |row| {
            let root = (row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?);
            let read = (row.get::<_, Option<i64>>(2)?, row.get::<_, Option<i64>>(3)?);
            Ok(LibraryRecord {
                root_identity: match root {
                    (Some(device), Some(inode)) => Some(FolderIdentity {
                        device: device as u64,
                        inode: inode as u64,
                        born_ns: row.get::<_, Option<i64>>(4)?.unwrap_or(0),
                    }),
                    _ => None,
                },
                outcomes_read: match read {
                    (Some(stream_created_ns), Some(sequence)) => Some(StreamPosition {
                        stream_created_ns,
                        sequence: sequence as u64,
                    }),
                    _ => None,
                },
                lease_epoch: row.get::<_, i64>(5)? as u64,
            })
        })?)
    }

    pub fn set_root_identity(&mut self, library: LibraryKey, root: FolderIdentity) -> Result<()> {
        let sql = "UPDATE libraries SET root_device = ?2, root_inode = ?3, root_born_ns = ?4 \
                   WHERE key = ?1";
        let values = params![library, root.device as i64, root.inode as i64, root.born_ns];
        self.db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Stores the position of the last outcome that was applied.
    pub fn set_outcomes_read(
        &mut self,
        library: LibraryKey,
        position: &StreamPosition,
    ) -> Result<()> {
        let sql =
            "UPDATE libraries SET outcomes_created = ?2, outcomes_sequence = ?3 WHERE key = ?1";
        let values = params![
            library,
            position.stream_created_ns,
            position.sequence as i64
        ];
        self.db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    pub fn increment_lease_epoch(&mut self, library: LibraryKey) -> Result<()> {
        let sql = "UPDATE libraries SET lease_epoch = lease_epoch + 1 WHERE key = ?1";
        self.db.prepare_cached(sql)?.execute([library])?;
        Ok(())
    }

    /// A random number that identifies this catalog; assigned on the first call.
    pub fn catalog_id(&mut self) -> Result<u32> {
        let stored: u32 = self
            .db
            .pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?
            .cast_unsigned();
        if stored != 0 {
            return Ok(stored);
        }
        let new: i32 = rand::random::<i32>() | 1;
        self.db.pragma_update(None, "application_id", new)?;
        Ok(new.cast_unsigned())
    }

    /// The files of a library by state.
    pub fn file_counts(&self, library: LibraryKey) -> Result<FileCounts> {
        let mut counts = FileCounts::default();
        let mut statement = self
            .db
            .prepare_cached("SELECT state, files FROM counts WHERE library = ?1")?;
        let rows = statement.query_map([library], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        for row in rows {
            let (state, files) = row?;
            let files = files as u64;
            match FileState::from_i64(state) {
                FileState::InFlight => counts.in_flight = files,
                FileState::Indexed => counts.indexed = files,
                FileState::Failed => counts.failed = files,
                FileState::Ignored | FileState::Discarded => counts.ignored += files,
            }
            counts.on_disk += files;
        }
        Ok(counts)
    }
}

/// Resolves the links of the part of an absolute path that exists, and `..` in the rest.
fn resolve_existing_part(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        let (Ok(mut resolved), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing))
        else {
            continue;
        };
        for part in rest.components() {
            match part {
                Component::ParentDir => {
                    resolved.pop();
                }
                part => resolved.push(part),
            }
        }
        return resolved;
    }
    path.to_owned()
}

/// Whether the path or a folder in it is a link that leads nowhere: its disk may be away.
fn has_dangling_link(path: &Path) -> bool {
    path.ancestors()
        .any(|part| part.is_symlink() && !part.exists())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_missing_root_is_known_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let file = base.join("catalog.sqlite");
        let library = LibraryName::new("shop").unwrap();
        fs::create_dir_all(base.join("disk/sub")).unwrap();
        symlink("disk", base.join("link")).unwrap();
        symlink("away", base.join("dangling")).unwrap();
        let is_known = |root: &str| Catalog::has_library_root(&file, &library, &base.join(root));
        assert!(!is_known("disk/photos"), "there is no catalog");
        let mut catalog = Catalog::open(&file).unwrap();
        let key = catalog.library_key(&library).unwrap();
        catalog
            .set_root_path(key, &base.join("disk/photos"))
            .unwrap();
        drop(catalog);
        for root in [
            "disk/photos",
            "link/photos",
            "disk/sub/../photos",
            "link/sub/../photos",
            "disk/missing/../photos",
            "dangling",
            "dangling/photos",
        ] {
            assert!(is_known(root), "{root}");
        }
        for root in ["disk/other", "link/other", "photos"] {
            assert!(!is_known(root), "{root}");
        }
        let other = LibraryName::new("other").unwrap();
        assert!(!Catalog::has_library_root(
            &file,
            &other,
            &base.join("dangling")
        ));
        let _open = Catalog::open(&file).unwrap();
        assert!(is_known("disk/other"), "opening it again reports the lock");
    }
}
