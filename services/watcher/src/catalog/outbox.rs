//! Queries of the outbox: rows to send, and events without an outcome.

use lookalike_bus::StreamPosition;
use lookalike_proto::{Generation, ImageId};
use rusqlite::params;

use super::connection::{Catalog, Result};
use super::row::{CatalogRow, LibraryKey};

/// The keeper never delays an event longer than this. A longer delay was written before the clock
/// was set back, and is over.
const MAX_SEND_DELAY_NS: i64 = 120_000_000_000;

impl Catalog {
    /// Rows of these libraries that must be sent, may be sent now, and have nothing in flight, the
    /// oldest first.
    ///
    /// Retried rows get an eighth of the limit, or the room that the others leave: a library that
    /// cannot be read now delays no other.
    pub fn outbox_rows(
        &self,
        libraries: &[LibraryKey],
        now_ns: i64,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        // `> 0` lets SQLite use the index of delayed rows. A retried row always has a time.
        let retried = "retries > 0 AND send_after_ns > 0";
        let retried = self.outbox_rows_where(retried, "send_after_ns", libraries, now_ns, limit)?;
        let share = limit.div_ceil(8).min(retried.len());
        let new = "retries = 0";
        let mut rows =
            self.outbox_rows_where(new, "generation", libraries, now_ns, limit - share)?;
        let room = limit - rows.len();
        rows.extend(retried.into_iter().take(room));
        Ok(rows)
    }

    fn outbox_rows_where(
        &self,
        condition: &str,
        order: &str,
        libraries: &[LibraryKey],
        now_ns: i64,
        limit: usize,
    ) -> Result<Vec<CatalogRow>> {
        let condition = format!(
            "is_unsent = 1 AND in_flight = 0 AND {condition} \
             AND (send_after_ns <= ?1 OR send_after_ns > ?2) \
             AND library IN ({}) ORDER BY {order} LIMIT ?3",
            sql_list(libraries)
        );
        let max_delay_ns = now_ns.saturating_add(MAX_SEND_DELAY_NS);
        self.find_rows(&condition, params![now_ns, max_delay_ns, limit as i64])
    }

    /// When the next delayed row may be sent.
    pub fn next_send_ns(&self, now_ns: i64) -> Result<Option<i64>> {
        // `> 0` lets SQLite use the index of delayed rows.
        let sql = "SELECT min(send_after_ns) FROM images WHERE is_unsent = 1 AND in_flight = 0 \
                   AND send_after_ns > 0 AND send_after_ns > ?1";
        Ok(self
            .db
            .prepare_cached(sql)?
            .query_row([now_ns], |row| row.get(0))?)
    }

    /// The number of events in flight, of these libraries or (`None`) of all.
    pub fn count_in_flight(&self, libraries: Option<&[LibraryKey]>) -> Result<usize> {
        // Without a condition on the library, the index alone answers.
        let of_libraries = libraries.map_or_else(String::new, |libraries| {
            format!(" AND library IN ({})", sql_list(libraries))
        });
        let sql = format!("SELECT count(*) FROM images WHERE in_flight <> 0{of_libraries}");
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_row([], |row| row.get::<_, i64>(0))? as usize)
    }

    /// Events in flight that were sent before `before_ns` (or after `now_ns`, by a clock that was
    /// set back since), the oldest first.
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

    /// Stores where an event in flight was stored. Returns false if it is not in flight any more.
    pub fn store_position(
        &mut self,
        id: &ImageId,
        generation: Generation,
        position: &StreamPosition,
    ) -> Result<bool> {
        let sql = "UPDATE images SET stream_created_ns = ?3, stream_sequence = ?4 \
                   WHERE id = ?1 AND in_flight = ?2";
        let values = params![
            id.as_bytes(),
            generation.get() as i64,
            position.stream_created_ns,
            position.sequence as i64
        ];
        Ok(self.db.prepare_cached(sql)?.execute(values)? > 0)
    }

    /// Marks events as unsent whose publishing a previous process did not finish; their number.
    pub fn reset_half_published(&mut self) -> Result<usize> {
        Ok(self.db.execute(
            "UPDATE images SET in_flight = 0, is_unsent = (is_present = 1 OR is_removing = 1) \
             WHERE in_flight <> 0 AND stream_sequence = 0",
            [],
        )?)
    }
}

/// Keys are numbers of our own, so nothing needs quoting.
fn sql_list(keys: &[LibraryKey]) -> String {
    let keys: Vec<String> = keys.iter().map(LibraryKey::to_string).collect();
    keys.join(", ")
}
