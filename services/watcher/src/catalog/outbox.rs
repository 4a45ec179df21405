//! What waits: rows to send, events without an answer, files that vanished.

use rusqlite::params;

use super::{Catalog, CatalogRow, LibraryKey, Result};

/// No wait that the keeper writes down is longer than this: one that seems to be was written
/// before the clock was set back, and is over.
const MAX_SEND_DELAY_NS: i64 = 120_000_000_000;

impl Catalog {
    /// Rows of these libraries that must be sent, may be sent now, and have nothing under way;
    /// the oldest first. Of what was put off before a few at a time, or what there is room for:
    /// a library that nobody can read now holds up no other.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn outbox_rows(
        &self,
        held: &[LibraryKey],
        now_ns: i64,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        let again = self.outbox_rows_where("retries > 0", "not_before_ns", held, now_ns, limit)?;
        let share = limit.div_ceil(8).min(again.len());
        let first = "retries = 0";
        let mut rows = self.outbox_rows_where(first, "generation", held, now_ns, limit - share)?;
        let room = limit - rows.len();
        rows.extend(again.into_iter().take(room));
        Ok(rows)
    }

    fn outbox_rows_where(
        &self,
        which: &str,
        order: &str,
        held: &[LibraryKey],
        now_ns: i64,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        // What was put off always has a time; saying so lets SQLite see which index will do.
        let delayed = if order == "not_before_ns" {
            "AND not_before_ns > 0"
        } else {
            ""
        };
        let condition = format!(
            "unsent = 1 AND in_flight = 0 AND {which} {delayed} \
             AND (not_before_ns <= ?1 OR not_before_ns > ?2) \
             AND library IN ({}) ORDER BY {order} LIMIT ?3",
            sql_list(held)
        );
        let too_far = now_ns.saturating_add(MAX_SEND_DELAY_NS);
        self.find_rows(&condition, params![now_ns, too_far, limit as i64])
    }

    /// When the next row of the outbox that has to wait may be sent.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn next_send_ns(&self, now_ns: i64) -> Result<Option<i64>> {
        // `> 0` lets SQLite see that the index of the delayed ones will do.
        let sql = "SELECT min(not_before_ns) FROM images WHERE unsent = 1 AND in_flight = 0 \
                   AND not_before_ns > 0 AND not_before_ns > ?1";
        Ok(self
            .db
            .prepare_cached(sql)?
            .query_row([now_ns], |row| row.get(0))?)
    }

    /// How many events of these libraries are under way; `None`: of all.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn count_in_flight(&self, held: Option<&[LibraryKey]>) -> Result<usize> {
        // All of them are counted in the index alone.
        let which = held.map_or_else(String::new, |held| {
            format!(" AND library IN ({})", sql_list(held))
        });
        let sql = format!("SELECT count(*) FROM images WHERE in_flight <> 0{which}");
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_row([], |row| row.get::<_, i64>(0))? as usize)
    }

    /// Events under way that were sent before `before_ns` (or after `now_ns`, by a clock that
    /// was set back since), the oldest first.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn overdue_rows(
        &self,
        before_ns: i64,
        now_ns: i64,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        self.find_rows(
            "in_flight <> 0 AND (sent_ns < ?1 OR sent_ns > ?2) ORDER BY sent_ns LIMIT ?3",
            params![before_ns, now_ns, limit as i64],
        )
    }

    /// Up to `limit` files of a library that vanished before `before_ns` and whose rows have not
    /// been told to go, the oldest first, behind a place in that order: when they vanished, and
    /// their number.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn missing_rows(
        &self,
        library: LibraryKey,
        after: (i64, i64),
        before_ns: i64,
        limit: usize,
    ) -> Result<Vec<(i64, CatalogRow)>> {
        let sql = "SELECT number FROM images WHERE library = ?1 AND present = 0 AND removing = 0 \
                   AND missing_since_ns >= ?2 AND missing_since_ns < ?4 \
                   AND (missing_since_ns > ?2 OR number > ?3) \
                   ORDER BY missing_since_ns, number LIMIT ?5";
        let mut statement = self.db.prepare_cached(sql)?;
        let values = params![library, after.0, after.1, before_ns, limit as i64];
        let numbers = statement.query_map(values, |row| row.get(0))?;
        let mut vanished = Vec::new();
        for number in numbers {
            let number: i64 = number?;
            let row = self.find_row("number = ?1", [number])?;
            vanished.extend(row.map(|row| (number, row)));
        }
        Ok(vanished)
    }

    /// How many files of a library vanished before `before_ns`, and have not been told to go.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn count_missing(&self, library: LibraryKey, before_ns: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM images WHERE library = ?1 AND present = 0 \
                   AND removing = 0 AND missing_since_ns < ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        let count: i64 = statement.query_row(params![library, before_ns], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// When the first of the vanished files of a library vanished.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn first_missing_ns(&self, library: LibraryKey) -> Result<Option<i64>> {
        self.query_missing_ns("min", library)
    }

    /// When the last of the vanished files of a library vanished.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn last_missing_ns(&self, library: LibraryKey) -> Result<Option<i64>> {
        self.query_missing_ns("max", library)
    }

    fn query_missing_ns(&self, which: &str, library: LibraryKey) -> Result<Option<i64>> {
        let sql = format!(
            "SELECT {which}(missing_since_ns) FROM images WHERE library = ?1 AND present = 0 \
             AND removing = 0"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_row([library], |row| row.get(0))?)
    }

    /// All vanished files of a library vanished at `ns` at the latest.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn cap_missing_since(&self, library: LibraryKey, ns: i64) -> Result<()> {
        let sql = "UPDATE images SET missing_since_ns = ?2 WHERE library = ?1 AND present = 0 \
                   AND removing = 0 AND missing_since_ns > ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        statement.execute(params![library, ns])?;
        Ok(())
    }

    /// Events whose publishing was begun by a process that died before it knew the end.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn reset_half_published(&self) -> Result<usize> {
        Ok(self.db.execute(
            "UPDATE images SET in_flight = 0, unsent = (present = 1 OR removing = 1) \
             WHERE in_flight <> 0 AND sent_sequence = 0",
            [],
        )?)
    }
}

/// Numbers of our own making, so nothing needs quoting.
fn sql_list(keys: &[LibraryKey]) -> String {
    let keys: Vec<String> = keys.iter().map(LibraryKey::to_string).collect();
    keys.join(", ")
}
