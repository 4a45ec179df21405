//! Places that the system does not let the watcher read: folders without the right to list or to
//! enter them, failing disks, files with rules that may not be read.
//!
//! What the catalog lists there stays, because an error does not show what exists. What it does not
//! list is listed as failed, as far as its name is known. The system need not report the end of a
//! cause (a user joins a group), so each place is checked every few seconds.

use std::fs;
use std::io;
use std::path::Path;

use super::scan_queue::Scan;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{CatalogRow, FileState};
use crate::disk::{self, FileStat};
use crate::metrics;
use crate::paths::{is_at_or_below, split_path};
use crate::rules;

/// The code of files and folders that the system does not let the watcher read.
const CODE: &str = "unreadable";

const REASON: &str = "unreadable";

impl Library {
    /// Records that the system refuses to read a place.
    pub(super) fn report_unreadable(&mut self, path: &[u8], error: &io::Error, tick: &Tick<'_>) {
        // Files of one folder share the cause.
        let (folder, _) = split_path(path);
        let is_in_unreadable_folder = !folder.is_empty() && self.unreadable.contains(folder);
        if !is_in_unreadable_folder {
            self.unreadable.insert(path, error);
        }
        self.report_unreadable_places(tick);
    }

    fn report_unreadable_places(&mut self, tick: &Tick<'_>) {
        match self.unreadable.describe() {
            Some(detail) => self.set_degraded(REASON, detail, tick),
            None => self.clear_degraded(REASON),
        }
    }

    /// Lists a folder as failed that cannot be listed or entered. What the catalog lists below it
    /// counts as found.
    pub(super) fn record_unreadable_folder(
        &mut self,
        scan: &mut Scan,
        path: &[u8],
        error: &io::Error,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        scan.unvisited_folders
            .retain(|folder| !is_at_or_below(folder, path));
        self.watch_schedule.watches.mark_seen_below(path);
        self.report_unreadable(path, error, tick);
        scan.file_count += tick.catalog.count_files_below(self.key, path)?;
        if path.is_empty() {
            return Ok(());
        }
        scan.file_count += 1;
        match self.row_at(path, tick.catalog)? {
            Some(row) if is_unread_row(&row) => return Ok(()),
            // A file was there before.
            Some(row) => self.record_missing_file(row, tick)?,
            None => {}
        }
        let detail = format!(
            "This folder cannot be read ({error}), so that lookalike does not see what is in it. \
             Let the user that runs lookalike list and enter it (chmod, chown), or check the disk."
        );
        self.insert_unread_row(path, detail, tick)
    }

    /// Lists a file whose folder may be listed but not entered. What the catalog lists already
    /// keeps its state.
    pub(super) fn record_unreadable_file(
        &mut self,
        path: &[u8],
        error: &io::Error,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let (folder, _) = split_path(path);
        self.report_unreadable(folder, error, tick);
        if self.row_at(path, tick.catalog)?.is_some() {
            return Ok(());
        }
        let stat = FileStat::UNKNOWN;
        if let Some(reason) = rules::ignore_reason(path, stat.size, tick.settings) {
            return self.record_ignored(path, stat, &reason, tick);
        }
        let detail = format!(
            "Its folder may be listed but not entered ({error}). Let the user that runs lookalike \
             enter it (chmod, chown)."
        );
        self.insert_unread_row(path, detail, tick)
    }

    fn insert_unread_row(
        &mut self,
        path: &[u8],
        detail: String,
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        let mut row = self.new_row(path, FileStat::UNKNOWN, tick.catalog, tick.now)?;
        row.state = FileState::Failed;
        row.code = CODE.to_owned();
        row.detail = detail;
        metrics::FAILURES
            .with_label_values(&[metrics::code_label(CODE)])
            .inc();
        tick.catalog.insert_row(&row)
    }

    /// Records that a place can be read, or does not exist any more.
    pub(super) fn forget_unreadable(&mut self, path: &[u8], tick: &mut Tick<'_>) -> Result<()> {
        if !self.unreadable.remove(path) {
            return Ok(());
        }
        self.report_unreadable_places(tick);
        // The row of a file is replaced when the file is observed.
        if !path.is_empty()
            && let Some(row) = self.row_at(path, tick.catalog)?
            && is_unread_row(&row)
            && !self.full_path(path).is_file()
        {
            tick.catalog.delete_row(&row.id)?;
        }
        Ok(())
    }

    /// Records that a folder can be read if it could not be before. That it can be listed does not
    /// prove it.
    pub(super) fn forget_readable_folder(
        &mut self,
        path: &[u8],
        tick: &mut Tick<'_>,
    ) -> Result<()> {
        if self.unreadable.contains(path) && can_be_read(&self.full_path(path)) {
            self.forget_unreadable(path, tick)?;
        }
        Ok(())
    }

    /// Checks some of the places that could not be read, and scans those that can be.
    pub fn check_unreadable_places(&mut self, tick: &mut Tick<'_>) -> Result<()> {
        if !self.is_active() || !self.root.is_present() {
            return Ok(());
        }
        for path in self.unreadable.take_due_places(tick.now.mono) {
            if !can_be_read(&self.full_path(&path)) {
                continue;
            }
            self.forget_unreadable(&path, tick)?;
            let is_folder = self.full_path(&path).is_dir();
            let folder = match is_folder {
                true => &path[..],
                false => split_path(&path).0,
            };
            self.plan_scan_below(folder, tick);
        }
        Ok(())
    }
}

/// Whether a row lists what was never read, so that no event of it was sent.
fn is_unread_row(row: &CatalogRow) -> bool {
    row.state == FileState::Failed && row.code == CODE && !row.was_sent
}

/// Whether a folder can be listed and entered, or a file be read; true if nothing exists there.
fn can_be_read(path: &Path) -> bool {
    let read = || -> io::Result<()> {
        if !fs::symlink_metadata(path)?.is_dir() {
            return fs::File::open(path).map(drop);
        }
        fs::read_dir(path)?.next().transpose()?;
        fs::symlink_metadata(path.join(".")).map(drop)
    };
    read().map_or_else(|error| disk::is_not_found(&error), |()| true)
}
