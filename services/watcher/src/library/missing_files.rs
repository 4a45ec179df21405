//! Vanished: what is not where it was. It may turn up elsewhere, or its copy may; only when
//! neither does, the index is told. Where the root itself is gone, nothing vanished.

use crate::catalog::{self, CatalogRow, FileState};
use crate::disk::{FileKind, FolderIdentity};
use crate::keeper::{Keeper, Now};
use crate::library::mass_delete_guard::duration_nanos;
use crate::library::observe::{begin_generation, hash_file, split_path};
use crate::notify::filesystem;

type Result<T> = std::result::Result<T, catalog::Error>;

/// Vanished files of a library that one turn takes care of.
const MAX_REMOVALS_PER_TICK: usize = 1000;

impl Keeper {
    /// Nothing lies at `file_path`: neither a file, nor a folder with files below it.
    pub(crate) fn record_missing_path(
        &mut self,
        library: usize,
        path: &[u8],
        now: Now,
    ) -> Result<()> {
        let (dir, name) = split_path(path);
        let key = self.libraries[library].key;
        if let Some(row) = self.catalog.file_at(key, dir, name)? {
            self.record_missing_file(library, row, now)?;
        }
        self.record_missing_folder(library, path, now)
    }

    /// If no folder lies at `file_path`, the files known below it are gone.
    pub(crate) fn record_missing_folder(
        &mut self,
        library: usize,
        path: &[u8],
        now: Now,
    ) -> Result<()> {
        let key = self.libraries[library].key;
        let folders = self.catalog.folders_at_and_below(key, path)?;
        if folders.is_empty()
            || !matches!(self.stat_below_root(library, path), Ok(thing) if thing != Some(FileKind::Folder))
        {
            return Ok(());
        }
        for folder in folders {
            for name in self.catalog.file_names_in(key, &folder)? {
                if let Some(row) = self.catalog.file_at(key, &folder, &name)? {
                    self.record_missing_file(library, row, now)?;
                }
            }
        }
        Ok(())
    }

    /// A known file is not where it was. It may turn up elsewhere; only when it does not is its
    /// row removed. Where the root itself is gone, nothing vanished: the mount did.
    pub(crate) fn record_missing_file(
        &mut self,
        library: usize,
        row: CatalogRow,
        now: Now,
    ) -> Result<()> {
        if !self.is_root_present(library) {
            self.report_root_missing(library, now);
            return Ok(());
        }
        self.mark_missing(row, now)
    }

    /// A known file is not where it was, that much is sure.
    pub(crate) fn mark_missing(&mut self, mut row: CatalogRow, now: Now) -> Result<()> {
        if !row.was_sent {
            return self.catalog.delete_row(&row.id);
        }
        row.is_present = false;
        row.missing_since_ns = now.wall_nanos();
        row.is_removing = false;
        row.is_unsent = false;
        self.catalog.update_row(&row)
    }

    /// What is known at a path is not meant to be indexed any more, wherever it is: it was hidden,
    /// or is ignored by a rule. It may still turn up elsewhere.
    pub(crate) fn withdraw_row(&mut self, mut row: CatalogRow, now: Now) -> Result<()> {
        if !row.was_sent {
            return self.catalog.delete_row(&row.id);
        }
        begin_generation(&mut row, now);
        row.is_present = false;
        row.is_removing = true;
        row.missing_since_ns = now.wall_nanos();
        self.catalog.update_row(&row)
    }

    /// Tells the index of files that vanished and did not turn up elsewhere.
    pub(crate) fn remove_missing_files(&mut self, now: Now) -> Result<()> {
        // A scan that was planned before may still find them.
        let oldest_scan = self.scans.oldest_planned_ns().unwrap_or(i64::MAX);
        let grace = duration_nanos(self.settings.move_grace);
        let before = now.wall_nanos().min(oldest_scan).saturating_sub(grace);
        for library in 0..self.libraries.len() {
            if !self.is_active(library) {
                continue;
            }
            let key = self.libraries[library].key;
            match self.catalog.first_missing_ns(key)? {
                None => self.release_guard(library),
                Some(_) => {
                    if self.catalog.last_missing_ns(key)? > Some(now.wall_nanos()) {
                        // The clock was set back since.
                        self.catalog.cap_missing_since(key, now.wall_nanos())?;
                    }
                    self.remove_missing_files_of(library, before, now)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn remove_missing_files_of(
        &mut self,
        library: usize,
        before: i64,
        now: Now,
    ) -> Result<()> {
        let key = self.libraries[library].key;
        let start = (i64::MIN, 0);
        if self.catalog.missing_rows(key, start, before, 1)?.is_empty() {
            return Ok(());
        }
        let Some(held_since) = self.update_guard(library, before, now)? else {
            let mut removed = 0;
            for (_, row) in self
                .catalog
                .missing_rows(key, start, before, MAX_REMOVALS_PER_TICK)?
            {
                removed += u64::from(self.remove_unless_copied(row, true, before, now)?);
            }
            let brake = &mut self.libraries[library].mass_delete_guard;
            brake.record_removed(removed, now.mono);
            return Ok(());
        };
        // Those that waited long enough go. The others stay, unless they were moved by copying.
        let waited = before.min(held_since);
        for (_, row) in self
            .catalog
            .missing_rows(key, start, waited, MAX_REMOVALS_PER_TICK)?
        {
            self.remove_unless_copied(row, true, before, now)?;
        }
        let looked = self.libraries[library]
            .mass_delete_guard
            .copies_checked_until
            .unwrap_or(start);
        let looked = looked.max((waited, 0));
        for (number, row) in
            self.catalog
                .missing_rows(key, looked, before, MAX_REMOVALS_PER_TICK)?
        {
            self.libraries[library]
                .mass_delete_guard
                .copies_checked_until = Some((row.missing_since_ns, number));
            self.remove_unless_copied(row, false, before, now)?;
        }
        Ok(())
    }

    /// A vanished image lies where its copy lies, if there is one; else, if it is to go, the index
    /// is told.
    pub(crate) fn remove_unless_copied(
        &mut self,
        mut row: CatalogRow,
        is_to_go: bool,
        before: i64,
        now: Now,
    ) -> Result<bool> {
        // A copy of the file may be complete and not settled; but other files of its size must
        // not keep it for ever.
        let patience =
            before.saturating_sub(duration_nanos(self.settings.settle).saturating_mul(4));
        let is_recent = row.missing_since_ns > patience;
        if self.settling.contains_file(&row.stat)
            || (is_recent && self.settling.contains_size(row.stat.size))
        {
            return Ok(false);
        }
        if let Some(copy) = self.find_copy(&row)? {
            self.merge_copy(row, copy, now)?;
            return Ok(false);
        }
        if !is_to_go {
            return Ok(false);
        }
        let noticed = row.missing_since_ns;
        begin_generation(&mut row, now);
        row.observed_ns = noticed;
        row.is_removing = true;
        self.catalog.update_row(&row)?;
        Ok(true)
    }

    /// The file that a vanished one was copied to just before it was deleted, as `mv` does to
    /// another file system: it has the same bytes, was made after the vanished one was known,
    /// and was first seen shortly before that vanished.
    pub(crate) fn find_copy(&mut self, row: &CatalogRow) -> Result<Option<CatalogRow>> {
        const MAX_COPY_AGE_NS: i64 = 600_000_000_000;
        let Some(hash) = row.content_hash else {
            return Ok(None);
        };
        let since = row
            .missing_since_ns
            .saturating_sub(MAX_COPY_AGE_NS)
            .max(row.first_seen_ns);
        for copy in self.catalog.new_rows_of_size(row.stat.size, since)? {
            let made_ns = match copy.stat.born_ns {
                0 => copy.stat.ctime_ns,
                born_ns => born_ns,
            };
            if copy.state == FileState::Ignored || made_ns <= row.first_seen_ns {
                continue;
            }
            let Some(library) = self
                .libraries
                .iter()
                .position(|held| held.key == copy.library)
                .filter(|library| !self.is_standby(*library))
            else {
                continue;
            };
            let path = copy.path();
            let is_same = match copy.content_hash {
                Some(known) => known == hash,
                None => hash_file(&self.full_path(library, &path)).is_ok_and(|read| read == hash),
            };
            if is_same {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }

    /// The vanished image lies where its copy lies; what was given to the copy goes.
    pub(crate) fn merge_copy(
        &mut self,
        mut row: CatalogRow,
        mut copy: CatalogRow,
        now: Now,
    ) -> Result<()> {
        tracing::debug!(image = %row.id, copy = %copy.id, "a file was moved by copying it");
        row.library = copy.library;
        row.dir.clone_from(&copy.dir);
        row.name.clone_from(&copy.name);
        row.is_present = true;
        row.missing_since_ns = 0;
        let facts = copy.stat;
        if copy.was_sent {
            begin_generation(&mut copy, now);
            copy.is_present = false;
            copy.is_removing = true;
            copy.missing_since_ns = now.wall_nanos();
            self.catalog.update_row(&copy)?;
        } else {
            self.catalog.delete_row(&copy.id)?;
        }
        self.record_change(row, facts, now)
    }

    /// Whether the root is the folder that the known files were last seen in.
    pub(crate) fn is_root_present(&self, library: usize) -> bool {
        let held = &self.libraries[library];
        let Some(there) = FolderIdentity::from_path(&held.root) else {
            return false;
        };
        let is_as_before = || {
            let is_told = there.born_ns != 0 || held.mount_id.is_none();
            is_told || held.is_on_same_mount(&there, filesystem::mount_id(&held.root))
        };
        held.root_identity
            .is_none_or(|known| known.is_same_folder(&there) && is_as_before())
    }

    pub(crate) fn report_root_missing(&mut self, library: usize, now: Now) {
        self.libraries[library].is_fully_scanned = false;
        if !self.libraries[library]
            .degraded
            .contains_key("root_missing")
        {
            self.set_degraded(
                library,
                "root_missing",
                self.root_missing_detail(library),
                now,
            );
        }
    }

    pub(crate) fn root_missing_detail(&self, library: usize) -> String {
        let held = &self.libraries[library];
        format!(
            "{} is gone, or another folder now lies there. Nothing is removed from the index \
             until the one that was indexed is back, or `lookalike confirm {}` says that this \
             one is meant.",
            held.root.display(),
            held.name
        )
    }
}
