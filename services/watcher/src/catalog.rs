//! The catalog: what the watcher knows of every file, in one SQLite file. It is the outbox too:
//! what a row says and that it must be sent are columns of one row, so they commit together.
//!
//! Only the keeper's thread uses it. It may be lost: it is made anew from the folders.

mod last_outcomes;
mod libraries;
mod outbox;
mod row;
mod schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lookalike_proto::ImageId;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::disk::FileStat;
use row::{COLUMNS, read_row, with_row_values};
pub use row::{CatalogRow, FileState, join_path};

/// An operation on the catalog that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be opened.
    #[error("can't open the catalog {path}: {source}{}", lock_hint(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It was written by a newer version.
    #[error(
        "the catalog {path} was written by a newer version of lookalike (its schema is {file_version}, this one knows {program_version}): start that version, or move the file away, and it is made again from the folders and the index"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        file_version: i64,
        /// The newest one known here.
        program_version: i64,
    },
    /// SQLite can't do what it should (disk full, file damaged, …).
    #[error("the catalog can't be read or written: {0}; is the disk full, or broken?")]
    Sqlite(#[from] rusqlite::Error),
}

fn lock_hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            " (another lookalike watches with the same data folder)"
        }
        _ => "",
    }
}

type Result<T> = std::result::Result<T, Error>;

/// The number of a library in the catalog.
pub type LibraryKey = i64;

/// What a scan needs of a file that is known in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogedFile {
    /// What the disk said last.
    pub stat: FileStat,
    /// It is listed as not meant to be indexed.
    pub is_ignored: bool,
}

/// The open catalog.
pub struct Catalog {
    db: Connection,
}

impl Catalog {
    /// Opens the catalog, or makes an empty one. No other process can open it meanwhile.
    ///
    /// # Errors
    /// When it can't be opened, is in use, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let db = Connection::open(path).map_err(opened)?;
        db.set_prepared_statement_cache_capacity(64);
        // One process, one connection: no shared memory file, no lock taken per transaction.
        // NORMAL: a power cut may lose the last transactions, never the file's integrity; the
        // next scan sees again what they said.
        db.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -32768; PRAGMA mmap_size = 0; \
             PRAGMA journal_size_limit = 67108864; BEGIN IMMEDIATE; COMMIT;",
        )
        .map_err(opened)?;
        let found: i64 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(opened)?;
        if found > schema::VERSION {
            return Err(Error::Newer {
                path: path.to_owned(),
                file_version: found,
                program_version: schema::VERSION,
            });
        }
        let steps: &[&str] = match found {
            0 => &[schema::CREATE],
            1 => &[schema::FROM_1, schema::FROM_2],
            2 => &[schema::FROM_2],
            _ => &[],
        };
        for step in steps {
            db.execute_batch(step).map_err(opened)?;
        }
        Ok(Self { db })
    }

    /// Begins a transaction; everything until [`Self::commit_transaction`] happens together or not at all.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn begin_transaction(&self) -> Result<()> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Ends a transaction.
    ///
    /// # Errors
    /// When the disk is full or fails: nothing of the transaction is kept then.
    pub fn commit_transaction(&self) -> Result<()> {
        if let Err(error) = self.db.execute_batch("COMMIT") {
            let _ = self.db.execute_batch("ROLLBACK");
            return Err(error.into());
        }
        Ok(())
    }

    /// Undoes what was done since [`Self::begin_transaction`].
    pub fn roll_back_transaction(&self) {
        let _ = self.db.execute_batch("ROLLBACK");
    }

    fn find_row(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Option<CatalogRow>> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE {condition} LIMIT 1");
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_row(values, read_row)
            .optional()?)
    }

    fn find_rows(&self, condition: &str, values: impl rusqlite::Params) -> Result<Vec<CatalogRow>> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE {condition}");
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(values, read_row)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// The row of an image.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn row_by_id(&self, id: &ImageId) -> Result<Option<CatalogRow>> {
        self.find_row("id = ?1", [id.as_bytes()])
    }

    /// The file that lies at a path, as far as the catalog knows.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn file_at(
        &self,
        library: LibraryKey,
        dir: &[u8],
        name: &[u8],
    ) -> Result<Option<CatalogRow>> {
        self.find_row(
            "library = ?1 AND dir = ?2 AND name = ?3 AND present = 1",
            params![library, dir, name],
        )
    }

    /// The file that lay at a path last and is gone.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn missing_file_at(
        &self,
        library: LibraryKey,
        dir: &[u8],
        name: &[u8],
    ) -> Result<Option<CatalogRow>> {
        self.find_row(
            "library = ?1 AND dir = ?2 AND name = ?3 AND present = 0 ORDER BY missing_since_ns DESC",
            params![library, dir, name],
        )
    }

    /// The rows that were this very inode (see [`Facts::rows_of_inode`]).
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn rows_of_inode(&self, facts: &FileStat) -> Result<Vec<CatalogRow>> {
        let rows = self.find_rows(
            "inode = ?1 AND device = ?2 LIMIT 64",
            params![facts.inode as i64, facts.device as i64],
        )?;
        Ok(rows
            .into_iter()
            .filter(|row| facts.is_same_inode(&row.stat))
            .collect())
    }

    /// Up to 16 rows of a size whose content hash is known, vanished ones first.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn hashed_rows_of_size(&self, size: u64) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "size = ?1 AND content_hash IS NOT NULL ORDER BY present LIMIT 16",
            [size as i64],
        )
    }

    /// Up to 16 files of a size that are there and were first seen after `state_since_ns`.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn new_rows_of_size(&self, size: u64, since_ns: i64) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "size = ?1 AND present = 1 AND first_seen_ns > ?2 LIMIT 16",
            params![size as i64, since_ns],
        )
    }

    /// The names of the files in a folder (not below it), as far as the catalog knows.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn file_names_in(&self, library: LibraryKey, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let sql = "SELECT name FROM images WHERE library = ?1 AND dir = ?2 AND present = 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let names = statement.query_map(params![library, dir], |row| row.get(0))?;
        Ok(names.collect::<std::result::Result<_, _>>()?)
    }

    /// The files in a folder (not below it) by their names, as far as the catalog knows.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn files_in(
        &self,
        library: LibraryKey,
        dir: &[u8],
    ) -> Result<HashMap<Box<[u8]>, CatalogedFile>> {
        let sql = "SELECT name, size, mtime_ns, ctime_ns, device, inode, born_ns, state \
                   FROM images WHERE library = ?1 AND dir = ?2 AND present = 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let known = statement.query_map(params![library, dir], |row| {
            let facts = FileStat {
                size: row.get::<_, i64>(1)? as u64,
                mtime_ns: row.get(2)?,
                ctime_ns: row.get(3)?,
                device: row.get::<_, i64>(4)? as u64,
                inode: row.get::<_, i64>(5)? as u64,
                born_ns: row.get(6)?,
            };
            let ignored = row.get::<_, i64>(7)? == FileState::Ignored as i64;
            let name: Vec<u8> = row.get(0)?;
            Ok((
                name.into_boxed_slice(),
                CatalogedFile {
                    stat: facts,
                    is_ignored: ignored,
                },
            ))
        })?;
        Ok(known.collect::<std::result::Result<_, _>>()?)
    }

    /// Up to `limit` files of a library, chosen evenly from all over it (ids are hashes).
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn sample_rows(&self, library: LibraryKey, limit: usize) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "library = ?1 AND present = 1 ORDER BY id LIMIT ?2",
            params![library, limit as i64],
        )
    }

    /// Every folder at or below `dir` that files are known in.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn folders_at_and_below(&self, library: LibraryKey, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        // `/` is followed by `0`: everything in between begins with `dir/`. One condition each,
        // because SQLite would read the whole library for both in one.
        let all = "SELECT DISTINCT dir FROM images WHERE library = ?1 AND present = 1";
        let mut folders = Vec::new();
        if dir.is_empty() {
            self.collect_folders(all, params![library], &mut folders)?;
        } else {
            let (from, to) = ([dir, b"/"].concat(), [dir, b"0"].concat());
            let itself = format!("{all} AND dir = ?2 LIMIT 1");
            self.collect_folders(&itself, params![library, dir], &mut folders)?;
            let below = format!("{all} AND dir >= ?2 AND dir < ?3");
            self.collect_folders(&below, params![library, from, to], &mut folders)?;
        }
        Ok(folders)
    }

    fn collect_folders(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        folders: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let mut statement = self.db.prepare_cached(sql)?;
        let found = statement.query_map(values, |row| row.get(0))?;
        for folder in found {
            folders.push(folder?);
        }
        Ok(())
    }

    /// Writes a new row.
    ///
    /// # Errors
    /// When SQLite can't; when its id or path is taken, which is a mistake of the caller.
    pub fn insert_row(&self, row: &CatalogRow) -> Result<()> {
        let sql = format!(
            "INSERT INTO images ({COLUMNS}) VALUES ({})",
            (1..=COLUMNS.split(',').count())
                .map(|n| format!("?{n}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        with_row_values(row, |values| self.db.prepare_cached(&sql)?.execute(values))?;
        Ok(())
    }

    /// Writes a row that is there already.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn update_row(&self, row: &CatalogRow) -> Result<()> {
        let assignments = COLUMNS
            .split(',')
            .enumerate()
            .map(|(i, column)| format!("{} = ?{}", column.trim(), i + 1))
            .collect::<Vec<_>>()
            .join(", ");
        let sql = format!("UPDATE images SET {assignments} WHERE id = ?1");
        with_row_values(row, |values| self.db.prepare_cached(&sql)?.execute(values))?;
        Ok(())
    }

    /// Forgets an image.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn delete_row(&self, id: &ImageId) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM images WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    /// A page of the files that failed (and those ignored, if asked), all or those with one
    /// code, in the order of their ids; and how many there are in all.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn failure_page(
        &self,
        library: LibraryKey,
        after: Option<&ImageId>,
        limit: usize,
        ignored: bool,
        code: Option<&str>,
    ) -> Result<(Vec<CatalogRow>, u64)> {
        // `state >= 2` tells SQLite that the index of what is not indexed will do.
        let states = if ignored {
            "state >= 2"
        } else {
            "state >= 2 AND state = 2"
        };
        let which = format!(
            "library = ?1 AND present = 1 AND {states} AND (?2 IS NULL OR code = ?2) AND id > ?3"
        );
        let start = after.map_or(&[][..], |id| id.as_bytes());
        let page = format!("{which} ORDER BY id LIMIT ?4");
        let rows = self.find_rows(&page, params![library, code, start, limit as i64])?;
        let total = if code.is_some() {
            let sql = format!("SELECT count(*) FROM images WHERE {which}");
            let mut statement = self.db.prepare_cached(&sql)?;
            statement.query_row(params![library, code, &[][..] as &[u8]], |row| {
                row.get::<_, i64>(0)
            })? as u64
        } else {
            let counts = self.file_counts(library)?;
            counts.failed + if ignored { counts.ignored } else { 0 }
        };
        Ok((rows, total))
    }

    /// Up to `limit` images of a library behind `after`, there or gone, in the order of ids.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn image_page(
        &self,
        library: LibraryKey,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        let after = after.map_or(&[][..], |id| id.as_bytes());
        // `+library` keeps SQLite with the index of ids: sorted, and nothing read twice.
        self.find_rows(
            "+library = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            params![library, after, limit as i64],
        )
    }

    /// The ids of up to `limit` failed files, of all or of those with one code; with the code `discarded`, of those
    /// that are left alone.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn failed_ids(
        &self,
        library: LibraryKey,
        code: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ImageId>> {
        let rows = self.find_rows(
            "library = ?1 AND present = 1 AND state >= 2 AND (state = 2 OR state = 4 AND ?2 = 'discarded') \
             AND (?2 IS NULL OR code = ?2) LIMIT ?3",
            params![library, code, limit as i64],
        )?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

#[cfg(test)]
impl Catalog {
    /// How many rows meet a condition.
    pub fn count_rows(&self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM images WHERE {condition}");
        self.db.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Lets the file grow by so many pages at most, as a full disk does; `None`: no limit.
    pub fn fill_disk(&self, pages_left: Option<u32>) {
        let pages: u32 = self
            .db
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        let most = pages_left.map_or(u32::MAX - 1, |left| pages + left);
        let sql = format!("PRAGMA max_page_count = {most}");
        self.db.query_row(&sql, [], |_| Ok(())).unwrap();
    }
}

/// Makes a catalog what it was in version 1.
#[cfg(test)]
pub fn downgrade_to_version_1(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "DROP TRIGGER life_ends; DROP TABLE lives; \
         ALTER TABLE libraries DROP COLUMN turns; \
         DROP INDEX outbox; \
         CREATE INDEX outbox ON images (generation) WHERE unsent = 1 AND in_flight = 0; \
         DROP INDEX hashed; DROP INDEX new; DROP INDEX delayed; \
         ALTER TABLE images DROP COLUMN told; ALTER TABLE images DROP COLUMN first_seen_ns; \
         ALTER TABLE libraries DROP COLUMN root_born_ns; \
         CREATE INDEX by_size ON images (size) WHERE content_hash IS NOT NULL; \
         PRAGMA user_version = 1;",
    )
    .unwrap();
}
