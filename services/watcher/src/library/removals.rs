//! Removals: sends the removal of files that are missing and were not found elsewhere, unless the
//! mass-delete guard holds them back.

use super::id::LibraryId;
use super::libraries::Libraries;
use super::mass_delete_guard::{GuardState, MissingCount};
use super::rows::record_change;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{CatalogRow, MissingPosition};
use crate::clock::duration_nanos;

/// Missing files of a library that one tick handles.
const MAX_REMOVALS_PER_TICK: usize = 1000;

/// Before every missing file.
const START: MissingPosition = (i64::MIN, 0);

impl Libraries {
    /// Removes files that are missing and were not found elsewhere within their grace.
    pub fn remove_missing_files(&mut self, tick: &mut Tick<'_>) -> Result<()> {
        // A scan that was planned before may still find them.
        let oldest_scan_ns = tick.scans.oldest_planned_ns().unwrap_or(i64::MAX);
        let grace_ns = duration_nanos(tick.settings.move_timeout);
        let now_ns = tick.now.wall_nanos();
        let before_ns = now_ns.min(oldest_scan_ns).saturating_sub(grace_ns);
        for id in self.ids() {
            let library = &mut self[id];
            if !library.is_active() {
                continue;
            }
            if tick.catalog.first_missing_ns(library.key)?.is_none() {
                library.release_guard();
                continue;
            }
            if tick.catalog.last_missing_ns(library.key)? > Some(now_ns) {
                // The clock was set back since.
                tick.catalog.backdate_missing_files(library.key, now_ns)?;
            }
            self.remove_missing_files_of(id, before_ns, tick)?;
        }
        Ok(())
    }

    fn remove_missing_files_of(
        &mut self,
        id: LibraryId,
        before_ns: i64,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let key = self[id].key;
        let limit = MAX_REMOVALS_PER_TICK;
        if tick
            .catalog
            .missing_rows(key, START, before_ns, 1)?
            .is_empty()
        {
            return Ok(());
        }
        let Some(release_before_ns) = self[id].update_guard(before_ns, tick)? else {
            let mut removed = 0;
            for (_, row) in tick.catalog.missing_rows(key, START, before_ns, limit)? {
                removed += u64::from(self.remove_unless_copied(row, true, before_ns, tick)?);
            }
            let guard = &mut self[id].mass_delete_guard;
            guard.record_removed(removed, tick.now.mono);
            return Ok(());
        };
        // Files held for long enough are removed. The others stay, unless they were moved by
        // copying.
        let released_ns = before_ns.min(release_before_ns);
        for (_, row) in tick.catalog.missing_rows(key, START, released_ns, limit)? {
            self.remove_unless_copied(row, true, before_ns, tick)?;
        }
        let checked = self[id].mass_delete_guard.next_copy_check(START);
        let checked = checked.max((released_ns, 0));
        for (number, row) in tick.catalog.missing_rows(key, checked, before_ns, limit)? {
            let guard = &mut self[id].mass_delete_guard;
            guard.set_copies_checked((row.missing_since_ns, number));
            self.remove_unless_copied(row, false, before_ns, tick)?;
        }
        Ok(())
    }

    /// Moves a missing image to its copy if there is one. Otherwise, if it `is_released`, sends
    /// its removal and returns true.
    fn remove_unless_copied(
        &mut self,
        mut row: CatalogRow,
        is_released: bool,
        before_ns: i64,
        tick: &mut Tick<'_>,
    ) -> Result<bool> {
        // A copy of the file may be complete and not settled yet. Other files of its size must not
        // delay the removal forever.
        let settle_ns = duration_nanos(tick.settings.settle_interval).saturating_mul(4);
        let is_recent = row.missing_since_ns > before_ns.saturating_sub(settle_ns);
        if tick.settling.contains_file(&row.stat)
            || (is_recent && tick.settling.contains_size(row.stat.size))
        {
            return Ok(false);
        }
        if let Some(copy) = self.find_copy(&row, tick.catalog)? {
            merge_copy(row, copy, tick)?;
            return Ok(false);
        }
        if !is_released {
            return Ok(false);
        }
        let missing_since_ns = row.missing_since_ns;
        row.begin_generation(tick.now);
        row.observed_ns = missing_since_ns;
        row.is_removing = true;
        tick.catalog.update_row(&row)?;
        Ok(true)
    }
}

/// Moves a missing image to its copy, and removes the image that the copy was.
fn merge_copy(mut row: CatalogRow, mut copy: CatalogRow, tick: &mut Tick<'_>) -> Result<()> {
    tracing::debug!(image = %row.id, copy = %copy.id, "a file was moved by copying it");
    row.library = copy.library;
    row.dir.clone_from(&copy.dir);
    row.name.clone_from(&copy.name);
    row.is_present = true;
    row.missing_since_ns = 0;
    let stat = copy.stat;
    if copy.was_sent {
        copy.begin_removal(tick.now);
        tick.catalog.update_row(&copy)?;
    } else {
        tick.catalog.delete_row(&copy.id)?;
    }
    record_change(row, stat, tick.catalog, tick.now)
}

impl Library {
    /// Updates the mass-delete guard and the degraded reason `mass_delete`. Rows that went missing
    /// before the returned time are removed although files are held back; `None`: none is held.
    fn update_guard(&mut self, before_ns: i64, tick: &mut Tick<'_>) -> Result<Option<i64>> {
        let guard = &mut self.mass_delete_guard;
        let count =
            guard.recount_if_due(self.key, before_ns, tick.catalog, tick.settings, tick.now)?;
        match count {
            None => {}
            Some(count) if count.state == GuardState::Holding => {
                self.report_mass_delete(&count, tick);
            }
            Some(_) => self.clear_degraded("mass_delete"),
        }
        Ok(self
            .mass_delete_guard
            .removal_cutoff_ns(tick.settings, tick.now))
    }

    fn report_mass_delete(&mut self, count: &MissingCount, tick: &Tick<'_>) {
        let detail = format!(
            "{} of {} files are missing. They stay in the index until they are back, `lookalike \
             confirm {}` confirms their deletion, or {} minutes are over \
             (watch.mass_delete_confirm_after).",
            count.missing,
            count.total,
            self.name,
            tick.settings
                .mass_delete_confirm_after
                .as_secs()
                .div_ceil(60)
        );
        self.set_degraded("mass_delete", detail, tick);
    }

    fn release_guard(&mut self) {
        self.mass_delete_guard.release_files();
        self.clear_degraded("mass_delete");
    }

    /// Confirms the deletion of what is missing now and of what the next full scan finds missing.
    pub(super) fn confirm_missing_files(&mut self, tick: &mut Tick<'_>) -> Result<()> {
        self.mass_delete_guard.confirm_deletion();
        self.expire_missing_files(tick)
    }

    /// After a full scan: applies a confirmation to what the scan found missing.
    pub(super) fn apply_confirmation(&mut self, tick: &mut Tick<'_>) -> Result<()> {
        if self.mass_delete_guard.take_confirmation() {
            self.expire_missing_files(tick)?;
        }
        Ok(())
    }

    /// Dates the missing files back in the catalog, as if they had been held for long enough.
    fn expire_missing_files(&mut self, tick: &mut Tick<'_>) -> Result<()> {
        self.mass_delete_guard.reset_counts();
        let confirm_after_ns = duration_nanos(tick.settings.mass_delete_confirm_after);
        let expired_ns = tick.now.wall_nanos().saturating_sub(confirm_after_ns) - 1;
        tick.catalog.backdate_missing_files(self.key, expired_ns)
    }
}
