//! Lives: the last answer about each image, kept beside the images so that scans, which read all
//! of those, need not read them.

use lookalike_proto::{ImageId, Outcome};
use rusqlite::{OptionalExtension as _, params};

use super::{Catalog, Result};

impl Catalog {
    /// Keeps an outcome as the last one of its image.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn store_last_outcome(&self, outcome: &Outcome, confirmed_ns: i64) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO lives (id, outcome, confirmed_ns) VALUES (?1, ?2, ?3)";
        let bytes = outcome.encode();
        let values = params![outcome.image_id.as_bytes(), &bytes[..], confirmed_ns];
        self.db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// The last outcome of an image, and when it was taken in (nanoseconds since 1970).
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn last_outcome(&self, id: &ImageId) -> Result<Option<(Outcome, i64)>> {
        let sql = "SELECT outcome, confirmed_ns FROM lives WHERE id = ?1";
        let found = self
            .db
            .prepare_cached(sql)?
            .query_row([id.as_bytes()], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
            })
            .optional()?;
        // One that an older version wrote otherwise is as good as none.
        Ok(found.and_then(|(bytes, confirmed_ns)| {
            Some((Outcome::decode(bytes.into()).ok()?, confirmed_ns))
        }))
    }
}
