//! The folders of a test: how they change, and what must hold between them and the index.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use lookalike_bus::{FileCounts, FileFailure, WatcherReply, WatcherRequest};
use lookalike_proto::{ContentHash, ImageId};

use super::world::{KeeperWorld, mtime};
use crate::inbox::{Hint, HintKind};
use crate::library::id::LibraryId;

impl KeeperWorld {
    pub fn full_path(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    /// Adds a hint of the system.
    /// The settle interval by which the inbox recognises files that are written again and again.
    /// Zero (none is) in the tests with a short one: they write faster than programs do, and leave
    /// the system's reports in the inbox.
    pub fn busy_interval(&self) -> Duration {
        let interval = self.settings.settle_interval;
        match interval < Duration::from_millis(100) {
            true => Duration::ZERO,
            false => interval,
        }
    }

    pub fn add_hint(&mut self, place: &str, kind: HintKind) {
        self.add_hint_bytes(place.as_bytes(), kind);
    }

    pub fn add_hint_bytes(&mut self, place: &[u8], kind: HintKind) {
        let slash = place.iter().position(|byte| *byte == b'/');
        let (name, path) = match slash {
            Some(slash) => (&place[..slash], &place[slash + 1..]),
            None => (place, &b""[..]),
        };
        let library = self
            .roots
            .iter()
            .position(|(l, _)| l.as_str().as_bytes() == name);
        if let (Some(library), false) = (library, self.are_hints_muted) {
            self.hints.push(Hint {
                library: LibraryId::new(library),
                path: path.to_vec(),
                kind,
            });
        }
    }

    pub fn write_file(&mut self, place: &str, content: &str) {
        let is_new = !self.full_path(place).exists();
        fs::write(self.full_path(place), content).unwrap();
        if is_new {
            self.add_hint(place, HintKind::Changed);
        }
        self.add_hint(place, HintKind::Ready);
    }

    pub fn remove_file(&mut self, place: &str) {
        fs::remove_file(self.full_path(place)).unwrap();
        self.add_hint(place, HintKind::Gone);
    }

    pub fn rename_path(&mut self, from: &str, to: &str) {
        fs::rename(self.full_path(from), self.full_path(to)).unwrap();
        self.add_hint(from, HintKind::Gone);
        self.add_hint(to, HintKind::Ready);
    }

    pub fn make_folder(&mut self, place: &str) {
        fs::create_dir_all(self.full_path(place)).unwrap();
        self.add_hint(place, HintKind::Changed);
    }

    // --- what must hold ---

    /// The id of the index's row for a place.
    #[track_caller]
    pub fn id_of(&self, place: &str) -> ImageId {
        let mut ids = self.index.iter().filter(|(_, row)| row.place == place);
        let (id, _) = ids
            .next()
            .unwrap_or_else(|| panic!("{place} is not indexed"));
        *id
    }

    pub fn counts(&mut self) -> FileCounts {
        let zero = FileCounts::default();
        let statuses = self.published.borrow();
        statuses
            .iter()
            .fold(zero, |sum, library| sum.sum_with(library.counts))
    }

    pub fn degraded(&self) -> Vec<String> {
        let statuses = self.published.borrow();
        let reasons = statuses.iter().flat_map(|library| &library.degraded);
        reasons.map(|degraded| degraded.reason.clone()).collect()
    }

    /// The code with which a place is listed as ignored or failed.
    pub fn listed_code(&mut self, place: &str) -> Option<String> {
        self.find_failure(place).map(|failure| failure.code)
    }

    pub fn find_failure(&mut self, place: &str) -> Option<FileFailure> {
        let (name, path) = place.split_once('/').unwrap();
        let library = self
            .roots
            .iter()
            .position(|(l, _)| l.as_str() == name)
            .unwrap();
        let request = WatcherRequest::Failures {
            after: None,
            limit: 1000,
            ignored: true,
            code: None,
        };
        match self.send_request(library, request) {
            WatcherReply::Failures(page) => {
                let mut failures = page.failures.into_iter().filter(|f| f.path == path);
                failures.next()
            }
            reply => panic!("{reply:?}"),
        }
    }

    /// Guarantees 1 and 8, checked against a plain walk of the folders.
    #[track_caller]
    pub fn assert_index_equals_folder(&mut self) {
        let mut expected = Vec::new();
        let mut counts = FileCounts::default();
        for (library, root) in &self.roots {
            walk_files(root, &mut Vec::new(), &mut |path, metadata, is_ignored| {
                let below = path.strip_prefix(root).unwrap().as_os_str();
                counts.on_disk += 1;
                let name = path.file_name().unwrap().as_bytes();
                let is_meant = metadata.is_file()
                    && !is_ignored
                    && below.to_str().is_some()
                    && name.to_ascii_lowercase().ends_with(b".jpg")
                    && !name.starts_with(b".")
                    && metadata.len() <= self.settings.max_file_bytes;
                if !is_meant {
                    counts.ignored += 1;
                    return;
                }
                let bytes = fs::read(path).unwrap();
                if bytes.starts_with(b"bad") {
                    counts.failed += 1;
                    return;
                }
                counts.indexed += 1;
                let place = format!("{library}/{}", below.to_str().unwrap());
                expected.push((
                    place,
                    ContentHash::hash_content(&bytes),
                    metadata.len(),
                    mtime(metadata),
                ));
            });
        }
        expected.sort();
        let mut indexed: Vec<_> = self
            .index
            .values()
            .map(|row| (row.place.clone(), row.hash, row.size, row.mtime_ns))
            .collect();
        indexed.sort();
        // Places are compared first, for a short message.
        let places = |rows: &[(String, ContentHash, u64, i64)]| -> Vec<String> {
            rows.iter().map(|row| row.0.clone()).collect()
        };
        assert_eq!(
            places(&indexed),
            places(&expected),
            "the index's places, and the folders'"
        );
        assert_eq!(
            indexed, expected,
            "the index's rows, and the folders' files"
        );
        self.run_tick();
        assert_eq!(self.counts(), counts, "the counts, and the folders'");
        let gone = self.keeper().catalog.count_rows("is_present = 0");
        assert_eq!(gone, 0, "rows of missing files");
    }

    /// Handles the system's reports until there are no more, and settles.
    pub fn settle_with_reports(&mut self) {
        self.settle();
        while self.take_reports() {
            self.settle();
        }
    }

    /// Takes the system's reports up to now: a file created here is reported after everything that
    /// happened before. True if there were any.
    fn take_reports(&mut self) -> bool {
        const COOKIE: &[u8] = b".cookie";
        let mut awaited = HashSet::new();
        for library in 0..self.roots.len() {
            let watched = self
                .library(library)
                .watch_schedule
                .watches
                .watched_folders();
            let cookie = self.roots[library].1.join(".cookie");
            if watched.first().is_some_and(Vec::is_empty) && fs::write(cookie, "").is_ok() {
                awaited.insert(LibraryId::new(library));
            }
        }
        let inbox = self.keeper().inbox.clone();
        let given_up = Instant::now() + Duration::from_secs(20);
        loop {
            let soon = Instant::now() + Duration::from_millis(60);
            let taken = inbox.wait_and_drain(usize::MAX, soon);
            for hint in taken.hints {
                if hint.path != COOKIE {
                    self.hints.push(hint);
                } else if hint.kind == HintKind::Ready {
                    awaited.remove(&hint.library);
                }
            }
            self.overflowed.extend(taken.overflowed);
            if awaited.is_empty() {
                break;
            }
            assert!(
                Instant::now() < given_up,
                "nothing is reported of {awaited:?}"
            );
        }
        for (_, root) in &self.roots {
            let _ = fs::remove_file(root.join(".cookie"));
        }
        !self.hints.is_empty() || !self.overflowed.is_empty()
    }

    /// Every entered folder is watched, and reports under its current path; no other folder is
    /// watched.
    #[track_caller]
    pub fn assert_all_watched(&mut self) {
        let mut expected = HashSet::new();
        for library in 0..self.roots.len() {
            let root = self.roots[library].1.clone();
            let mut folders = Vec::new();
            list_entered_folders(&root, &root, &mut Vec::new(), &mut folders);
            folders.sort();
            let mut watched = self
                .library(library)
                .watch_schedule
                .watches
                .watched_folders();
            watched.sort();
            let text = |paths: &[Vec<u8>]| -> Vec<String> {
                paths
                    .iter()
                    .map(|p| String::from_utf8_lossy(p).into_owned())
                    .collect()
            };
            assert_eq!(text(&watched), text(&folders), "watched, and entered");
            for folder in folders {
                let probe = crate::paths::join_path(&folder, b".probe");
                expected.insert((LibraryId::new(library), probe));
            }
        }
        let full = |w: &Self, (library, path): &(LibraryId, Vec<u8>)| {
            w.roots[library.index()]
                .1
                .join(std::ffi::OsStr::from_bytes(path))
        };
        let inbox = self.keeper().inbox.clone();
        for probe in &expected {
            fs::write(full(self, probe), "").unwrap();
        }
        let mut missing = expected.clone();
        let given_up = Instant::now() + Duration::from_secs(10);
        while !missing.is_empty() && Instant::now() < given_up {
            let soon = Instant::now() + Duration::from_millis(50);
            for hint in inbox.wait_and_drain(usize::MAX, soon).hints {
                let place = (hint.library, hint.path);
                if place.1.ends_with(b".probe") {
                    assert!(expected.contains(&place), "{place:?} is reported");
                }
                missing.remove(&place);
            }
        }
        assert!(missing.is_empty(), "not reported: {missing:?}");
        for probe in &expected {
            fs::remove_file(full(self, probe)).unwrap();
        }
        self.settle_with_reports();
    }

    #[track_caller]
    pub fn settle_and_check(&mut self) {
        self.settle();
        self.assert_index_equals_folder();
    }
}

/// Lists the entered folders at and below `folder`, as paths below `root`.
fn list_entered_folders(
    folder: &Path,
    root: &Path,
    ignores: &mut Vec<Gitignore>,
    found: &mut Vec<Vec<u8>>,
) {
    let below = folder.strip_prefix(root).unwrap();
    found.push(below.as_os_str().as_bytes().to_vec());
    ignores.push(read_own_rules(folder, ignores.is_empty()));
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let is_hidden = entry.file_name().as_bytes().starts_with(b".");
        if metadata.is_dir() && !is_hidden && !is_ignored(ignores, &path, true) {
            list_entered_folders(&path, root, ignores, found);
        }
    }
    ignores.pop();
}

/// The rules of a folder's own files. A `.nomedia` in the root has no effect.
fn read_own_rules(folder: &Path, is_root: bool) -> Gitignore {
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_file());
    let mut rules = GitignoreBuilder::new(folder);
    if !is_root && is_file(&folder.join(".nomedia")) {
        rules.add_line(None, "*").unwrap();
    }
    let own = folder.join(".lookalikeignore");
    if is_file(&own) {
        rules.add(own);
    }
    rules.build().unwrap()
}

fn is_ignored(ignores: &[Gitignore], path: &Path, is_folder: bool) -> bool {
    let mut matches = ignores
        .iter()
        .rev()
        .map(|ignore| ignore.matched(path, is_folder));
    matches
        .find(|rule| !rule.is_none())
        .is_some_and(|rule| rule.is_ignore())
}

/// Visits everything below a folder that is no folder, except in hidden and ignored folders; and
/// whether a `.lookalikeignore` above ignores it.
fn walk_files(
    folder: &Path,
    ignores: &mut Vec<Gitignore>,
    found: &mut dyn FnMut(&Path, &fs::Metadata, bool),
) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    ignores.push(read_own_rules(folder, ignores.is_empty()));
    for entry in entries {
        let entry = entry.unwrap();
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let is_ignored = is_ignored(ignores, &path, metadata.is_dir());
        if !metadata.is_dir() {
            found(&path, &metadata, is_ignored);
        } else if !is_ignored && !entry.file_name().as_bytes().starts_with(b".") {
            walk_files(&path, ignores, found);
        }
    }
    ignores.pop();
}
