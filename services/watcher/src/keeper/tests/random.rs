//! Random histories: folders change, hints are lost, and processes die or are slow. In the end, the
//! index must equal the folders.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lookalike_proto::FileEvent;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::world::{KeeperWorld, PlannedWrite};
use crate::inbox::{Hint, HintKind};

/// Number of histories; `LOOKALIKE_SEEDS` sets another.
const SEEDS: u64 = 30;
const STEPS: usize = 60;

#[test]
fn random_histories_end_well() {
    run_histories(SEEDS, |seed| RandomHistory::new(seed, false).run());
}

/// Hints come from the system, and are duplicated, late, in another order, or lost with a report of
/// that.
#[test]
fn random_histories_with_the_systems_own_hints_end_well() {
    run_histories(SEEDS / 3, |seed| RandomHistory::new(seed, true).run());
}

fn run_histories(count: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = std::env::var("LOOKALIKE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let first: u64 = std::env::var("LOOKALIKE_SEED").map_or(0, |text| text.parse().unwrap());
    for seed in first..first + seeds.unwrap_or(count) {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            eprintln!("the history of seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

struct RandomHistory {
    /// The hints are reports of the system.
    has_system_hints: bool,
    /// A file has, or had, a second name: a write through the first is not reported for it.
    has_hard_links: bool,
    world: KeeperWorld,
    random: StdRng,
    /// Workers that read the disk and have not written yet.
    slow_writes: Vec<(FileEvent, PlannedWrite)>,
    /// Hints that arrive late.
    late_hints: Vec<Hint>,
    content_number: u32,
}

impl RandomHistory {
    fn new(seed: u64, has_system_hints: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = KeeperWorld::with_settings(|settings| {
            if random.gen_bool(0.3) {
                settings.max_in_flight = 3;
                settings.max_settling = 2;
            }
            if random.gen_bool(0.3) {
                settings.mass_delete_min_files = 2;
                settings.mass_delete_confirm_after = Duration::from_millis(200);
            }
            if random.gen_bool(0.3) {
                settings.max_watches = 5;
                settings.poll_interval = Duration::from_millis(100);
            }
        });
        world.are_hints_muted = has_system_hints;
        Self {
            has_system_hints,
            has_hard_links: false,
            world,
            random,
            slow_writes: Vec::new(),
            late_hints: Vec::new(),
            content_number: 0,
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            for _ in 0..self.random.gen_range(0..4) {
                self.change_folders();
            }
            self.muddle_hints();
            self.take_random_step();
        }
        self.end_disturbances();
        self.wait_until_rest();
        self.world.assert_index_equals_folder();
        if self.has_system_hints && self.world.settings.max_watches == 0 {
            self.world.assert_all_watched();
        }
        if self.has_system_hints {
            // Deleting a hard link changes the times of the others, which is not reported.
            self.world.rescan_all();
            self.wait_until_rest();
        }
        // A further scan changes nothing.
        let before = self.world.index.clone();
        self.world.rescan_all();
        self.wait_until_rest();
        self.world.assert_index_equals_folder();
        assert_eq!(
            self.world.index, before,
            "a rescan of resting folders changes nothing"
        );
    }

    fn end_disturbances(&mut self) {
        for (event, deed) in std::mem::take(&mut self.slow_writes) {
            let outcome = self.world.commit_write(&event, deed);
            self.world.store_outcome(outcome);
        }
        self.world.hints.append(&mut self.late_hints);
        if !self.has_system_hints || self.has_hard_links {
            self.world.rescan_all();
        }
    }

    /// Waits until nothing more is reported, done, or awaited.
    fn wait_until_rest(&mut self) {
        let wait =
            self.world.settings.mass_delete_confirm_after + self.world.settings.poll_interval;
        // Held files are removed when their time is over; unwatched folders are polled.
        for _ in 0..3 {
            if self.has_system_hints {
                self.world.settle_with_reports();
            }
            self.world.settle();
            self.world.advance_clock(wait);
        }
        self.world.settle();
    }

    // --- the folders ---

    fn random_folder(&mut self) -> String {
        let folders = [
            "one",
            "one",
            "two",
            "one/p",
            "one/p/q",
            "two/r",
            "one/x.jpg",
            "one/.h",
        ];
        (*folders.choose(&mut self.random).unwrap()).to_owned()
    }

    fn random_place(&mut self) -> String {
        let names = [
            "a.jpg",
            "b.jpg",
            "c.jpg",
            "x.jpg",
            "d.txt",
            ".e.jpg",
            "f.jpg.tmp",
        ];
        let folder = self.random_folder();
        format!("{folder}/{}", names.choose(&mut self.random).unwrap())
    }

    /// Few contents and sizes, so that copies and mistaken identities happen.
    fn random_content(&mut self) -> String {
        self.content_number += 1;
        match self.random.gen_range(0..10) {
            0 => "bad".into(),
            1 => "x".repeat(1001),
            2..=4 => format!("copy {}", self.random.gen_range(0..3)),
            _ => format!("{:06}", self.content_number),
        }
    }

    fn random_existing(&mut self, folders: bool) -> Option<String> {
        let mut places = Vec::new();
        for library in ["one", "two"] {
            list_places(
                &self.world.full_path(library),
                library,
                folders,
                &mut places,
            );
        }
        places.sort();
        places.choose(&mut self.random).cloned()
    }

    fn change_folders(&mut self) {
        match self.random.gen_range(0..22) {
            0..=5 => {
                let (name, content) = (self.random_place(), self.random_content());
                let parent = self.world.full_path(&name).parent().unwrap().to_owned();
                if parent.is_dir() && !self.world.full_path(&name).is_dir() {
                    self.world.write_file(&name, &content);
                }
            }
            6 | 7 => {
                let folder = self.random_folder();
                if fs::create_dir_all(self.world.full_path(&folder)).is_ok() {
                    self.world.add_hint(&folder, HintKind::Changed);
                }
            }
            8 | 9 => {
                if let Some(place) = self.random_existing(false) {
                    self.world.remove_file(&place);
                }
            }
            10..=13 => {
                let (Some(from), to) = (self.random_existing(false), self.random_place()) else {
                    return;
                };
                if fs::rename(self.world.full_path(&from), self.world.full_path(&to)).is_ok() {
                    self.world.add_hint(&from, HintKind::Gone);
                    self.world.add_hint(&to, HintKind::Ready);
                }
            }
            14 | 15 => {
                let (Some(from), to) = (self.random_existing(true), self.random_folder()) else {
                    return;
                };
                if to.contains('/')
                    && fs::rename(self.world.full_path(&from), self.world.full_path(&to)).is_ok()
                {
                    self.world.add_hint(&from, HintKind::Gone);
                    self.world.add_hint(&to, HintKind::Ready);
                }
            }
            16 => {
                if let Some(folder) = self.random_existing(true) {
                    fs::remove_dir_all(self.world.full_path(&folder)).unwrap();
                    self.world.add_hint(&folder, HintKind::Gone);
                }
            }
            17 => {
                let (Some(from), to) = (self.random_existing(false), self.random_place()) else {
                    return;
                };
                if fs::hard_link(self.world.full_path(&from), self.world.full_path(&to)).is_ok() {
                    self.world.add_hint(&to, HintKind::Changed);
                    self.has_hard_links = true;
                }
            }
            18 => self.swap_files(),
            19 | 20 => self.write_rules(),
            _ => self.overwrite_with_same_time(),
        }
    }

    fn write_rules(&mut self) {
        let rules = [
            "",
            "b.jpg",
            "*.jpg\n!a.jpg",
            "q/\nc.jpg",
            "/p",
            "r\nx.jpg",
            "/x.jpg",
            "!*",
        ];
        let place = format!("{}/.lookalikeignore", self.random_folder());
        let is_folder = self
            .world
            .full_path(&place)
            .parent()
            .is_some_and(std::path::Path::is_dir);
        if is_folder && !self.world.full_path(&place).is_dir() {
            let rules = rules.choose(&mut self.random).unwrap();
            self.world.write_file(&place, rules);
        }
    }

    fn swap_files(&mut self) {
        let (Some(a), Some(b)) = (self.random_existing(false), self.random_existing(false)) else {
            return;
        };
        let aside = self.world.full_path("aside");
        fs::rename(self.world.full_path(&a), &aside).unwrap();
        if a != b {
            fs::rename(self.world.full_path(&b), self.world.full_path(&a)).unwrap();
        }
        fs::rename(aside, self.world.full_path(&b)).unwrap();
        self.world.add_hint(&a, HintKind::Ready);
        self.world.add_hint(&b, HintKind::Ready);
    }

    fn overwrite_with_same_time(&mut self) {
        let Some(place) = self.random_existing(false) else {
            return;
        };
        let path = self.world.full_path(&place);
        let metadata = fs::metadata(&path).unwrap();
        let length = usize::try_from(metadata.len()).unwrap();
        fs::write(&path, "y".repeat(length)).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(metadata.modified().unwrap()).unwrap();
        self.world.add_hint(&place, HintKind::Ready);
    }

    // --- hints, ticks, workers ---

    fn muddle_hints(&mut self) {
        let mut hints = std::mem::take(&mut self.world.hints);
        if self.has_system_hints {
            let inbox = self.world.keeper().inbox.clone();
            let soon = Instant::now() + Duration::from_millis(2);
            hints.extend(inbox.wait_and_drain(usize::MAX, soon).hints);
        }
        hints.append(&mut self.late_hints);
        for hint in hints {
            match self.random.gen_range(0..10) {
                0 if !self.has_system_hints => {}
                0 if self.random.gen_bool(0.1) => self.world.overflowed.push(hint.library),
                1 => self.late_hints.push(hint),
                2 => self.world.hints.extend([hint.clone(), hint]),
                _ => self.world.hints.push(hint),
            }
        }
        if self.random.gen_bool(0.3) {
            self.world.hints.shuffle(&mut self.random);
        }
    }

    fn take_random_step(&mut self) {
        match self.random.gen_range(0..14) {
            0..=3 => self.world.run_tick(),
            4 | 5 => {
                let limit = self.random.gen_range(1..5);
                let events = self.world.take_events(limit);
                match self.random.gen_range(0..8) {
                    0 => self.world.fail_to_publish(&events),
                    1 => {
                        // Stored, and the confirmation lost.
                        self.world.queue.extend(events.clone());
                        self.world.fail_to_publish(&events);
                    }
                    2 => {
                        self.world.queue.extend(events);
                        self.world.restart();
                    }
                    3 => self.world.restart(),
                    _ => self.world.publish_events(events),
                }
            }
            6..=8 => self.run_worker(),
            9 | 10 => {
                let limit = self.random.gen_range(1..4);
                self.world.deliver_outcomes(limit);
            }
            11 => self.world.restart(),
            12 => {
                self.world.check_overdue();
            }
            _ => self.world.rescan_all(),
        }
        let time = self.random.gen_range(0..25);
        self.world.advance_clock(Duration::from_millis(time));
    }

    /// A worker takes any event; it may be lost, handled twice, or handled now and written later.
    fn run_worker(&mut self) {
        if !self.slow_writes.is_empty() && self.random.gen_bool(0.4) {
            let index = self.random.gen_range(0..self.slow_writes.len());
            let (event, deed) = self.slow_writes.swap_remove(index);
            let outcome = self.world.commit_write(&event, deed);
            self.world.store_outcome(outcome);
            return;
        }
        let queued = self.world.queue.len();
        if queued == 0 {
            return;
        }
        let index = self.random.gen_range(0..queued);
        let event = self
            .world
            .queue
            .remove(index)
            .expect("the index is in the queue");
        match self.random.gen_range(0..8) {
            0 => {} // The stream lost it.
            1 | 2 => {
                // Slower than the ack deadline: another worker gets it too.
                if let Some(deed) = self.world.prepare_write(&event) {
                    self.slow_writes.push((event.clone(), deed));
                }
                self.world.queue.push_back(event);
            }
            _ => {
                self.world.embed_event(event);
            }
        }
    }
}

fn list_places(folder: &PathBuf, place: &str, folders: bool, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let place = format!("{place}/{}", entry.file_name().to_str().unwrap());
        let is_folder = entry.file_type().unwrap().is_dir();
        if is_folder == folders {
            found.push(place.clone());
        }
        if is_folder {
            list_places(&entry.path(), &place, folders, found);
        }
    }
}
