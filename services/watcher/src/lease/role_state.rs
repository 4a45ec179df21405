//! Standing: whether this watcher holds a library, and what it takes over when it does.
//!
//! Only one watcher works on a library at a time (a lease in NATS says which). The others stand
//! by: they look at nothing and say nothing, and begin with a comparison of everything when the
//! lease is theirs. Whoever begins with a catalog that may lack something (a new one, or one that
//! stood by) first asks the index for its rows, so that images keep their ids.

use lookalike_bus::{RowSummary, StreamPosition};
use lookalike_proto::{ContentHash, Generation, RelativePath};

use crate::catalog::{self, FileState};
use crate::disk::FileStat;
use crate::keeper::{Keeper, Now};
use crate::library::mass_delete_guard::MassDeleteGuard;
use crate::library::observe::split_path;

type Result<T> = std::result::Result<T, catalog::Error>;

/// What a watcher does with a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// It is not known yet who holds it.
    Unknown,
    /// Another one holds it.
    Standby,
    /// It is held, and rows of the index are being taken over.
    Recovering,
    /// It is held.
    Active,
}

impl Keeper {
    /// Whether this watcher works on the library now.
    pub(crate) fn is_active(&self, library: usize) -> bool {
        self.libraries[library].lease_state == LeaseState::Active
    }

    /// Whether another watcher holds the library, as far as is known.
    pub(crate) fn is_standby(&self, library: usize) -> bool {
        self.libraries[library].lease_state == LeaseState::Standby
    }

    /// The library is held by somebody else.
    pub(crate) fn enter_standby(&mut self, library: usize, now: Now) {
        let held = &mut self.libraries[library];
        held.mass_delete_guard = MassDeleteGuard::default();
        held.is_fully_scanned = false;
        self.set_lease_state(library, LeaseState::Standby);
        self.clear_degraded(library, "recovering");
        self.scans.remove_library(library);
        self.libraries[library].watch_schedule.watches.remove_all();
        let detail = "Another watcher holds this library; this one takes over when that one ends.";
        self.set_degraded(library, "standby", detail.to_owned(), now);
    }

    /// The library is held by this watcher. How often that was so before, as the catalog counts
    /// it; 0 where nothing was taken over yet.
    pub(crate) fn begin_recovery(&mut self, library: usize) -> Result<u64> {
        self.set_lease_state(library, LeaseState::Recovering);
        Ok(self
            .catalog
            .library_record(self.libraries[library].key)?
            .lease_epoch)
    }

    /// Takes rows of the index over: images that the catalog does not know, and generations that
    /// it is behind of. What lies on the disk is compared with them when the library is active.
    pub(crate) fn import_index_rows(
        &mut self,
        library: usize,
        rows: &[RowSummary],
        now: Now,
    ) -> Result<()> {
        let key = self.libraries[library].key;
        for facts in rows {
            let (Ok(id), Ok(path)) = (facts.id.parse(), RelativePath::new(facts.path.clone()))
            else {
                continue; // Nothing of ours: the audit tells of it.
            };
            let generation = facts.generation.min(i64::MAX as u64 - 1);
            let generation = Generation::from_u64(generation);
            let known = self.catalog.row_by_id(&id)?;
            if known
                .as_ref()
                .is_some_and(|row| row.generation >= generation)
            {
                continue;
            }
            // Of two images at one path the newer one lies there. The older one may be found
            // elsewhere by its inode or its bytes.
            let (dir, name) = split_path(path.as_str().as_bytes());
            match self.catalog.file_at(key, dir, name)? {
                Some(other) if other.id == id => {}
                Some(other) if other.generation >= generation => continue,
                Some(other) => self.mark_missing(other, now)?,
                None => {}
            }
            let seen = FileStat {
                size: facts.bytes,
                mtime_ns: facts.modified_at_ms.saturating_mul(1_000_000),
                ..FileStat::default()
            };
            let mut row = self.new_row(library, path.as_str().as_bytes(), seen, now)?;
            row.id = id;
            row.state = FileState::Indexed;
            row.generation = generation;
            row.confirmed = generation;
            row.content_hash = facts.content_hash.parse::<ContentHash>().ok();
            row.was_sent = true;
            row.first_seen_ns = known.as_ref().map_or(0, |row| row.first_seen_ns);
            match known {
                Some(_) => self.catalog.update_row(&row)?,
                None => self.catalog.insert_row(&row)?,
            }
        }
        Ok(())
    }

    /// The library is held and its catalog is whole: from now on it is watched. Behind which
    /// outcome reading goes on, and how often it has been held by now.
    pub(crate) fn activate_library(
        &mut self,
        library: usize,
        now: Now,
    ) -> Result<(Option<StreamPosition>, u64)> {
        let key = self.libraries[library].key;
        self.catalog.increment_lease_epoch(key)?;
        self.set_lease_state(library, LeaseState::Active);
        let held = &mut self.libraries[library];
        held.scanned_once = false;
        held.is_fully_scanned = false;
        held.active_since_ns = now.wall_nanos();
        self.clear_degraded(library, "standby");
        self.clear_degraded(library, "recovering");
        self.plan_full_scan(library, "the library is held now", now);
        let root = self.catalog.library_record(key)?;
        Ok((root.outcomes_read, root.lease_epoch))
    }

    pub(crate) fn set_lease_state(&mut self, library: usize, standing: LeaseState) {
        self.libraries[library].lease_state = standing;
        self.active_keys = self
            .libraries
            .iter()
            .filter(|held| held.lease_state == LeaseState::Active)
            .map(|held| held.key)
            .collect();
    }
}
