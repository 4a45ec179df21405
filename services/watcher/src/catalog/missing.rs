//! Queries of missing files: those that are gone and whose removal was not sent yet.

use rusqlite::params;

use super::connection::{Catalog, Result};
use super::row::{CatalogRow, LibraryKey};

/// A place in the order of missing files: when the file went missing, and its row number.
pub type MissingPosition = (i64, i64);

impl Catalog {
    /// Up to `limit` files of a library that went missing before `before_ns`, the oldest first,
    /// after a position; each with its row number.
    pub fn missing_rows(
        &self,
        library: LibraryKey,
        after: MissingPosition,
        before_ns: i64,
        limit: usize,
    ) -> Result<Vec<(i64, CatalogRow)>> {
        let sql = "SELECT number FROM images WHERE library = ?1 AND is_present = 0 \
                   AND is_removing = 0 AND missing_since_ns >= ?2 AND missing_since_ns < ?4 \
                   AND (missing_since_ns > ?2 OR number > ?3) \
                   ORDER BY missing_since_ns, number LIMIT ?5";
        let mut statement = self.db.prepare_cached(sql)?;
        let values = params![library, after.0, after.1, before_ns, limit as i64];
        let numbers = statement.query_map(values, |row| row.get(0))?;
        let mut missing = Vec::new();
        for number in numbers {
            let number: i64 = number?;
            let row = self.find_row("number = ?1", [number])?;
            missing.extend(row.map(|row| (number, row)));
        }
        Ok(missing)
    }

    /// The number of files of a library that went missing before `before_ns`.
    pub fn count_missing(&self, library: LibraryKey, before_ns: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM images WHERE library = ?1 AND is_present = 0 \
                   AND is_removing = 0 AND missing_since_ns < ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        let count: i64 = statement.query_row(params![library, before_ns], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// When the first of a library's missing files went missing.
    pub fn first_missing_ns(&self, library: LibraryKey) -> Result<Option<i64>> {
        self.query_missing_ns("min", library)
    }

    /// When the last of a library's missing files went missing.
    pub fn last_missing_ns(&self, library: LibraryKey) -> Result<Option<i64>> {
        self.query_missing_ns("max", library)
    }

    fn query_missing_ns(&self, aggregate: &str, library: LibraryKey) -> Result<Option<i64>> {
        let sql = format!(
            "SELECT {aggregate}(missing_since_ns) FROM images \
             WHERE library = ?1 AND is_present = 0 AND is_removing = 0"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_row([library], |row| row.get(0))?)
    }

    /// Dates all missing files of a library back to `ns` if they went missing later.
    pub fn backdate_missing_files(&mut self, library: LibraryKey, ns: i64) -> Result<()> {
        let sql = "UPDATE images SET missing_since_ns = ?2 WHERE library = ?1 \
                   AND is_present = 0 AND is_removing = 0 AND missing_since_ns > ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        statement.execute(params![library, ns])?;
        Ok(())
    }
}
