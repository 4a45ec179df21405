//! Libraries: their roots, the position of their outcome reader, their lease epoch, their counts.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lookalike_bus::{FileCounts, StreamPosition};
use lookalike_proto::LibraryName;
use rusqlite::{Connection, OpenFlags, params};

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
    /// folder to which `root` may be a link. False if the file cannot be read.
    pub fn has_library_root(file: &Path, library: &LibraryName, root: &Path) -> bool {
        let read = || -> rusqlite::Result<Option<Vec<u8>>> {
            let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let sql = "SELECT root_path FROM libraries WHERE name = ?1";
            db.query_row(sql, [library.as_str()], |row| row.get(0))
        };
        match read() {
            Ok(Some(known)) => known == root.as_os_str().as_bytes() || root.is_symlink(),
            _ => false,
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

    /// Stores the path of a library's root; true if it was another path before. The identity of
    /// the previous root is dropped then, because a user chose another folder.
    pub fn set_root_path(&mut self, library: LibraryKey, path: &Path) -> Result<bool> {
        let path = path.as_os_str().as_bytes();
        let sql = "SELECT root_path FROM libraries WHERE key = ?1";
        let before: Option<Vec<u8>> = self.db.query_row(sql, [library], |row| row.get(0))?;
        if before.as_deref() == Some(path) {
            return Ok(false);
        }
        self.db.execute(
            "UPDATE libraries SET root_path = ?2, root_device = NULL, root_inode = NULL WHERE key = ?1",
            params![library, path],
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
