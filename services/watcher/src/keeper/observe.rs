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

use super::{Keeper, Now};
use crate::catalog::{self, Row, State};
use crate::disk::{self, Facts, Thing};
use crate::rules::{self, Ignored};

type Result<T> = std::result::Result<T, catalog::Error>;

impl Keeper {
    pub(super) fn full_path(&self, library: usize, path: &[u8]) -> PathBuf {
        self.libraries[library].root.join(OsStr::from_bytes(path))
    }

    /// What lies at `path`. What only a symbolic link leads to does not lie there.
    ///
    /// # Errors
    /// When the system can't tell.
    pub(super) fn look(&mut self, library: usize, path: &[u8]) -> io::Result<Option<Thing>> {
        let (dir, _) = split(path);
        let is_plain = |(held, plain): &(usize, Vec<u8>)| *held == library && plain == dir;
        if !dir.is_empty() && !self.plain_folder.as_ref().is_some_and(is_plain) {
            for end in 1..=dir.len() {
                let is_part = end == dir.len() || dir[end] == b'/';
                if is_part
                    && disk::look(&self.full_path(library, &dir[..end]))? != Some(Thing::Folder)
                {
                    return Ok(None);
                }
            }
            self.plain_folder = Some((library, dir.to_vec()));
        }
        disk::look(&self.full_path(library, path))
    }

    /// Looks at what lies at `path` now, and at the places that were left for it. `complete`:
    /// whoever wrote it is known to have finished.
    pub(super) fn observe(
        &mut self,
        library: usize,
        path: &[u8],
        complete: bool,
        now: Now,
    ) -> Result<()> {
        if !self.root_is_there(library) {
            // Whatever lies there now is nobody's business until the root is known to be right.
            self.root_is_missing(library, now);
            return Ok(());
        }
        self.libraries[library].observed += 1;
        self.observe_one(library, path, complete, now)?;
        while let Some((library, path)) = self.left_behind.pop() {
            self.observe_one(library, &path, false, now)?;
        }
        Ok(())
    }

    fn observe_one(&mut self, library: usize, path: &[u8], complete: bool, now: Now) -> Result<()> {
        let key = (library, path.to_vec());
        let (dir, name) = split(path);
        let Some(rules) = self.enters(library, dir, now) else {
            // Its folder is not entered (any more): what is known of it leaves the index.
            self.settling.forget(&key);
            let row = self.catalog.at(self.libraries[library].key, dir, name)?;
            return row.map_or(Ok(()), |row| self.withdraw(row, now));
        };
        let thing = match self.look(library, path) {
            Ok(thing) => thing,
            Err(error) => {
                // "Can't tell" is not "gone": what is known stays until it can be told.
                self.settling.forget(&key);
                self.unreadable(library, path, &error, now);
                return Ok(());
            }
        };
        match thing {
            None => {
                self.settling.forget(&key);
                self.gone(library, path, now)
            }
            Some(Thing::Folder) => {
                self.settling.forget(&key);
                if let Some(row) = self.catalog.at(self.libraries[library].key, dir, name)? {
                    self.vanish(library, row, now)?;
                }
                if rules::enters(name) && rules.ignores(path, true).is_none() {
                    self.scans
                        .plan_folder(library, path, self.settings.settle, now);
                } else {
                    self.libraries[library].watching.watches.release_below(path);
                }
                Ok(())
            }
            Some(Thing::Other { link, facts }) => {
                let reason = rules::other(link);
                self.ignore(library, path, facts, reason, now)
            }
            Some(Thing::File(facts)) => {
                let limit = self.settings.max_file_bytes;
                let by_rule = || rules.ignores(path, false).map(Ignored::Rule);
                if let Some(reason) = rules::ignored(path, facts.size, limit).or_else(by_rule) {
                    return self.ignore(library, path, facts, reason, now);
                }
                self.observe_file(key, facts, complete, now)
            }
        }
    }

    fn observe_file(
        &mut self,
        key: (usize, Vec<u8>),
        facts: Facts,
        complete: bool,
        now: Now,
    ) -> Result<()> {
        let (library, path) = (key.0, key.1.clone());
        let is_settled = complete || self.is_quiet(&facts, now) || self.only_renamed(&facts)?;
        if self.is_known(library, &path, &facts)? || is_settled {
            self.settling.forget(&key);
            return self.settled(library, &path, facts, complete, now);
        }
        match self.settling.look(key, facts, now.mono) {
            Some(true) => self.settled(library, &path, facts, complete, now),
            Some(false) => Ok(()),
            None => {
                tracing::debug!("too many files are being written, comparing the folder later");
                self.scans
                    .plan_whole_later(library, self.settings.settle, now);
                Ok(())
            }
        }
    }

    /// Nothing was done to the inode for a while, so nobody is writing. The system sets ctime,
    /// so no program can fake it; one in the future (a clock was set back) tells nothing.
    fn is_quiet(&self, facts: &Facts, now: Now) -> bool {
        let quiet = i64::try_from(self.settings.quiet.as_nanos()).unwrap_or(i64::MAX);
        facts.ctime_ns <= now.nanos() - quiet
    }

    /// A known file whose content did not change: a rename is complete when it is seen.
    fn only_renamed(&self, facts: &Facts) -> Result<bool> {
        let rows = self.catalog.same_file(facts)?;
        let same = |row: &Row| {
            row.facts.size == facts.size
                && row.facts.mtime_ns == facts.mtime_ns
                && !row.state.is_left_out()
        };
        Ok(rows.iter().any(same))
    }

    fn is_known(&self, library: usize, path: &[u8], facts: &Facts) -> Result<bool> {
        let (dir, name) = split(path);
        let row = self.catalog.at(self.libraries[library].key, dir, name)?;
        Ok(row.is_some_and(|row| row.state != State::Ignored && facts.unchanged_since(&row.facts)))
    }

    /// A complete file lies at `path`; write it down if the catalog does not say so yet.
    /// `written`: somebody has just finished writing it.
    fn settled(
        &mut self,
        library: usize,
        path: &[u8],
        facts: Facts,
        written: bool,
        now: Now,
    ) -> Result<()> {
        let (dir, name) = split(path);
        let key = self.libraries[library].key;
        if let Some(mut row) = self.catalog.at(key, dir, name)? {
            let is_unchanged = facts.unchanged_since(&row.facts) && row.state != State::Ignored;
            if is_unchanged && !(written && facts.hide_a_change(now.nanos())) {
                if facts != row.facts {
                    // Mounted anew: the same file under another device number.
                    row.facts = facts;
                    self.catalog.update(&row)?;
                }
                return Ok(());
            }
            if !facts.same_file(&row.facts)
                && let Some(mover) = self.moved_here(library, path, &facts)?
                && mover.told
            {
                // Another known image was put in this one's place (or the two were swapped).
                // One that nobody was told of may be a program's way to save this one.
                self.displace(row, now)?;
                return self.move_to(mover, library, path, facts, now);
            }
            // Edited in place, or replaced as editors do: the same image with other content.
            self.look_at_other_links(library, path, &facts)?;
            return self.put(row, facts, now);
        }
        if let Some(mover) = self.moved_here(library, path, &facts)? {
            return self.move_to(mover, library, path, facts, now);
        }
        if let Some(row) = self.catalog.gone_from(key, dir, name)? {
            return self.move_to(row, library, path, facts, now);
        }
        if let Some(mover) = self.copied_here(library, path, &facts)? {
            return self.move_to(mover, library, path, facts, now);
        }
        let mut row = self.first_sight(library, path, facts, now)?;
        send(&mut row, now);
        self.catalog.insert(&row)
    }

    /// The system tells of the name only that a file was written through: its other names (hard
    /// links) are looked at as well.
    fn look_at_other_links(&mut self, library: usize, path: &[u8], facts: &Facts) -> Result<()> {
        for other in self.catalog.same_file(facts)? {
            let holder = self.libraries.iter().position(|l| l.key == other.library);
            if let Some(holder) = holder.filter(|_| other.present && other.facts != *facts)
                && (holder, &other.path()[..]) != (library, path)
            {
                self.left_behind.push((holder, other.path()));
            }
        }
        Ok(())
    }

    /// The image that was this very inode and does not lie any more where it lay.
    fn moved_here(&mut self, library: usize, path: &[u8], facts: &Facts) -> Result<Option<Row>> {
        for row in self.catalog.same_file(facts)? {
            if row.state == State::Ignored && !row.told {
                continue; // Nobody knows its id.
            }
            if self.is_somebody_elses(&row) {
                continue;
            }
            if !row.present || self.left_its_path(library, path, &row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The image that vanished and had these very bytes: a move to another file system, or one
    /// where inodes are not kept. Only where a file of this size vanished are the bytes read.
    fn copied_here(&mut self, library: usize, path: &[u8], facts: &Facts) -> Result<Option<Row>> {
        let mut rows = self.catalog.hashed_of_size(facts.size)?;
        rows.retain(|row| !self.is_somebody_elses(row));
        rows.retain(|row| !row.present || self.left_its_path(library, path, row));
        if rows.is_empty() {
            return Ok(None);
        }
        let Ok(hash) = hash_file(&self.full_path(library, path)) else {
            return Ok(None);
        };
        rows.retain(|row| row.content_hash == Some(hash));
        // Of several with these bytes, the one of this name.
        let (_, name) = split(path);
        let same_name = rows.iter().position(|row| row.name == name).unwrap_or(0);
        Ok(rows.into_iter().nth(same_name))
    }

    /// Whether another watcher holds a row's library: it knows better what became of the file.
    fn is_somebody_elses(&self, row: &Row) -> bool {
        let holder = self.libraries.iter().position(|l| l.key == row.library);
        holder.is_some_and(|holder| self.stands_by(holder))
    }

    /// Whether a row's file lies no more where the catalog has it (and that is not `path`).
    fn left_its_path(&mut self, library: usize, path: &[u8], row: &Row) -> bool {
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
        match self.look(other, &row.path()) {
            Ok(None) => self.root_is_there(other),
            Ok(Some(Thing::File(there))) if row.facts.are_second_hand() => !there.fits(&row.facts),
            Ok(Some(Thing::File(there))) => !there.same_file(&row.facts),
            Ok(Some(_)) => true,
            Err(_) => false,
        }
    }

    fn move_to(
        &mut self,
        mut row: Row,
        library: usize,
        path: &[u8],
        facts: Facts,
        now: Now,
    ) -> Result<()> {
        let (from_library, from_path, was_present) = (row.library, row.path(), row.present);
        let (dir, name) = split(path);
        row.library = self.libraries[library].key;
        row.dir = dir.to_vec();
        row.name = name.to_vec();
        row.present = true;
        row.missing_since_ns = 0;
        row.removing = false;
        self.put(row, facts, now)?;
        // Something else may lie where it lay.
        let from = self
            .libraries
            .iter()
            .position(|held| held.key == from_library);
        if let (Some(from), true) = (from, was_present)
            && (from, &from_path[..]) != (library, path)
        {
            // Not looked at right here: a chain of renames may be as long as the folder.
            self.left_behind.push((from, from_path));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, mut row: Row, facts: Facts, now: Now) -> Result<()> {
        row.facts = facts;
        send(&mut row, now);
        self.catalog.update(&row)
    }

    /// A new row, not written yet, with an id that nobody has.
    pub(super) fn first_sight(
        &self,
        library: usize,
        path: &[u8],
        facts: Facts,
        now: Now,
    ) -> Result<Row> {
        let (dir, name) = split(path);
        let held = &self.libraries[library];
        let mut ordinal = 0;
        let id = loop {
            let id = ImageId::first_sight(&held.name, path, ordinal);
            if self.catalog.by_id(&id)?.is_none() {
                break id;
            }
            ordinal += 1;
        };
        Ok(Row {
            id,
            library: held.key,
            dir: dir.to_vec(),
            name: name.to_vec(),
            present: true,
            missing_since_ns: 0,
            removing: false,
            facts,
            state: State::InFlight,
            code: String::new(),
            detail: String::new(),
            since_ns: now.nanos(),
            generation: Generation::next(Generation::NONE, now.wall),
            observed_ns: now.nanos(),
            unsent: false,
            not_before_ns: 0,
            retries: 0,
            in_flight: Generation::NONE,
            attempt: 0,
            sent_ns: 0,
            sent_created: 0,
            sent_sequence: 0,
            confirmed: Generation::NONE,
            content_hash: None,
            told: false,
            first_seen_ns: now.nanos(),
        })
    }

    /// What lies at `path` is not meant to be indexed: list it, and take out what was.
    fn ignore(
        &mut self,
        library: usize,
        path: &[u8],
        facts: Facts,
        reason: Ignored,
        now: Now,
    ) -> Result<()> {
        self.settling.forget(&(library, path.to_vec()));
        let (dir, name) = split(path);
        let known = self.catalog.at(self.libraries[library].key, dir, name)?;
        let is_new = known.is_none();
        let mut row = match known {
            Some(row)
                if row.state == State::Ignored
                    && row.code == reason.code()
                    && facts.unchanged_since(&row.facts) =>
            {
                return Ok(());
            }
            Some(row) => row,
            None => self.first_sight(library, path, facts, now)?,
        };
        row.facts = facts;
        if row.state != State::Ignored && row.told {
            send(&mut row, now);
        } else if row.state != State::Ignored {
            row.unsent = false;
        }
        row.state = State::Ignored;
        row.code = reason.code().to_owned();
        row.detail = reason.detail().into_owned();
        row.since_ns = now.nanos();
        if is_new {
            self.catalog.insert(&row)
        } else {
            self.catalog.update(&row)
        }
    }

    pub(super) fn unreadable(&mut self, library: usize, path: &[u8], error: &io::Error, now: Now) {
        self.libraries[library].met_unreadable = true;
        let detail = format!("{}: {error}", String::from_utf8_lossy(path));
        self.degrade(library, "unreadable", detail, now);
    }
}

/// A new generation of the row has to be sent.
pub(super) fn send(row: &mut Row, now: Now) {
    row.generation = Generation::next(row.generation, now.wall);
    row.observed_ns = now.nanos();
    row.unsent = true;
    row.not_before_ns = 0;
    row.retries = 0;
    row.attempt = 0;
    row.state = State::InFlight;
    row.code.clear();
    row.detail.clear();
    row.since_ns = now.nanos();
}

/// A path's folder (empty for the root) and its last part.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn hash_file(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}
