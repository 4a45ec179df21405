//! Inspecting one path: what one library can decide about it alone.

use std::io;

use super::rows::withdraw_row;
use super::settling::SettleResult;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{Catalog, CatalogRow, FileState};
use crate::clock::{Now, duration_nanos};
use crate::disk::{FileKind, FileStat};
use crate::ignore_files::IgnoreRules;
use crate::paths::split_path;
use crate::rules::{self, IgnoreReason};
use crate::settings::Settings;

impl Library {
    /// Looks at `path` and records everything but a complete file, whose stat it returns: it may
    /// have been moved from another library. `is_complete`: its writer is known to have finished.
    pub(super) fn inspect_path(
        &mut self,
        path: &[u8],
        is_complete: bool,
        tick: &mut Tick<'_>,
    ) -> Result<Option<FileStat>> {
        let key = (self.id, path.to_vec());
        let (dir, _) = split_path(path);
        let Some(rules) = self.rules_if_entered(dir, tick) else {
            // Its folder is not entered (any more): its row leaves the index.
            tick.settling.forget_file(&key);
            if let Some(row) = self.row_at(path, tick.catalog)? {
                withdraw_row(row, tick.catalog, tick.now)?;
            }
            return Ok(None);
        };
        let kind = match self.root.stat_below(path) {
            Ok(kind) => kind,
            Err(error) => {
                // An error does not mean that the file is gone: its row stays.
                tick.settling.forget_file(&key);
                self.report_unreadable(path, &error, tick);
                if error.kind() == io::ErrorKind::PermissionDenied
                    && self.row_at(path, tick.catalog)?.is_none()
                {
                    // Its folder may be listed but not entered: a scan lists it by its name.
                    self.plan_scan_below(dir, tick);
                }
                return Ok(None);
            }
        };
        match kind {
            None => {
                tick.settling.forget_file(&key);
                self.record_missing_path(path, tick)?;
            }
            Some(FileKind::Folder) => {
                tick.settling.forget_file(&key);
                self.inspect_folder(path, &rules, tick)?;
            }
            Some(FileKind::Other { is_symlink, stat }) => {
                let reason = rules::special_file_reason(is_symlink);
                self.record_ignored(path, stat, &reason, tick)?;
            }
            Some(FileKind::File(stat)) => {
                if let Some(reason) = self.ignore_reason(path, &stat, &rules, tick.settings) {
                    self.record_ignored(path, stat, &reason, tick)?;
                } else if self.is_settled(key, stat, is_complete, tick)? {
                    return Ok(Some(stat));
                }
            }
        }
        Ok(None)
    }

    fn inspect_folder(
        &mut self,
        path: &[u8],
        rules: &IgnoreRules,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let name = split_path(path).1;
        let is_entered = rules::is_entered_folder(name, tick.settings.enter_system_folders)
            && rules.find_ignoring_rule(path, true).is_none();
        if is_entered && self.root.is_folder_too_deep(path) {
            return self.record_deep_folder(path, tick);
        }
        if !(is_entered && self.unreadable.contains(path))
            && let Some(row) = self.row_at(path, tick.catalog)?
        {
            self.record_missing_file(row, tick)?;
        }
        if is_entered {
            tick.scans
                .plan_folder_scan(self.id, path, tick.settings.settle_interval, tick.now);
        } else {
            self.watch_schedule.watches.remove_watches_below(path);
            self.forget_unreadable(path, tick)?;
        }
        Ok(())
    }

    /// Lists a folder that is not entered because the paths in it would be too long for the system.
    pub(super) fn record_deep_folder(&mut self, path: &[u8], tick: &mut Tick<'_>) -> Result<()> {
        // Its times change with its content, and say nothing.
        let stat = FileStat::UNKNOWN;
        self.record_ignored(path, stat, &IgnoreReason::DeepFolder, tick)
    }

    /// Whether the file is complete. Otherwise it is checked again later.
    fn is_settled(
        &mut self,
        key: (super::id::LibraryId, Vec<u8>),
        stat: FileStat,
        is_complete: bool,
        tick: &mut Tick<'_>,
    ) -> Result<bool> {
        if is_complete
            || is_quiet(&stat, tick.settings, tick.now)
            || is_only_renamed(&stat, tick.catalog)?
            || self.is_cataloged(&key.1, &stat, tick.catalog)?
        {
            tick.settling.forget_file(&key);
            return Ok(true);
        }
        if tick.inbox.find_busy_file(key.0, &key.1).is_some() {
            // Its next state would be outdated before anyone reads it. It is observed when it rests.
            tick.settling.forget_file(&key);
            return Ok(false);
        }
        match tick.settling.check_settled(key, stat, tick.now.mono) {
            SettleResult::Settled => Ok(true),
            SettleResult::Waiting => Ok(false),
            SettleResult::Full => {
                tracing::debug!("too many files are being written; scanning the library later");
                tick.scans
                    .plan_full_scan_later(self.id, tick.settings.settle_interval, tick.now);
                Ok(false)
            }
        }
    }

    fn is_cataloged(&self, path: &[u8], stat: &FileStat, catalog: &Catalog) -> Result<bool> {
        let row = self.row_at(path, catalog)?;
        Ok(row.is_some_and(|row| {
            row.state != FileState::Ignored && stat.is_unchanged_since(&row.stat)
        }))
    }

    /// Lists a file that is not meant to be indexed, and removes its row from the index.
    pub(super) fn record_ignored(
        &mut self,
        path: &[u8],
        stat: FileStat,
        reason: &IgnoreReason,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        tick.settling.forget_file(&(self.id, path.to_vec()));
        let cataloged = self.row_at(path, tick.catalog)?;
        let is_new = cataloged.is_none();
        let mut row = match cataloged {
            Some(row)
                if row.state == FileState::Ignored
                    && row.code == reason.code()
                    && stat.is_unchanged_since(&row.stat) =>
            {
                return Ok(());
            }
            Some(row) => row,
            None => self.new_row(path, stat, tick.catalog, tick.now)?,
        };
        row.stat = stat;
        if row.state != FileState::Ignored && row.was_sent {
            row.begin_generation(tick.now);
        } else if row.state != FileState::Ignored {
            row.is_unsent = false;
        }
        row.state = FileState::Ignored;
        row.code = reason.code().to_owned();
        row.detail = reason.detail().into_owned();
        row.state_since_ns = tick.now.wall_nanos();
        if is_new {
            tick.catalog.insert_row(&row)?;
        } else {
            tick.catalog.update_row(&row)?;
        }
        self.resend_described_pictures(path, Some(&stat), tick)
    }

    /// Returns why a regular file is ignored, by its name, its path, its size or a rule.
    pub(super) fn ignore_reason(
        &self,
        path: &[u8],
        stat: &FileStat,
        rules: &IgnoreRules,
        settings: &Settings,
    ) -> Option<IgnoreReason> {
        if self.root.is_file_too_deep(path) {
            return Some(IgnoreReason::UnusableName);
        }
        ignore_reason(path, stat, rules, settings)
    }
}

/// Returns why a regular file is ignored, by its name and size or by a rule.
fn ignore_reason(
    path: &[u8],
    stat: &FileStat,
    rules: &IgnoreRules,
    settings: &Settings,
) -> Option<IgnoreReason> {
    let by_rule = || {
        rules
            .find_ignoring_rule(path, false)
            .map(IgnoreReason::IgnoreFileRule)
    };
    rules::ignore_reason(path, stat.size, settings).or_else(by_rule)
}

/// Whether nothing happened to the inode for a while, so that no program is writing. The system
/// sets ctime, so no program can fake it. A ctime in the future (a clock was set back) proves
/// nothing.
fn is_quiet(stat: &FileStat, settings: &Settings, now: Now) -> bool {
    stat.ctime_ns <= now.wall_nanos() - duration_nanos(settings.quiet_interval)
}

/// Whether this is a cataloged file with unchanged content: a rename is complete when it is seen.
fn is_only_renamed(stat: &FileStat, catalog: &Catalog) -> Result<bool> {
    let rows = catalog.rows_of_inode(stat)?;
    let has_same_content = |row: &CatalogRow| {
        row.stat.size == stat.size && row.stat.mtime_ns == stat.mtime_ns && !row.state.is_excluded()
    };
    Ok(rows.iter().any(has_same_content))
}
