//! The last outcome of each image, in a table of its own, because scans read all of `images`.

use lookalike_proto::{ImageId, Outcome};
use rusqlite::{OptionalExtension as _, params};

use super::connection::{Catalog, Result};

impl Catalog {
    pub fn store_last_outcome(&mut self, outcome: &Outcome, confirmed_ns: i64) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO last_outcomes (id, outcome, confirmed_ns) \
                   VALUES (?1, ?2, ?3)";
        let bytes = outcome.encode();
        let values = params![outcome.image_id.as_bytes(), &bytes[..], confirmed_ns];
        self.db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// The last outcome of an image, and when it was applied (nanoseconds since 1970).
    pub fn last_outcome(&self, id: &ImageId) -> Result<Option<(Outcome, i64)>> {
        let sql = "SELECT outcome, confirmed_ns FROM last_outcomes WHERE id = ?1";
        let stored = self
            .db
            .prepare_cached(sql)?
            .query_row([id.as_bytes()], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
            })
            .optional()?;
        // An outcome that another version encoded differently counts as none.
        Ok(stored.and_then(|(bytes, confirmed_ns)| {
            Some((Outcome::decode(bytes.into()).ok()?, confirmed_ns))
        }))
    }
}
