//! The world's folders: what is done to them, and what must hold between them and the index.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lookalike_bus::{Counts, WatcherAnswer, WatcherQuestion};
use lookalike_proto::{ContentHash, ImageId};

use super::world::{World, mtime};
use crate::inbox::{Hint, HintKind};

impl World {
    pub fn full(&self, place: &str) -> PathBuf {
        self.dir.path().join(place)
    }

    /// The system says that something happened.
    pub fn hint(&mut self, place: &str, kind: HintKind) {
        self.hint_bytes(place.as_bytes(), kind);
    }

    pub fn hint_bytes(&mut self, place: &[u8], kind: HintKind) {
        let slash = place.iter().position(|byte| *byte == b'/');
        let (name, path) = match slash {
            Some(slash) => (&place[..slash], &place[slash + 1..]),
            None => (place, &b""[..]),
        };
        let library = self
            .roots
            .iter()
            .position(|(l, _)| l.as_str().as_bytes() == name);
        if let (Some(library), false) = (library, self.deaf) {
            self.hints.push(Hint {
                library,
                path: path.to_vec(),
                kind,
            });
        }
    }

    pub fn write(&mut self, place: &str, content: &str) {
        let is_new = !self.full(place).exists();
        fs::write(self.full(place), content).unwrap();
        if is_new {
            self.hint(place, HintKind::Changed);
        }
        self.hint(place, HintKind::Ready);
    }

    pub fn remove(&mut self, place: &str) {
        fs::remove_file(self.full(place)).unwrap();
        self.hint(place, HintKind::Gone);
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        fs::rename(self.full(from), self.full(to)).unwrap();
        self.hint(from, HintKind::Gone);
        self.hint(to, HintKind::Ready);
    }

    pub fn mkdir(&mut self, place: &str) {
        fs::create_dir_all(self.full(place)).unwrap();
        self.hint(place, HintKind::Changed);
    }

    // --- what must hold ---

    /// The id under which the index has a place.
    #[track_caller]
    pub fn id(&self, place: &str) -> ImageId {
        let mut ids = self.index.iter().filter(|(_, row)| row.place == place);
        let (id, _) = ids
            .next()
            .unwrap_or_else(|| panic!("{place} is not indexed"));
        *id
    }

    pub fn counts(&mut self) -> Counts {
        let zero = Counts::default();
        let shown = self.shown.borrow();
        shown
            .iter()
            .fold(zero, |sum, library| sum.plus(library.counts))
    }

    pub fn degraded(&self) -> Vec<String> {
        let shown = self.shown.borrow();
        let reasons = shown.iter().flat_map(|library| &library.degraded);
        reasons.map(|degraded| degraded.reason.clone()).collect()
    }

    /// The code that a place is listed with as ignored or failed.
    pub fn listed(&mut self, place: &str) -> Option<String> {
        let (name, path) = place.split_once('/').unwrap();
        let library = self
            .roots
            .iter()
            .position(|(l, _)| l.as_str() == name)
            .unwrap();
        let question = WatcherQuestion::Failures {
            after: None,
            limit: 1000,
            ignored: true,
        };
        match self.question(library, question) {
            WatcherAnswer::Failures(page) => {
                let mut found = page.failures.into_iter().filter(|f| f.path == path);
                found.next().map(|failure| failure.code)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Promise 1 and promise 8, against a plain walk of the folders.
    #[track_caller]
    pub fn assert_index_equals_folder(&mut self) {
        let mut expected = Vec::new();
        let mut counts = Counts::default();
        for (library, root) in &self.roots {
            walk(root, &mut |path, metadata| {
                let below = path.strip_prefix(root).unwrap().as_os_str();
                counts.on_disk += 1;
                let name = path.file_name().unwrap().as_bytes();
                let is_meant = metadata.is_file()
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
                    ContentHash::of(&bytes),
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
        // Compared by places first, which is what a reader of a failure wants to see.
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
        self.turn(Vec::new());
        assert_eq!(self.counts(), counts, "the accounting, and the folders'");
        let gone = self.keeper().catalog.count("present = 0");
        assert_eq!(gone, 0, "rows of files that are gone");
    }

    #[track_caller]
    pub fn settle_and_check(&mut self) {
        self.settle();
        self.assert_index_equals_folder();
    }
}

/// Everything below a folder that is no folder, hidden folders left out.
fn walk(folder: &Path, found: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if !metadata.is_dir() {
            found(&entry.path(), &metadata);
        } else if !entry.file_name().as_bytes().starts_with(b".") {
            walk(&entry.path(), found);
        }
    }
}
