//! Rows by id, by path, by inode, by size, and in pages.

use std::collections::HashMap;
use std::sync::LazyLock;

use lookalike_proto::ImageId;
use rusqlite::params;

use super::connection::{Catalog, Result};
use super::row::{
    COLUMNS, CatalogRow, EVENT_COLUMNS, FileState, LibraryKey, column_names, with_row_values,
};
use crate::disk::FileStat;
use crate::paths::{bounds_below, join_path};

/// What a scan needs of a file that the catalog lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogedFile {
    pub stat: FileStat,
    pub is_ignored: bool,
}

/// What the search for a moved file needs of a file with a known content hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLocation {
    pub id: ImageId,
    pub library: LibraryKey,
    /// Below the root of the library.
    pub path: Vec<u8>,
    pub is_present: bool,
    /// What identifies its inode; the time of its last change is not read.
    pub stat: FileStat,
}

impl Catalog {
    pub fn row_by_id(&self, id: &ImageId) -> Result<Option<CatalogRow>> {
        self.find_row("id = ?1", [id.as_bytes()])
    }

    /// The file that is present at a path.
    pub fn file_at(
        &self,
        library: LibraryKey,
        dir: &[u8],
        name: &[u8],
    ) -> Result<Option<CatalogRow>> {
        self.find_row(
            "library = ?1 AND dir = ?2 AND name = ?3 AND is_present = 1",
            params![library, dir, name],
        )
    }

    /// The file that was at a path last and is missing.
    pub fn missing_file_at(
        &self,
        library: LibraryKey,
        dir: &[u8],
        name: &[u8],
    ) -> Result<Option<CatalogRow>> {
        self.find_row(
            "library = ?1 AND dir = ?2 AND name = ?3 AND is_present = 0 \
             ORDER BY missing_since_ns DESC",
            params![library, dir, name],
        )
    }

    /// The rows that were this inode (see [`FileStat::is_same_inode`]).
    pub fn rows_of_inode(&self, stat: &FileStat) -> Result<Vec<CatalogRow>> {
        let mut rows = self.find_rows(
            "inode = ?1 AND device = ?2 LIMIT 64",
            params![stat.inode as i64, stat.device as i64],
        )?;
        rows.retain(|row| stat.is_same_inode(&row.stat));
        Ok(rows)
    }

    /// Up to 16 files of a size with a known content hash, missing ones first.
    pub fn hashed_files_of_size(&self, size: u64) -> Result<Vec<FileLocation>> {
        let sql = "SELECT id, library, dir, name, is_present, inode, device, born_ns, mtime_ns \
                   FROM images WHERE size = ?1 AND content_hash IS NOT NULL \
                   ORDER BY is_present LIMIT 16";
        let mut statement = self.db.prepare_cached(sql)?;
        let files = statement.query_map([size as i64], |row| {
            let (dir, name): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
            Ok(FileLocation {
                id: ImageId::from_bytes(row.get(0)?),
                library: row.get(1)?,
                path: join_path(&dir, &name),
                is_present: row.get(4)?,
                stat: FileStat {
                    size,
                    inode: row.get::<_, i64>(5)? as u64,
                    device: row.get::<_, i64>(6)? as u64,
                    born_ns: row.get(7)?,
                    mtime_ns: row.get(8)?,
                    ..FileStat::default()
                },
            })
        })?;
        Ok(files.collect::<std::result::Result<_, _>>()?)
    }

    /// Up to 16 present files of a size that were first seen after `since_ns`.
    pub fn new_rows_of_size(&self, size: u64, since_ns: i64) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "size = ?1 AND is_present = 1 AND first_seen_ns > ?2 LIMIT 16",
            params![size as i64, since_ns],
        )
    }

    /// Up to `limit` files listed in a folder (not below it) that are called `base`, or `base` with any
    /// extensions.
    pub fn files_called(
        &self,
        library: LibraryKey,
        dir: &[u8],
        base: &[u8],
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        // In byte order, `.` is followed by `/`, which no name contains.
        let (from, to) = ([base, b"."].concat(), [base, b"/"].concat());
        self.find_rows(
            "library = ?1 AND dir = ?2 AND is_present = 1 \
             AND (name = ?3 OR name >= ?4 AND name < ?5) LIMIT ?6",
            params![library, dir, base, from, to, limit as i64],
        )
    }

    /// The names of the files listed in a folder (not below it).
    pub fn file_names_in(&self, library: LibraryKey, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        let sql = "SELECT name FROM images WHERE library = ?1 AND dir = ?2 AND is_present = 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let names = statement.query_map(params![library, dir], |row| row.get(0))?;
        Ok(names.collect::<std::result::Result<_, _>>()?)
    }

    /// The files listed in a folder (not below it), by name.
    pub fn files_in(
        &self,
        library: LibraryKey,
        dir: &[u8],
    ) -> Result<HashMap<Box<[u8]>, CatalogedFile>> {
        let sql = "SELECT name, size, mtime_ns, ctime_ns, device, inode, born_ns, state \
                   FROM images WHERE library = ?1 AND dir = ?2 AND is_present = 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let files = statement.query_map(params![library, dir], |row| {
            let stat = FileStat {
                size: row.get::<_, i64>(1)? as u64,
                mtime_ns: row.get(2)?,
                ctime_ns: row.get(3)?,
                device: row.get::<_, i64>(4)? as u64,
                inode: row.get::<_, i64>(5)? as u64,
                born_ns: row.get(6)?,
            };
            let is_ignored = row.get::<_, i64>(7)? == FileState::Ignored as i64;
            let name: Vec<u8> = row.get(0)?;
            Ok((name.into_boxed_slice(), CatalogedFile { stat, is_ignored }))
        })?;
        Ok(files.collect::<std::result::Result<_, _>>()?)
    }

    /// Up to `limit` files of a library, spread evenly over it (ids are hashes).
    pub fn sample_rows(&self, library: LibraryKey, limit: usize) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "library = ?1 AND is_present = 1 ORDER BY id LIMIT ?2",
            params![library, limit as i64],
        )
    }

    /// Every folder at or below `dir` in which files are listed.
    pub fn folders_at_and_below(&self, library: LibraryKey, dir: &[u8]) -> Result<Vec<Vec<u8>>> {
        // Two queries, because SQLite would read the whole library for one with both conditions.
        let all = "SELECT DISTINCT dir FROM images WHERE library = ?1 AND is_present = 1";
        let mut folders = Vec::new();
        if dir.is_empty() {
            self.collect_folders(all, params![library], &mut folders)?;
        } else {
            let (from, to) = bounds_below(dir);
            let itself = format!("{all} AND dir = ?2 LIMIT 1");
            self.collect_folders(&itself, params![library, dir], &mut folders)?;
            let below = format!("{all} AND dir >= ?2 AND dir < ?3");
            self.collect_folders(&below, params![library, from, to], &mut folders)?;
        }
        Ok(folders)
    }

    /// The number of files listed in a folder and below it.
    pub fn count_files_below(&self, library: LibraryKey, dir: &[u8]) -> Result<u64> {
        if dir.is_empty() {
            return Ok(self.file_counts(library)?.on_disk);
        }
        let (from, to) = bounds_below(dir);
        let all = "SELECT count(*) FROM images WHERE library = ?1 AND is_present = 1";
        let count = |condition: &str, values: &[&dyn rusqlite::ToSql]| {
            let sql = format!("{all} AND {condition}");
            let mut statement = self.db.prepare_cached(&sql)?;
            statement.query_row(values, |row| row.get::<_, i64>(0))
        };
        let itself = count("dir = ?2", params![library, dir])?;
        let below = count("dir >= ?2 AND dir < ?3", params![library, from, to])?;
        Ok((itself + below) as u64)
    }

    fn collect_folders(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        folders: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map(values, |row| row.get(0))?;
        for folder in rows {
            folders.push(folder?);
        }
        Ok(())
    }

    /// Inserts a new row. Fails if its id or path is taken, which is a mistake of the caller.
    pub fn insert_row(&mut self, row: &CatalogRow) -> Result<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let values: Vec<String> = (1..=column_names().count())
                .map(|n| format!("?{n}"))
                .collect();
            let values = values.join(", ");
            format!("INSERT INTO images ({COLUMNS}) VALUES ({values})")
        });
        with_row_values(row, |values| self.db.prepare_cached(&SQL)?.execute(values))?;
        Ok(())
    }

    /// Stores all values of a row.
    pub fn update_row(&mut self, row: &CatalogRow) -> Result<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| update_sql(|_| true));
        with_row_values(row, |values| self.db.prepare_cached(&SQL)?.execute(values))?;
        Ok(())
    }

    /// Stores the state of a row's file and event ([`EVENT_COLUMNS`]). Half the work of
    /// [`Self::update_row`], because SQLite leaves the indexes of the other columns alone.
    pub fn update_event(&mut self, row: &CatalogRow) -> Result<()> {
        static SQL: LazyLock<String> =
            LazyLock::new(|| update_sql(|column| EVENT_COLUMNS.contains(&column)));
        with_row_values(row, |values| self.db.prepare_cached(&SQL)?.execute(values))?;
        Ok(())
    }

    pub fn delete_row(&mut self, id: &ImageId) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM images WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    /// A page of the failed files (with the ignored ones if asked), all or those with one code, in
    /// the order of ids; and their total number.
    pub fn failure_page(
        &self,
        library: LibraryKey,
        after: Option<&ImageId>,
        limit: usize,
        with_ignored: bool,
        code: Option<&str>,
    ) -> Result<(Vec<CatalogRow>, u64)> {
        // `state >= 2` lets SQLite use the index of files that are not indexed.
        let states = if with_ignored {
            "state >= 2"
        } else {
            "state >= 2 AND state = 2"
        };
        let condition = format!(
            "library = ?1 AND is_present = 1 AND {states} AND (?2 IS NULL OR code = ?2) AND id > ?3"
        );
        let start = after.map_or(&[][..], |id| id.as_bytes());
        let page = format!("{condition} ORDER BY id LIMIT ?4");
        let rows = self.find_rows(&page, params![library, code, start, limit as i64])?;
        let total = if code.is_some() {
            let sql = format!("SELECT count(*) FROM images WHERE {condition}");
            let mut statement = self.db.prepare_cached(&sql)?;
            statement.query_row(params![library, code, &[][..] as &[u8]], |row| {
                row.get::<_, i64>(0)
            })? as u64
        } else {
            let counts = self.file_counts(library)?;
            counts.failed + if with_ignored { counts.ignored } else { 0 }
        };
        Ok((rows, total))
    }

    /// Up to `limit` images of a library after `after`, present or missing, in the order of ids.
    pub fn image_page(
        &self,
        library: LibraryKey,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        let after = after.map_or(&[][..], |id| id.as_bytes());
        // `+library` makes SQLite use the index of ids: sorted, and nothing is read twice.
        self.find_rows(
            "+library = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            params![library, after, limit as i64],
        )
    }

    /// The ids of up to `limit` failed files, of all or of those with one code. The code
    /// `discarded` returns discarded files.
    pub fn failed_ids(
        &self,
        library: LibraryKey,
        code: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ImageId>> {
        let rows = self.find_rows(
            "library = ?1 AND is_present = 1 AND state >= 2 \
             AND (state = 2 OR state = 4 AND ?2 = 'discarded') \
             AND (?2 IS NULL OR code = ?2) LIMIT ?3",
            params![library, code, limit as i64],
        )?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

/// Returns the statement that stores the chosen columns of a row. Its parameters are the values of all
/// columns, so `?1` is the id.
fn update_sql(is_stored: impl Fn(&str) -> bool) -> String {
    let columns = column_names().enumerate();
    let assignments: Vec<String> = columns
        .filter(|(_, column)| is_stored(column))
        .map(|(i, column)| format!("{column} = ?{}", i + 1))
        .collect();
    // The comparison with the last parameter, which is always true, makes SQLite accept them all.
    format!(
        "UPDATE images SET {} WHERE id = ?1 AND ?{} IS NOT NULL",
        assignments.join(", "),
        column_names().count()
    )
}
