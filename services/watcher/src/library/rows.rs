//! New rows and changed rows of a library.

use lookalike_proto::{Generation, ImageId};

use super::{Library, Result};
use crate::catalog::{Catalog, CatalogRow, FileState};
use crate::clock::Now;
use crate::disk::FileStat;
use crate::paths::split_path;

impl Library {
    /// Returns a new row with an unused id, without storing it.
    pub fn new_row(
        &self,
        path: &[u8],
        stat: FileStat,
        catalog: &Catalog,
        now: Now,
    ) -> Result<CatalogRow> {
        let (dir, name) = split_path(path);
        let mut ordinal = 0;
        let id = loop {
            let id = ImageId::for_new_file(&self.name, path, ordinal);
            if catalog.row_by_id(&id)?.is_none() {
                break id;
            }
            ordinal += 1;
        };
        Ok(CatalogRow {
            id,
            library: self.key,
            dir: dir.to_vec(),
            name: name.to_vec(),
            is_present: true,
            missing_since_ns: 0,
            is_removing: false,
            stat,
            state: FileState::InFlight,
            code: String::new(),
            detail: String::new(),
            state_since_ns: now.wall_nanos(),
            generation: Generation::next_after(Generation::NONE, now.wall),
            observed_ns: now.wall_nanos(),
            is_unsent: false,
            send_after_ns: 0,
            retries: 0,
            in_flight: Generation::NONE,
            attempt: 0,
            sent_ns: 0,
            stream_created_ns: 0,
            stream_sequence: 0,
            confirmed: Generation::NONE,
            content_hash: None,
            was_sent: false,
            first_seen_ns: now.wall_nanos(),
        })
    }

    /// The row of the file that is present at a path below the root.
    pub fn row_at(&self, path: &[u8], catalog: &Catalog) -> Result<Option<CatalogRow>> {
        let (dir, name) = split_path(path);
        catalog.file_at(self.key, dir, name)
    }
}

/// Stores a new generation of a row with the stat of its file.
pub fn record_change(
    mut row: CatalogRow,
    stat: FileStat,
    catalog: &mut Catalog,
    now: Now,
) -> Result<()> {
    row.stat = stat;
    row.begin_generation(now);
    catalog.update_row(&row)
}

/// Records that a file is not where it was. It may be found elsewhere.
pub fn mark_missing(mut row: CatalogRow, catalog: &mut Catalog, now: Now) -> Result<()> {
    if !row.was_sent {
        return catalog.delete_row(&row.id);
    }
    row.is_present = false;
    row.missing_since_ns = now.wall_nanos();
    row.is_removing = false;
    row.is_unsent = false;
    catalog.update_row(&row)
}

/// Removes a file from the index wherever it is now: it was hidden, or a rule ignores it. It may
/// still be found elsewhere.
pub fn withdraw_row(mut row: CatalogRow, catalog: &mut Catalog, now: Now) -> Result<()> {
    if !row.was_sent {
        return catalog.delete_row(&row.id);
    }
    row.begin_removal(now);
    catalog.update_row(&row)
}
