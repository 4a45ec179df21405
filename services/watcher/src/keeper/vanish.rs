//! Vanished: what is not where it was. It may turn up elsewhere, or its copy may; only when
//! neither does, the index is told. Where the root itself is gone, nothing vanished.

use super::brake::nanos;
use super::observe::{hash_file, send, split};
use super::{Keeper, Now};
use crate::catalog::{self, Row, State};
use crate::disk::{Identity, Thing};
use crate::filesystem;

type Result<T> = std::result::Result<T, catalog::Error>;

/// Vanished files of a library that one turn takes care of.
const A_TURN: usize = 1000;

impl Keeper {
    /// Nothing lies at `path`: neither a file, nor a folder with files below it.
    pub(super) fn gone(&mut self, library: usize, path: &[u8], now: Now) -> Result<()> {
        let (dir, name) = split(path);
        let key = self.libraries[library].key;
        if let Some(row) = self.catalog.at(key, dir, name)? {
            self.vanish(library, row, now)?;
        }
        self.not_a_folder_any_more(library, path, now)
    }

    /// If no folder lies at `path`, the files known below it are gone.
    pub(super) fn not_a_folder_any_more(
        &mut self,
        library: usize,
        path: &[u8],
        now: Now,
    ) -> Result<()> {
        let key = self.libraries[library].key;
        let folders = self.catalog.folders_below(key, path)?;
        if folders.is_empty()
            || !matches!(self.look(library, path), Ok(thing) if thing != Some(Thing::Folder))
        {
            return Ok(());
        }
        for folder in folders {
            for name in self.catalog.names_in(key, &folder)? {
                if let Some(row) = self.catalog.at(key, &folder, &name)? {
                    self.vanish(library, row, now)?;
                }
            }
        }
        Ok(())
    }

    /// A known file is not where it was. It may turn up elsewhere; only when it does not is its
    /// row removed. Where the root itself is gone, nothing vanished: the mount did.
    pub(super) fn vanish(&mut self, library: usize, row: Row, now: Now) -> Result<()> {
        if !self.root_is_there(library) {
            self.root_is_missing(library, now);
            return Ok(());
        }
        self.displace(row, now)
    }

    /// A known file is not where it was, that much is sure.
    pub(super) fn displace(&mut self, mut row: Row, now: Now) -> Result<()> {
        if !row.told {
            return self.catalog.delete(&row.id);
        }
        row.present = false;
        row.missing_since_ns = now.nanos();
        row.removing = false;
        row.unsent = false;
        self.catalog.update(&row)
    }

    /// What is known at a path is not meant to be indexed any more, wherever it is: it was hidden,
    /// or is ignored by a rule. It may still turn up elsewhere.
    pub(super) fn withdraw(&mut self, mut row: Row, now: Now) -> Result<()> {
        if !row.told {
            return self.catalog.delete(&row.id);
        }
        send(&mut row, now);
        row.present = false;
        row.removing = true;
        row.missing_since_ns = now.nanos();
        self.catalog.update(&row)
    }

    /// Tells the index of files that vanished and did not turn up elsewhere.
    pub(super) fn remove_vanished(&mut self, now: Now) -> Result<()> {
        // A scan that was planned before may still find them.
        let oldest_scan = self.scans.oldest_planned_ns().unwrap_or(i64::MAX);
        let grace = nanos(self.settings.move_grace);
        let before = now.nanos().min(oldest_scan).saturating_sub(grace);
        for library in 0..self.libraries.len() {
            if !self.is_active(library) {
                continue;
            }
            let key = self.libraries[library].key;
            match self.catalog.first_vanished_ns(key)? {
                None => self.release_brake(library),
                Some(_) => {
                    if self.catalog.last_vanished_ns(key)? > Some(now.nanos()) {
                        // The clock was set back since.
                        self.catalog.date_vanished_back(key, now.nanos())?;
                    }
                    self.remove_vanished_of(library, before, now)?;
                }
            }
        }
        Ok(())
    }

    fn remove_vanished_of(&mut self, library: usize, before: i64, now: Now) -> Result<()> {
        let key = self.libraries[library].key;
        let start = (i64::MIN, 0);
        if self.catalog.vanished(key, start, before, 1)?.is_empty() {
            return Ok(());
        }
        let Some(held_since) = self.brake(library, before, now)? else {
            let mut removed = 0;
            for (_, row) in self.catalog.vanished(key, start, before, A_TURN)? {
                removed += u64::from(self.remove_unless_copied(row, true, before, now)?);
            }
            let brake = &mut self.libraries[library].brake;
            brake.let_go(removed, now.mono);
            return Ok(());
        };
        // Those that waited long enough go. The others stay, unless they were moved by copying.
        let waited = before.min(held_since);
        for (_, row) in self.catalog.vanished(key, start, waited, A_TURN)? {
            self.remove_unless_copied(row, true, before, now)?;
        }
        let looked = self.libraries[library].brake.looked.unwrap_or(start);
        let looked = looked.max((waited, 0));
        for (number, row) in self.catalog.vanished(key, looked, before, A_TURN)? {
            self.libraries[library].brake.looked = Some((row.missing_since_ns, number));
            self.remove_unless_copied(row, false, before, now)?;
        }
        Ok(())
    }

    /// A vanished image lies where its copy lies, if there is one; else, if it is to go, the index
    /// is told.
    fn remove_unless_copied(
        &mut self,
        mut row: Row,
        is_to_go: bool,
        before: i64,
        now: Now,
    ) -> Result<bool> {
        // A copy of the file may be complete and not settled; but other files of its size must
        // not keep it for ever.
        let patience = before.saturating_sub(nanos(self.settings.settle).saturating_mul(4));
        let is_recent = row.missing_since_ns > patience;
        if self.settling.holds_file(&row.facts)
            || (is_recent && self.settling.holds_size(row.facts.size))
        {
            return Ok(false);
        }
        if let Some(copy) = self.copy_of(&row)? {
            self.take_over(row, copy, now)?;
            return Ok(false);
        }
        if !is_to_go {
            return Ok(false);
        }
        let noticed = row.missing_since_ns;
        send(&mut row, now);
        row.observed_ns = noticed;
        row.removing = true;
        self.catalog.update(&row)?;
        Ok(true)
    }

    /// The file that a vanished one was copied to just before it was deleted, as `mv` does to
    /// another file system: it has the same bytes, was made after the vanished one was known,
    /// and was first seen shortly before that vanished.
    fn copy_of(&mut self, row: &Row) -> Result<Option<Row>> {
        const SHORTLY_NS: i64 = 600_000_000_000;
        let Some(hash) = row.content_hash else {
            return Ok(None);
        };
        let since = row
            .missing_since_ns
            .saturating_sub(SHORTLY_NS)
            .max(row.first_seen_ns);
        for copy in self.catalog.new_of_size(row.facts.size, since)? {
            let made_ns = match copy.facts.born_ns {
                0 => copy.facts.ctime_ns,
                born_ns => born_ns,
            };
            if copy.state == State::Ignored || made_ns <= row.first_seen_ns {
                continue;
            }
            let Some(library) = self
                .libraries
                .iter()
                .position(|held| held.key == copy.library)
                .filter(|library| !self.stands_by(*library))
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
    fn take_over(&mut self, mut row: Row, mut copy: Row, now: Now) -> Result<()> {
        tracing::debug!(image = %row.id, copy = %copy.id, "a file was moved by copying it");
        row.library = copy.library;
        row.dir.clone_from(&copy.dir);
        row.name.clone_from(&copy.name);
        row.present = true;
        row.missing_since_ns = 0;
        let facts = copy.facts;
        if copy.told {
            send(&mut copy, now);
            copy.present = false;
            copy.removing = true;
            copy.missing_since_ns = now.nanos();
            self.catalog.update(&copy)?;
        } else {
            self.catalog.delete(&copy.id)?;
        }
        self.put(row, facts, now)
    }

    /// Whether the root is the folder that the known files were last seen in.
    pub(super) fn root_is_there(&self, library: usize) -> bool {
        let held = &self.libraries[library];
        let Some(there) = Identity::of(&held.root) else {
            return false;
        };
        let is_as_before = || {
            let is_told = there.born_ns != 0 || held.mount.is_none();
            is_told || held.is_of_mount(&there, filesystem::mount(&held.root))
        };
        held.identity
            .is_none_or(|known| known.is(&there) && is_as_before())
    }

    pub(super) fn root_is_missing(&mut self, library: usize, now: Now) {
        self.libraries[library].is_compared = false;
        if !self.libraries[library]
            .degraded
            .contains_key("root_missing")
        {
            self.degrade(library, "root_missing", self.root_detail(library), now);
        }
    }

    fn root_detail(&self, library: usize) -> String {
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
