//! The connection to the catalog's file, its transactions, and generic row queries.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use super::row::{COLUMNS, CatalogRow, read_row};
use super::schema;

/// A failed operation on the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the catalog {path}: {source}{}", open_hint(source))]
    Open {
        path: PathBuf,
        source: rusqlite::Error,
    },
    /// A newer version of the program wrote the file.
    #[error(
        "the catalog {path} was written by a newer version of lookalike (schema {file_version}; this version supports up to {program_version}): start that version, or move the file away to rebuild the catalog from the folders and the index"
    )]
    Newer {
        path: PathBuf,
        file_version: i64,
        program_version: i64,
    },
    /// SQLite failed: the disk is full, the file is damaged, …
    #[error("cannot read or write the catalog: {}{}", .0, use_hint(.0))]
    Sqlite(#[from] rusqlite::Error),
}

const DAMAGED_HINT: &str = "; the file is damaged. It is safe to delete it (and the files \
    catalog.sqlite-wal and catalog.sqlite-shm next to it) while lookalike is stopped: the next start \
    rebuilds it from the folders and the index, and images keep their ids";

fn open_hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            " (another lookalike watches with the same data folder)"
        }
        _ if is_damaged(error) => DAMAGED_HINT,
        _ => "",
    }
}

fn use_hint(error: &rusqlite::Error) -> &'static str {
    match is_damaged(error) {
        true => DAMAGED_HINT,
        false => "; is the disk full or failing?",
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    )
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// The open catalog. Functions that write take `&mut self`.
pub struct Catalog {
    pub(super) db: Connection,
}

impl Catalog {
    /// Opens the catalog or creates an empty one. No other process can open it meanwhile.
    ///
    /// A file of an older schema is migrated. A file of a newer one is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let open_error = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let db = Connection::open(path).map_err(open_error)?;
        db.set_prepared_statement_cache_capacity(64);
        // One process, one connection: no shared memory file, no lock per transaction.
        // NORMAL: a power cut may lose the last transactions, never the file's integrity; the
        // next scan sees again what they recorded.
        db.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; \
             PRAGMA cache_size = -32768; PRAGMA mmap_size = 0; \
             PRAGMA journal_size_limit = 67108864; BEGIN IMMEDIATE; COMMIT;",
        )
        .map_err(open_error)?;
        let file_version: i64 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(open_error)?;
        if file_version > schema::VERSION {
            return Err(Error::Newer {
                path: path.to_owned(),
                file_version,
                program_version: schema::VERSION,
            });
        }
        for step in schema::steps_from(file_version) {
            db.execute_batch(step).map_err(open_error)?;
        }
        Ok(Self { db })
    }

    /// Begins a transaction: everything until [`Self::commit_transaction`] happens together or not
    /// at all.
    pub fn begin_transaction(&mut self) -> Result<()> {
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Commits the transaction. If that fails, nothing of the transaction is kept.
    pub fn commit_transaction(&mut self) -> Result<()> {
        if let Err(error) = self.db.execute_batch("COMMIT") {
            self.roll_back_transaction();
            return Err(error.into());
        }
        Ok(())
    }

    pub fn roll_back_transaction(&mut self) {
        // Fails only when no transaction is open.
        let _ = self.db.execute_batch("ROLLBACK");
    }

    pub(super) fn find_row(
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

    pub(super) fn find_rows(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<CatalogRow>> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE {condition}");
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(values, read_row)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}

#[cfg(test)]
impl Catalog {
    pub fn count_rows(&self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM images WHERE {condition}");
        self.db.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    /// Lets the file grow by at most so many pages, as a full disk does; `None`: no limit.
    pub fn fill_disk(&self, pages_left: Option<u32>) {
        let pages: u32 = self
            .db
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        let max_pages = pages_left.map_or(u32::MAX - 1, |left| pages + left);
        let sql = format!("PRAGMA max_page_count = {max_pages}");
        self.db.query_row(&sql, [], |_| Ok(())).unwrap();
    }
}

/// Changes a catalog back to schema version 1.
#[cfg(test)]
pub fn downgrade_to_version_1(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "DROP TRIGGER forget_outcome; DROP TABLE last_outcomes; \
         ALTER TABLE libraries DROP COLUMN lease_epoch; \
         ALTER TABLE images RENAME COLUMN is_present TO present; \
         ALTER TABLE images RENAME COLUMN is_removing TO removing; \
         ALTER TABLE images RENAME COLUMN is_unsent TO unsent; \
         ALTER TABLE images RENAME COLUMN state_since_ns TO since_ns; \
         ALTER TABLE images RENAME COLUMN send_after_ns TO not_before_ns; \
         ALTER TABLE images RENAME COLUMN stream_created_ns TO sent_created; \
         ALTER TABLE images RENAME COLUMN stream_sequence TO sent_sequence; \
         DROP INDEX missing_by_path; \
         CREATE INDEX gone ON images (library, dir, name) WHERE present = 0; \
         DROP INDEX sent_events; \
         CREATE INDEX under_way ON images (sent_ns) WHERE in_flight <> 0; \
         DROP INDEX missing; \
         CREATE INDEX vanished ON images (library, missing_since_ns) WHERE present = 0; \
         DROP INDEX outbox; \
         CREATE INDEX outbox ON images (generation) WHERE unsent = 1 AND in_flight = 0; \
         DROP INDEX hashed; DROP INDEX new; DROP INDEX delayed; \
         ALTER TABLE images DROP COLUMN was_sent; ALTER TABLE images DROP COLUMN first_seen_ns; \
         ALTER TABLE libraries DROP COLUMN root_born_ns; \
         CREATE INDEX by_size ON images (size) WHERE content_hash IS NOT NULL; \
         PRAGMA user_version = 1;",
    )
    .unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_catalog_names_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        drop(Catalog::open(&path).unwrap());
        // Neither the first page nor a whole file of something else.
        for damage in [vec![0x55; 4096], vec![b'x'; 100_000]] {
            std::fs::write(&path, damage).unwrap();
            let error = Catalog::open(&path).err().unwrap().to_string();
            assert!(error.contains("safe to delete"), "{error}");
            assert!(error.contains("catalog.sqlite"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Catalog::open(&path).is_ok());
    }
}
