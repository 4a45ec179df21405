//! Changes of a library's lease state, and the import of rows from the index.

use lookalike_bus::{RowSummary, StreamPosition};
use lookalike_proto::{ContentHash, Generation, RelativePath};

use super::state::LeaseState;
use crate::catalog::{self, FileState};
use crate::disk::FileStat;
use crate::library::Library;
use crate::library::rows::mark_missing;
use crate::library::tick::Tick;

type Result<T> = std::result::Result<T, catalog::Error>;

impl Library {
    /// Another watcher holds the lease.
    pub fn enter_standby(&mut self, tick: &mut Tick<'_>) {
        self.mass_delete_guard = Default::default();
        self.is_fully_scanned = false;
        self.lease_state = LeaseState::Standby;
        self.clear_degraded("recovering");
        self.clear_degraded("unreadable");
        self.unreadable.clear();
        tick.scans.remove_library(self.id);
        self.watch_schedule.watches.remove_all();
        let detail = "Another watcher holds the lease of this library; this watcher takes over \
                      when the lease expires or is released.";
        self.set_degraded("standby", detail.to_owned(), tick);
    }

    /// This watcher holds the lease. Returns the catalog's lease epoch: 0 if the rows of the index
    /// were never imported.
    pub fn begin_recovery(&mut self, tick: &Tick<'_>) -> Result<u64> {
        self.lease_state = LeaseState::Recovering;
        Ok(tick.catalog.library_record(self.key)?.lease_epoch)
    }

    /// Imports rows of the index: unknown images, and generations newer than the catalog's. The
    /// scan after the activation compares them with the disk.
    pub fn import_index_rows(&mut self, rows: &[RowSummary], tick: &mut Tick<'_>) -> Result<()> {
        for row in rows {
            self.import_index_row(row, tick)?;
        }
        Ok(())
    }

    fn import_index_row(&mut self, index_row: &RowSummary, tick: &mut Tick<'_>) -> Result<()> {
        let (Ok(id), Ok(path)) = (
            index_row.id.parse(),
            RelativePath::new(index_row.path.clone()),
        ) else {
            return Ok(()); // Not written by lookalike: the audit reports it.
        };
        let generation = index_row.generation.min(i64::MAX as u64 - 1);
        let generation = Generation::from_u64(generation);
        let cataloged = tick.catalog.row_by_id(&id)?;
        if cataloged
            .as_ref()
            .is_some_and(|row| row.generation >= generation)
        {
            return Ok(());
        }
        // If two images claim one path, the newer generation wins. The scan looks for an older
        // image of the catalog elsewhere, by its inode or its bytes.
        let path = path.as_str().as_bytes();
        match self.row_at(path, tick.catalog)? {
            Some(other) if other.id == id => {}
            Some(other) if other.generation >= generation => return Ok(()),
            Some(other) => mark_missing(other, tick.catalog, tick.now)?,
            None => {}
        }
        let stat = FileStat {
            size: index_row.bytes,
            mtime_ns: index_row.modified_at_ms.saturating_mul(1_000_000),
            ..FileStat::default()
        };
        let mut row = self.new_row(path, stat, tick.catalog, tick.now)?;
        row.id = id;
        row.state = FileState::Indexed;
        row.generation = generation;
        row.confirmed = generation;
        row.content_hash = index_row.content_hash.parse::<ContentHash>().ok();
        row.was_sent = true;
        row.first_seen_ns = cataloged.as_ref().map_or(0, |row| row.first_seen_ns);
        match cataloged {
            Some(_) => tick.catalog.update_row(&row),
            None => tick.catalog.insert_row(&row),
        }
    }

    /// Starts the work on the library: the lease is held and the catalog is complete. Returns the
    /// position of the last applied outcome, and the new lease epoch.
    pub fn activate_library(
        &mut self,
        tick: &mut Tick<'_>,
    ) -> Result<(Option<StreamPosition>, u64)> {
        tick.catalog.increment_lease_epoch(self.key)?;
        self.lease_state = LeaseState::Active;
        self.scanned_once = false;
        self.is_fully_scanned = false;
        self.active_since_ns = tick.now.wall_nanos();
        self.clear_degraded("standby");
        self.clear_degraded("recovering");
        self.plan_full_scan("the library was activated", tick);
        let record = tick.catalog.library_record(self.key)?;
        Ok((record.outcomes_read, record.lease_epoch))
    }
}
