//! Random histories: whatever was done to the folders, whatever was hinted at or not, whoever
//! died or dawdled in between, in the end the index equals the folders.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lookalike_proto::FileEvent;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::world::{Deed, World};
use crate::inbox::{Hint, HintKind};

/// Histories of each length; `LOOKALIKE_SEEDS` asks for more.
const SEEDS: u64 = 30;
const STEPS: usize = 60;

#[test]
fn random_histories_end_well() {
    histories(SEEDS, |seed| History::new(seed, false).run());
}

/// Hints come from the system, and what it says is doubled, late, in another order, or lost and
/// said to be.
#[test]
fn random_histories_with_the_systems_own_hints_end_well() {
    histories(SEEDS / 3, |seed| History::new(seed, true).run());
}

fn histories(count: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = std::env::var("LOOKALIKE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let first: u64 = std::env::var("LOOKALIKE_SEED").map_or(0, |text| text.parse().unwrap());
    for seed in first..first + seeds.unwrap_or(count) {
        let story = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = story {
            eprintln!("the history of seed {seed} ended badly");
            std::panic::resume_unwind(panic);
        }
    }
}

struct History {
    /// The system gives the hints.
    live: bool,
    /// A file has, or had, a second name: the system says nothing of it when the file is changed
    /// through the first.
    linked: bool,
    world: World,
    random: StdRng,
    /// Workers that looked at the disk and have not written yet.
    slow: Vec<(FileEvent, Deed)>,
    /// Hints that come late.
    late: Vec<Hint>,
    content: u32,
}

impl History {
    fn new(seed: u64, live: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::with(|settings| {
            if random.gen_bool(0.3) {
                settings.max_in_flight = 3;
                settings.max_settling = 2;
            }
            if random.gen_bool(0.3) {
                settings.brake_files = 2;
                settings.brake_wait = Duration::from_millis(200);
            }
            if random.gen_bool(0.3) {
                settings.max_watches = 5;
                settings.poll_interval = Duration::from_millis(100);
            }
        });
        world.deaf = live;
        Self {
            live,
            linked: false,
            world,
            random,
            slow: Vec::new(),
            late: Vec::new(),
            content: 0,
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            for _ in 0..self.random.gen_range(0..4) {
                self.change_folders();
            }
            self.muddle_hints();
            self.go_on();
        }
        self.heal();
        self.rest();
        self.world.assert_index_equals_folder();
        if self.live && self.world.settings.max_watches == 0 {
            self.world.assert_all_watched();
        }
        if self.live {
            // A file's last link that goes changes the others' times, and nothing tells of that.
            self.world.rescan();
            self.rest();
        }
        // And it stays so.
        let before = self.world.index.clone();
        self.world.rescan();
        self.rest();
        self.world.assert_index_equals_folder();
        assert_eq!(
            self.world.index, before,
            "a rescan of resting folders changes nothing"
        );
    }

    fn heal(&mut self) {
        for (event, deed) in std::mem::take(&mut self.slow) {
            let outcome = self.world.commit(&event, deed);
            self.world.tell(outcome);
        }
        self.world.hints.append(&mut self.late);
        if !self.live || self.linked {
            self.world.rescan();
        }
    }

    /// Until nothing more is said, done, or waited for.
    fn rest(&mut self) {
        let wait = self.world.settings.brake_wait + self.world.settings.poll_interval;
        // What the brake holds goes when its time is over; what is not watched is compared.
        for _ in 0..3 {
            if self.live {
                self.world.listen();
            }
            self.world.settle();
            self.world.pass(wait);
        }
        self.world.settle();
    }

    // --- the folders ---

    fn folder(&mut self) -> String {
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

    fn name(&mut self) -> String {
        let names = [
            "a.jpg",
            "b.jpg",
            "c.jpg",
            "x.jpg",
            "d.txt",
            ".e.jpg",
            "f.jpg.tmp",
        ];
        let folder = self.folder();
        format!("{folder}/{}", names.choose(&mut self.random).unwrap())
    }

    /// Few contents and sizes, so that copies and mistaken identities happen.
    fn content(&mut self) -> String {
        self.content += 1;
        match self.random.gen_range(0..10) {
            0 => "bad".into(),
            1 => "x".repeat(1001),
            2..=4 => format!("copy {}", self.random.gen_range(0..3)),
            _ => format!("{:06}", self.content),
        }
    }

    fn existing(&mut self, folders: bool) -> Option<String> {
        let mut found = Vec::new();
        for library in ["one", "two"] {
            list(&self.world.full(library), library, folders, &mut found);
        }
        found.sort();
        found.choose(&mut self.random).cloned()
    }

    fn change_folders(&mut self) {
        match self.random.gen_range(0..22) {
            0..=5 => {
                let (name, content) = (self.name(), self.content());
                let parent = self.world.full(&name).parent().unwrap().to_owned();
                if parent.is_dir() && !self.world.full(&name).is_dir() {
                    self.world.write(&name, &content);
                }
            }
            6 | 7 => {
                let folder = self.folder();
                if fs::create_dir_all(self.world.full(&folder)).is_ok() {
                    self.world.hint(&folder, HintKind::Changed);
                }
            }
            8 | 9 => {
                if let Some(place) = self.existing(false) {
                    self.world.remove(&place);
                }
            }
            10..=13 => {
                let (Some(from), to) = (self.existing(false), self.name()) else {
                    return;
                };
                if fs::rename(self.world.full(&from), self.world.full(&to)).is_ok() {
                    self.world.hint(&from, HintKind::Gone);
                    self.world.hint(&to, HintKind::Ready);
                }
            }
            14 | 15 => {
                let (Some(from), to) = (self.existing(true), self.folder()) else {
                    return;
                };
                if to.contains('/')
                    && fs::rename(self.world.full(&from), self.world.full(&to)).is_ok()
                {
                    self.world.hint(&from, HintKind::Gone);
                    self.world.hint(&to, HintKind::Ready);
                }
            }
            16 => {
                if let Some(folder) = self.existing(true) {
                    fs::remove_dir_all(self.world.full(&folder)).unwrap();
                    self.world.hint(&folder, HintKind::Gone);
                }
            }
            17 => {
                let (Some(from), to) = (self.existing(false), self.name()) else {
                    return;
                };
                if fs::hard_link(self.world.full(&from), self.world.full(&to)).is_ok() {
                    self.world.hint(&to, HintKind::Changed);
                    self.linked = true;
                }
            }
            18 => self.swap(),
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
        let place = format!("{}/.lookalikeignore", self.folder());
        let is_folder = self
            .world
            .full(&place)
            .parent()
            .is_some_and(std::path::Path::is_dir);
        if is_folder && !self.world.full(&place).is_dir() {
            let rules = rules.choose(&mut self.random).unwrap();
            self.world.write(&place, rules);
        }
    }

    fn swap(&mut self) {
        let (Some(a), Some(b)) = (self.existing(false), self.existing(false)) else {
            return;
        };
        let aside = self.world.full("aside");
        fs::rename(self.world.full(&a), &aside).unwrap();
        if a != b {
            fs::rename(self.world.full(&b), self.world.full(&a)).unwrap();
        }
        fs::rename(aside, self.world.full(&b)).unwrap();
        self.world.hint(&a, HintKind::Ready);
        self.world.hint(&b, HintKind::Ready);
    }

    fn overwrite_with_same_time(&mut self) {
        let Some(place) = self.existing(false) else {
            return;
        };
        let path = self.world.full(&place);
        let metadata = fs::metadata(&path).unwrap();
        let length = usize::try_from(metadata.len()).unwrap();
        fs::write(&path, "y".repeat(length)).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(metadata.modified().unwrap()).unwrap();
        self.world.hint(&place, HintKind::Ready);
    }

    // --- hints, turns, workers ---

    fn muddle_hints(&mut self) {
        let mut hints = std::mem::take(&mut self.world.hints);
        if self.live {
            let inbox = self.world.keeper().inbox.clone();
            let soon = Instant::now() + Duration::from_millis(2);
            hints.extend(inbox.take(usize::MAX, Some(soon)).hints);
        }
        hints.append(&mut self.late);
        for hint in hints {
            match self.random.gen_range(0..10) {
                0 if !self.live => {}
                0 if self.random.gen_bool(0.1) => self.world.overflown.push(hint.library),
                1 => self.late.push(hint),
                2 => self.world.hints.extend([hint.clone(), hint]),
                _ => self.world.hints.push(hint),
            }
        }
        if self.random.gen_bool(0.3) {
            self.world.hints.shuffle(&mut self.random);
        }
    }

    fn go_on(&mut self) {
        match self.random.gen_range(0..14) {
            0..=3 => self.world.turn(Vec::new()),
            4 | 5 => {
                let most = self.random.gen_range(1..5);
                let events = self.world.hand_out(most);
                match self.random.gen_range(0..8) {
                    0 => self.world.fail_to_publish(&events),
                    1 => {
                        // Stored, and the answer lost.
                        self.world.queue.extend(events.clone());
                        self.world.fail_to_publish(&events);
                    }
                    2 => {
                        self.world.queue.extend(events);
                        self.world.restart();
                    }
                    3 => self.world.restart(),
                    _ => self.world.publish(events),
                }
            }
            6..=8 => self.work(),
            9 | 10 => {
                let most = self.random.gen_range(1..4);
                self.world.deliver(most);
            }
            11 => self.world.restart(),
            12 => {
                self.world.look_for_overdue();
            }
            _ => self.world.rescan(),
        }
        let time = self.random.gen_range(0..25);
        self.world.pass(Duration::from_millis(time));
    }

    /// A worker takes any event; it may be lost, done twice, or done now and written later.
    fn work(&mut self) {
        if !self.slow.is_empty() && self.random.gen_bool(0.4) {
            let one = self.random.gen_range(0..self.slow.len());
            let (event, deed) = self.slow.swap_remove(one);
            let outcome = self.world.commit(&event, deed);
            self.world.tell(outcome);
            return;
        }
        let held = self.world.queue.len();
        if held == 0 {
            return;
        }
        let one = self.random.gen_range(0..held);
        let event = self
            .world
            .queue
            .remove(one)
            .expect("it is one of those held");
        match self.random.gen_range(0..8) {
            0 => {} // The stream lost it.
            1 | 2 => {
                // Slow past its time: another worker gets it too.
                if let Some(deed) = self.world.prepare(&event) {
                    self.slow.push((event.clone(), deed));
                }
                self.world.queue.push_back(event);
            }
            _ => {
                self.world.embed(event);
            }
        }
    }
}

fn list(folder: &PathBuf, place: &str, folders: bool, found: &mut Vec<String>) {
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
            list(&entry.path(), &place, folders, found);
        }
    }
}
