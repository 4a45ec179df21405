//! Observe: look at one path, compare with the catalog, write down what that means.
//!
//! Images keep their ids through moves and edits. What lies at a path is, in this order: what
//! lay there (edited or not); an image that lay elsewhere and does not any more, known by its
//! inode; what lay there once and was gone; an image that vanished and had these very bytes;
//! else something new.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lookalike_proto::{ContentHash, Generation, ImageId};

use crate::catalog::{self, CatalogRow, FileState};
use crate::disk::{self, FileKind, FileStat};
use crate::keeper::{Keeper, Now};
use crate::rules::{self, IgnoreReason};

type Result<T> = std::result::Result<T, catalog::Error>;

impl Keeper {
    pub(crate) fn full_path(&self, library: usize, path: &[u8]) -> PathBuf {
        self.libraries[library].root.join(OsStr::from_bytes(path))
    }

    /// What lies at `file_path`. What only a symbolic link leads to does not lie there.
    ///
    /// # Errors
    /// When the system can't tell.
    pub(crate) fn stat_below_root(
        &mut self,
        library: usize,
        path: &[u8],
    ) -> io::Result<Option<FileKind>> {
        let (dir, _) = split_path(path);
        let is_plain = |(held, plain): &(usize, Vec<u8>)| *held == library && plain == dir;
        if !dir.is_empty() && !self.verified_folder.as_ref().is_some_and(is_plain) {
            for end in 1..=dir.len() {
                let is_part = end == dir.len() || dir[end] == b'/';
                if is_part
                    && disk::stat_path(&self.full_path(library, &dir[..end]))?
                        != Some(FileKind::Folder)
                {
                    return Ok(None);
                }
            }
            self.verified_folder = Some((library, dir.to_vec()));
        }
        disk::stat_path(&self.full_path(library, path))
    }

    /// Looks at what lies at `file_path` now, and at the places that were left for it. `complete`:
    /// whoever wrote it is known to have finished.
    pub(crate) fn observe_path(
        &mut self,
        library: usize,
        path: &[u8],
        complete: bool,
        now: Now,
    ) -> Result<()> {
        if !self.is_root_present(library) {
            // Whatever lies there now is nobody's business until the root is known to be right.
            self.report_root_missing(library, now);
            return Ok(());
        }
        self.libraries[library].observation_count += 1;
        self.observe_single_path(library, path, complete, now)?;
        while let Some((library, path)) = self.vacated_paths.pop() {
            self.observe_single_path(library, &path, false, now)?;
        }
        Ok(())
    }

    pub(crate) fn observe_single_path(
        &mut self,
        library: usize,
        path: &[u8],
        complete: bool,
        now: Now,
    ) -> Result<()> {
        let key = (library, path.to_vec());
        let (dir, name) = split_path(path);
        let Some(rules) = self.rules_if_entered(library, dir, now) else {
            // Its folder is not entered (any more): what is known of it leaves the index.
            self.settling.forget_file(&key);
            let row = self
                .catalog
                .file_at(self.libraries[library].key, dir, name)?;
            return row.map_or(Ok(()), |row| self.withdraw_row(row, now));
        };
        let thing = match self.stat_below_root(library, path) {
            Ok(thing) => thing,
            Err(error) => {
                // "Can't tell" is not "gone": what is known stays until it can be told.
                self.settling.forget_file(&key);
                self.report_unreadable(library, path, &error, now);
                return Ok(());
            }
        };
        match thing {
            None => {
                self.settling.forget_file(&key);
                self.record_missing_path(library, path, now)
            }
            Some(FileKind::Folder) => {
                self.settling.forget_file(&key);
                if let Some(row) = self
                    .catalog
                    .file_at(self.libraries[library].key, dir, name)?
                {
                    self.record_missing_file(library, row, now)?;
                }
                if rules::is_entered_folder(name) && rules.find_ignoring_rule(path, true).is_none()
                {
                    self.scans
                        .plan_folder_scan(library, path, self.settings.settle, now);
                } else {
                    self.libraries[library]
                        .watch_schedule
                        .watches
                        .remove_watches_below(path);
                }
                Ok(())
            }
            Some(FileKind::Other {
                is_symlink: link,
                stat: facts,
            }) => {
                let reason = rules::special_file_reason(link);
                self.record_ignored(library, path, facts, reason, now)
            }
            Some(FileKind::File(facts)) => {
                let limit = self.settings.max_file_bytes;
                let by_rule = || {
                    rules
                        .find_ignoring_rule(path, false)
                        .map(IgnoreReason::IgnoreFileRule)
                };
                if let Some(reason) = rules::ignore_reason(path, facts.size, limit).or_else(by_rule)
                {
                    return self.record_ignored(library, path, facts, reason, now);
                }
                self.observe_file(key, facts, complete, now)
            }
        }
    }

    pub(crate) fn observe_file(
        &mut self,
        key: (usize, Vec<u8>),
        facts: FileStat,
        complete: bool,
        now: Now,
    ) -> Result<()> {
        let (library, path) = (key.0, key.1.clone());
        let is_settled = complete || self.is_quiet(&facts, now) || self.is_only_renamed(&facts)?;
        if self.is_cataloged(library, &path, &facts)? || is_settled {
            self.settling.forget_file(&key);
            return self.record_settled_file(library, &path, facts, complete, now);
        }
        match self.settling.check_settled(key, facts, now.mono) {
            Some(true) => self.record_settled_file(library, &path, facts, complete, now),
            Some(false) => Ok(()),
            None => {
                tracing::debug!("too many files are being written, comparing the folder later");
                self.scans
                    .plan_full_scan_later(library, self.settings.settle, now);
                Ok(())
            }
        }
    }

    /// Nothing was done to the inode for a while, so nobody is writing. The system sets ctime,
    /// so no program can fake it; one in the future (a clock was set back) tells nothing.
    pub(crate) fn is_quiet(&self, facts: &FileStat, now: Now) -> bool {
        let quiet = i64::try_from(self.settings.quiet.as_nanos()).unwrap_or(i64::MAX);
        facts.ctime_ns <= now.wall_nanos() - quiet
    }

    /// A known file whose content did not change: a rename is complete when it is seen.
    pub(crate) fn is_only_renamed(&self, facts: &FileStat) -> Result<bool> {
        let rows = self.catalog.rows_of_inode(facts)?;
        let same = |row: &CatalogRow| {
            row.stat.size == facts.size
                && row.stat.mtime_ns == facts.mtime_ns
                && !row.state.is_excluded()
        };
        Ok(rows.iter().any(same))
    }

    pub(crate) fn is_cataloged(
        &self,
        library: usize,
        path: &[u8],
        facts: &FileStat,
    ) -> Result<bool> {
        let (dir, name) = split_path(path);
        let row = self
            .catalog
            .file_at(self.libraries[library].key, dir, name)?;
        Ok(row.is_some_and(|row| {
            row.state != FileState::Ignored && facts.is_unchanged_since(&row.stat)
        }))
    }

    /// A complete file lies at `file_path`; write it down if the catalog does not say so yet.
    /// `written`: somebody has just finished writing it.
    pub(crate) fn record_settled_file(
        &mut self,
        library: usize,
        path: &[u8],
        facts: FileStat,
        written: bool,
        now: Now,
    ) -> Result<()> {
        let (dir, name) = split_path(path);
        let key = self.libraries[library].key;
        if let Some(mut row) = self.catalog.file_at(key, dir, name)? {
            let is_unchanged =
                facts.is_unchanged_since(&row.stat) && row.state != FileState::Ignored;
            if is_unchanged && !(written && facts.may_hide_change(now.wall_nanos())) {
                if facts != row.stat {
                    // Mounted anew: the same file under another device number.
                    row.stat = facts;
                    self.catalog.update_row(&row)?;
                }
                return Ok(());
            }
            if !facts.is_same_inode(&row.stat)
                && let Some(mover) = self.find_moved_row(library, path, &facts)?
                && mover.was_sent
            {
                // Another known image was put in this one's place (or the two were swapped).
                // One that nobody was told of may be a program's way to save this one.
                self.mark_missing(row, now)?;
                return self.move_row(mover, library, path, facts, now);
            }
            // Edited in place, or replaced as editors do: the same image with other content.
            self.queue_hard_links(library, path, &facts)?;
            return self.record_change(row, facts, now);
        }
        if let Some(mover) = self.find_moved_row(library, path, &facts)? {
            return self.move_row(mover, library, path, facts, now);
        }
        if let Some(row) = self.catalog.missing_file_at(key, dir, name)? {
            return self.move_row(row, library, path, facts, now);
        }
        if let Some(mover) = self.find_copied_row(library, path, &facts)? {
            return self.move_row(mover, library, path, facts, now);
        }
        let mut row = self.new_row(library, path, facts, now)?;
        begin_generation(&mut row, now);
        self.catalog.insert_row(&row)
    }

    /// The system tells of the name only that a file was written through: its other names (hard
    /// links) are looked at as well.
    pub(crate) fn queue_hard_links(
        &mut self,
        library: usize,
        path: &[u8],
        facts: &FileStat,
    ) -> Result<()> {
        for other in self.catalog.rows_of_inode(facts)? {
            let holder = self.libraries.iter().position(|l| l.key == other.library);
            if let Some(holder) = holder.filter(|_| other.is_present && other.stat != *facts)
                && (holder, &other.path()[..]) != (library, path)
            {
                self.vacated_paths.push((holder, other.path()));
            }
        }
        Ok(())
    }

    /// The image that was this very inode and does not lie any more where it lay.
    pub(crate) fn find_moved_row(
        &mut self,
        library: usize,
        path: &[u8],
        facts: &FileStat,
    ) -> Result<Option<CatalogRow>> {
        for row in self.catalog.rows_of_inode(facts)? {
            if row.state == FileState::Ignored && !row.was_sent {
                continue; // Nobody knows its id.
            }
            if self.is_in_standby_library(&row) {
                continue;
            }
            if !row.is_present || self.has_left_path(library, path, &row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The image that vanished and had these very bytes: a move to another file system, or one
    /// where inodes are not kept. Only where a file of this size vanished are the bytes read.
    pub(crate) fn find_copied_row(
        &mut self,
        library: usize,
        path: &[u8],
        facts: &FileStat,
    ) -> Result<Option<CatalogRow>> {
        let mut rows = self.catalog.hashed_rows_of_size(facts.size)?;
        rows.retain(|row| !self.is_in_standby_library(row));
        rows.retain(|row| !row.is_present || self.has_left_path(library, path, row));
        if rows.is_empty() {
            return Ok(None);
        }
        let Ok(hash) = hash_file(&self.full_path(library, path)) else {
            return Ok(None);
        };
        rows.retain(|row| row.content_hash == Some(hash));
        // Of several with these bytes, the one of this name.
        let (_, name) = split_path(path);
        let same_name = rows.iter().position(|row| row.name == name).unwrap_or(0);
        Ok(rows.into_iter().nth(same_name))
    }

    /// Whether another watcher holds a row's library: it knows better what became of the file.
    pub(crate) fn is_in_standby_library(&self, row: &CatalogRow) -> bool {
        let holder = self.libraries.iter().position(|l| l.key == row.library);
        holder.is_some_and(|holder| self.is_standby(holder))
    }

    /// Whether a row's file lies no more where the catalog has it (and that is not `file_path`).
    pub(crate) fn has_left_path(&mut self, library: usize, path: &[u8], row: &CatalogRow) -> bool {
        let Some(other) = self
            .libraries
            .iter()
            .position(|held| held.key == row.library)
        else {
            return false; // Not watched by this process: it can't tell.
        };
        if other == library && row.path() == path {
            return false;
        }
        match self.stat_below_root(other, &row.path()) {
            Ok(None) => self.is_root_present(other),
            Ok(Some(FileKind::File(there))) if row.stat.is_from_index() => {
                !there.matches_index_stat(&row.stat)
            }
            Ok(Some(FileKind::File(there))) => !there.is_same_inode(&row.stat),
            Ok(Some(_)) => true,
            Err(_) => false,
        }
    }

    pub(crate) fn move_row(
        &mut self,
        mut row: CatalogRow,
        library: usize,
        path: &[u8],
        facts: FileStat,
        now: Now,
    ) -> Result<()> {
        let (from_library, from_path, was_present) = (row.library, row.path(), row.is_present);
        let (dir, name) = split_path(path);
        row.library = self.libraries[library].key;
        row.dir = dir.to_vec();
        row.name = name.to_vec();
        row.is_present = true;
        row.missing_since_ns = 0;
        row.is_removing = false;
        self.record_change(row, facts, now)?;
        // Something else may lie where it lay.
        let from = self
            .libraries
            .iter()
            .position(|held| held.key == from_library);
        if let (Some(from), true) = (from, was_present)
            && (from, &from_path[..]) != (library, path)
        {
            // Not looked at right here: a chain of renames may be as long as the folder.
            self.vacated_paths.push((from, from_path));
        }
        Ok(())
    }

    pub(crate) fn record_change(
        &mut self,
        mut row: CatalogRow,
        facts: FileStat,
        now: Now,
    ) -> Result<()> {
        row.stat = facts;
        begin_generation(&mut row, now);
        self.catalog.update_row(&row)
    }

    /// A new row, not written yet, with an id that nobody has.
    pub(crate) fn new_row(
        &self,
        library: usize,
        path: &[u8],
        facts: FileStat,
        now: Now,
    ) -> Result<CatalogRow> {
        let (dir, name) = split_path(path);
        let held = &self.libraries[library];
        let mut ordinal = 0;
        let id = loop {
            let id = ImageId::for_new_file(&held.name, path, ordinal);
            if self.catalog.row_by_id(&id)?.is_none() {
                break id;
            }
            ordinal += 1;
        };
        Ok(CatalogRow {
            id,
            library: held.key,
            dir: dir.to_vec(),
            name: name.to_vec(),
            is_present: true,
            missing_since_ns: 0,
            is_removing: false,
            stat: facts,
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

    /// What lies at `file_path` is not meant to be indexed: list it, and take out what was.
    pub(crate) fn record_ignored(
        &mut self,
        library: usize,
        path: &[u8],
        facts: FileStat,
        reason: IgnoreReason,
        now: Now,
    ) -> Result<()> {
        self.settling.forget_file(&(library, path.to_vec()));
        let (dir, name) = split_path(path);
        let known = self
            .catalog
            .file_at(self.libraries[library].key, dir, name)?;
        let is_new = known.is_none();
        let mut row = match known {
            Some(row)
                if row.state == FileState::Ignored
                    && row.code == reason.code()
                    && facts.is_unchanged_since(&row.stat) =>
            {
                return Ok(());
            }
            Some(row) => row,
            None => self.new_row(library, path, facts, now)?,
        };
        row.stat = facts;
        if row.state != FileState::Ignored && row.was_sent {
            begin_generation(&mut row, now);
        } else if row.state != FileState::Ignored {
            row.is_unsent = false;
        }
        row.state = FileState::Ignored;
        row.code = reason.code().to_owned();
        row.detail = reason.detail().into_owned();
        row.state_since_ns = now.wall_nanos();
        if is_new {
            self.catalog.insert_row(&row)
        } else {
            self.catalog.update_row(&row)
        }
    }

    pub(crate) fn report_unreadable(
        &mut self,
        library: usize,
        path: &[u8],
        error: &io::Error,
        now: Now,
    ) {
        self.libraries[library].saw_unreadable = true;
        let detail = format!("{}: {error}", String::from_utf8_lossy(path));
        self.set_degraded(library, "unreadable", detail, now);
    }
}

/// A new generation of the row has to be sent.
pub(crate) fn begin_generation(row: &mut CatalogRow, now: Now) {
    row.generation = Generation::next_after(row.generation, now.wall);
    row.observed_ns = now.wall_nanos();
    row.is_unsent = true;
    row.send_after_ns = 0;
    row.retries = 0;
    row.attempt = 0;
    row.state = FileState::InFlight;
    row.code.clear();
    row.detail.clear();
    row.state_since_ns = now.wall_nanos();
}

/// A path's folder (empty for the root) and its last part.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(crate) fn hash_file(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}
