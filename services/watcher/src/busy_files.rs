//! Files that programs write again and again, such as the picture of a camera or a download.
//!
//! The first reports of a file pass, so that a picture is indexed at once. When further ones follow
//! closely, the file is *busy*: its reports are absorbed here, where one costs less than a
//! microsecond, and the file is observed when it has rested. The rest that is required grows each
//! time that the file becomes busy again. A file that never rests is observed from time to time, at
//! intervals that grow too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::hint::{Hint, HintKind};
use crate::library::id::LibraryId;

/// Completed writes in close succession that are observed at once.
const MAX_PROMPT_WRITES: u32 = 4;

/// Changes in close succession, without an end of the write, that are observed at once.
const MAX_PROMPT_CHANGES: u32 = 8;

/// Reports of a file follow closely if they are less than so many settle intervals apart.
const CLOSE_INTERVALS: u32 = 4;

/// The required rest is doubled at most so often.
const MAX_DOUBLINGS: u32 = 3;

/// How long a file is remembered that was busy.
const MEMORY: Duration = Duration::from_secs(60);

/// When a file that does not rest is observed first, and the longest interval from then on.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const MAX_LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// Files whose reports are counted. With more, the counts of those that are not busy are dropped.
const MAX_FILES: usize = 4096;

type FileKey = (LibraryId, Vec<u8>);

/// The reports of the files that changed last.
pub struct BusyFiles {
    settle_interval: Duration,
    files: HashMap<FileKey, FileReports>,
    /// How many of them are busy.
    busy_count: usize,
}

/// The reports of one file.
struct FileReports {
    writes: u32,
    changes: u32,
    last_at: Instant,
    last_kind: HintKind,
    /// How often the required rest is doubled.
    doublings: u32,
    busy: Option<BusyPeriod>,
}

/// Since when a file is busy, and when it is observed although it does not rest.
struct BusyPeriod {
    since: Instant,
    reports: u64,
    /// Completed writes are absorbed as well.
    absorbs_writes: bool,
    next_look: Instant,
    look_interval: Duration,
}

/// What is known of a busy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyFileReport {
    pub busy_for: Duration,
    /// Absorbed reports of changes.
    pub reports: u64,
    /// For how long it must not change to be observed.
    pub required_rest: Duration,
}

impl BusyFiles {
    pub fn new(settle_interval: Duration) -> Self {
        Self {
            settle_interval,
            files: HashMap::new(),
            busy_count: 0,
        }
    }

    /// Counts a hint; true if the keeper need not see it now.
    pub fn absorb_hint(&mut self, hint: &Hint, now: Instant) -> bool {
        if hint.path.is_empty() || hint.kind == HintKind::MovedItself {
            return false;
        }
        let key = (hint.library, hint.path.clone());
        if hint.kind == HintKind::Gone {
            // Programs that delete a file before they write it again keep its row, too.
            return self
                .files
                .get_mut(&key)
                .is_some_and(|file| file.record_deletion(now));
        }
        if !self.files.contains_key(&key) && self.files.len() >= MAX_FILES {
            self.forget_idle_files(now);
        }
        let close = self.settle_interval * CLOSE_INTERVALS;
        let file = self.files.entry(key).or_insert_with(|| FileReports {
            writes: 0,
            changes: 0,
            last_at: now,
            last_kind: hint.kind,
            doublings: 0,
            busy: None,
        });
        let since_last = now.saturating_duration_since(file.last_at);
        file.last_at = now;
        file.last_kind = hint.kind;
        let is_write = hint.kind == HintKind::Ready;
        if let Some(busy) = &mut file.busy {
            busy.reports += 1;
            if busy.absorbs_writes || !is_write {
                return true;
            }
            // Its writer has closed it.
            file.busy = None;
            self.busy_count -= 1;
        } else if since_last > close {
            (file.writes, file.changes) = (0, 0);
            if since_last > MEMORY {
                file.doublings = 0;
            }
        }
        if is_write {
            (file.writes, file.changes) = (file.writes + 1, 0);
        } else {
            file.changes += 1;
        }
        let absorbs_writes = file.writes >= MAX_PROMPT_WRITES;
        if absorbs_writes || file.changes >= MAX_PROMPT_CHANGES {
            file.busy = Some(BusyPeriod {
                since: now,
                reports: 0,
                absorbs_writes,
                next_look: now + FIRST_LOOK,
                look_interval: FIRST_LOOK,
            });
            self.busy_count += 1;
        }
        false
    }

    /// Returns hints of the busy files that have rested, and of those that are due although they
    /// have not.
    pub fn take_due_hints(&mut self, now: Instant) -> Vec<Hint> {
        let mut due = Vec::new();
        if self.busy_count == 0 {
            return due;
        }
        for ((library, path), file) in &mut self.files {
            let rest_end = file.rest_end(self.settle_interval);
            let Some(busy) = &mut file.busy else {
                continue;
            };
            if rest_end <= now {
                // The next burst must end with a longer rest.
                file.doublings = (file.doublings + 1).min(MAX_DOUBLINGS);
                (file.writes, file.changes, file.busy) = (0, 0, None);
                self.busy_count -= 1;
            } else if busy.absorbs_writes && busy.next_look <= now {
                busy.look_interval = (busy.look_interval * 2).min(MAX_LOOK_INTERVAL);
                busy.next_look = now + busy.look_interval;
            } else {
                continue;
            }
            due.push(Hint {
                library: *library,
                path: path.clone(),
                kind: file.last_kind,
            });
        }
        due
    }

    /// When the next hint is due.
    pub fn next_due(&self) -> Option<Instant> {
        if self.busy_count == 0 {
            return None;
        }
        let due = self.files.values().filter_map(|file| {
            let rest_end = file.rest_end(self.settle_interval);
            file.busy.as_ref().map(|busy| match busy.absorbs_writes {
                true => rest_end.min(busy.next_look),
                false => rest_end,
            })
        });
        due.min()
    }

    /// Describes a file whose completed writes are absorbed.
    pub fn find_busy_file(
        &self,
        library: LibraryId,
        path: &[u8],
        now: Instant,
    ) -> Option<BusyFileReport> {
        if self.busy_count == 0 {
            return None;
        }
        let file = self.files.get(&(library, path.to_vec()))?;
        let busy = file.busy.as_ref().filter(|busy| busy.absorbs_writes)?;
        Some(BusyFileReport {
            busy_for: now.saturating_duration_since(busy.since),
            reports: busy.reports,
            required_rest: file.required_rest(self.settle_interval),
        })
    }

    /// The number of a library's files that have been busy for so long, and the first of their paths.
    pub fn count_busy_files(
        &self,
        library: LibraryId,
        min_time: Duration,
        now: Instant,
    ) -> (usize, Option<Vec<u8>>) {
        if self.busy_count == 0 {
            return (0, None);
        }
        let paths = self.files.iter().filter(|((id, _), file)| {
            let is_long = |busy: &BusyPeriod| now.saturating_duration_since(busy.since) >= min_time;
            *id == library && file.busy.as_ref().is_some_and(is_long)
        });
        let mut paths: Vec<_> = paths.map(|((_, path), _)| path).collect();
        paths.sort_unstable();
        (paths.len(), paths.first().map(|path| path.to_vec()))
    }

    fn forget_idle_files(&mut self, now: Instant) {
        let close = self.settle_interval * CLOSE_INTERVALS;
        let age = |file: &FileReports| now.saturating_duration_since(file.last_at);
        self.files.retain(|_, file| {
            file.busy.is_some() || age(file) <= close || (file.doublings > 0 && age(file) <= MEMORY)
        });
        if self.files.len() > MAX_FILES / 2 {
            self.files.retain(|_, file| file.busy.is_some());
        }
        // So many busy files at once are no camera: they are observed at their next report.
        if self.files.len() > MAX_FILES / 2 {
            self.files.clear();
            self.busy_count = 0;
        }
    }
}

impl FileReports {
    /// Records that the file was deleted or renamed away; true if the file is busy.
    fn record_deletion(&mut self, now: Instant) -> bool {
        self.last_at = now;
        self.last_kind = HintKind::Gone;
        if let Some(busy) = &mut self.busy {
            busy.reports += 1;
        }
        self.busy.is_some()
    }

    fn required_rest(&self, settle_interval: Duration) -> Duration {
        settle_interval * (1 << self.doublings)
    }

    fn rest_end(&self, settle_interval: Duration) -> Instant {
        self.last_at + self.required_rest(settle_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(500);

    /// Reports of one file, at times since the start.
    struct Writer {
        files: BusyFiles,
        start: Instant,
    }

    impl Writer {
        fn new() -> Self {
            Self {
                files: BusyFiles::new(SETTLE),
                start: Instant::now(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Reports a change; true if the keeper sees it.
        fn report(&mut self, kind: HintKind, ms: u64) -> bool {
            let now = self.at(ms);
            !self.files.absorb_hint(&hint(b"cam.jpg", kind), now)
        }

        /// Writes the file at intervals within a time; returns how many observations that causes.
        fn write_often(&mut self, from_ms: u64, to_ms: u64, interval_ms: usize) -> usize {
            let mut observed = 0;
            for ms in (from_ms..to_ms).step_by(interval_ms) {
                observed += self.files.take_due_hints(self.at(ms)).len();
                observed += usize::from(self.report(HintKind::Changed, ms));
                observed += usize::from(self.report(HintKind::Ready, ms));
            }
            observed
        }
    }

    fn hint(path: &[u8], kind: HintKind) -> Hint {
        Hint {
            library: LibraryId::new(0),
            path: path.to_vec(),
            kind,
        }
    }

    #[test]
    fn what_is_written_all_the_time_is_observed_ever_less_often() {
        let mut writer = Writer::new();
        assert_eq!(writer.write_often(0, 1000, 5), 2 * 4, "the first writes");
        assert_eq!(writer.write_often(1000, 60_000, 5), 2, "after 10 and 30 s");
        let looks = writer.write_often(60_000, 600_000, 5);
        assert_eq!(looks, 3, "after 70, 150 and 310 s");
        let busy = writer
            .files
            .find_busy_file(LibraryId::new(0), b"cam.jpg", writer.at(600_000));
        let busy = busy.unwrap();
        assert_eq!(busy.required_rest, SETTLE);
        assert!(busy.reports > 200_000 && busy.busy_for > Duration::from_secs(599));
    }

    #[test]
    fn it_is_observed_once_it_rests_and_must_rest_longer_each_time() {
        let mut writer = Writer::new();
        let mut from = 0;
        for rest in [500, 1000, 2000, 4000, 4000] {
            writer.write_often(from, from + 1000, 5);
            let last = from + 995;
            assert_eq!(writer.files.next_due(), Some(writer.at(last + rest)));
            let early = writer.files.take_due_hints(writer.at(last + rest - 1));
            assert!(early.is_empty(), "{early:?}");
            let due = writer.files.take_due_hints(writer.at(last + rest));
            assert_eq!(due, [hint(b"cam.jpg", HintKind::Ready)]);
            assert_eq!(writer.files.next_due(), None);
            from += 1000 + rest;
        }
        // After a minute it counts as any other file.
        from += 60_000;
        writer.write_often(from, from + 1000, 5);
        assert_eq!(writer.files.next_due(), Some(writer.at(from + 995 + 500)));
    }

    #[test]
    fn the_end_of_a_long_write_passes() {
        let mut writer = Writer::new();
        let passed = (0..1000).filter(|ms| writer.report(HintKind::Changed, *ms));
        assert_eq!(passed.count(), 8);
        assert!(writer.report(HintKind::Ready, 1000));
        assert_eq!(writer.files.next_due(), None);
        // Without an end, it is observed when it rests.
        for ms in 2000..3000 {
            writer.report(HintKind::Changed, ms);
        }
        let due = writer.files.take_due_hints(writer.at(2999 + 500));
        assert_eq!(due, [hint(b"cam.jpg", HintKind::Changed)]);
    }

    #[test]
    fn slow_writers_deleted_files_and_many_files_pass() {
        let mut writer = Writer::new();
        assert_eq!(writer.write_often(0, 300_000, 3000), 2 * 100);
        for ms in 300_000..300_100 {
            writer.report(HintKind::Ready, ms);
        }
        assert!(writer.files.next_due().is_some());
        // While it is busy, its last deletion is reported when it rests.
        assert!(!writer.report(HintKind::Gone, 300_100));
        let due = writer.files.take_due_hints(writer.at(300_100 + 500));
        assert_eq!(due, [hint(b"cam.jpg", HintKind::Gone)]);
        assert!(writer.report(HintKind::Gone, 300_700), "deletions pass");
        assert!(
            !writer
                .files
                .absorb_hint(&hint(b"", HintKind::Changed), writer.at(300_700))
        );
        let now = writer.at(300_800);
        for n in 0..3 * MAX_FILES {
            let name = n.to_string();
            assert!(
                !writer
                    .files
                    .absorb_hint(&hint(name.as_bytes(), HintKind::Ready), now)
            );
        }
        assert!(writer.files.files.len() <= MAX_FILES);
    }
}
