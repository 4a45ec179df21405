//! What people and programs do to folders, at random: every operation is drawn from the seed and
//! from the model of the folders as the operations before left them.

use super::content::Content;
use super::tree::{How, Step, Tree, is_within, library, name, parent};
use crate::paint::Random;

/// The libraries.
pub const LIBRARIES: [&str; 2] = ["first", "second"];

/// Painted pictures that all contents are made from.
pub const BASES: u32 = 12;

/// Something that is done to the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its kind, for the report.
    pub kind: &'static str,
    /// Its steps, done one after the other without a pause.
    pub steps: Vec<Step>,
    /// How many files it touches.
    pub files: usize,
}

/// Kinds with how often each is chosen.
const KINDS: &[(&str, u32)] = &[
    ("create", 8),
    ("create in new folders", 5),
    ("edit", 8),
    ("replace atomically", 8),
    ("edit keeping size and time", 4),
    ("copy", 8),
    ("move", 8),
    ("move to the other library", 6),
    ("swap", 5),
    ("chain of renames", 3),
    ("delete", 8),
    ("delete and make again", 4),
    ("rename case", 2),
    ("hide or show", 3),
    ("break or mend", 4),
    ("touch", 3),
    ("hard link", 3),
    ("write slowly", 5),
    ("move folder", 6),
    ("move folder to the other library", 3),
    ("copy folder", 2),
    ("delete folder", 2),
    ("delete folder and make again", 2),
    ("burst", 2),
    ("root away", 1),
];

/// Draws operations and keeps the model.
#[derive(Debug)]
pub struct Operations {
    random: Random,
    /// The folders after every operation drawn so far.
    pub tree: Tree,
    /// About how many files there should be.
    wanted: usize,
    next: u32,
    steps: Vec<Step>,
}

impl Operations {
    /// Over empty libraries; about `wanted` files later.
    pub fn new(seed: u64, wanted: usize) -> Self {
        Self {
            random: Random::new(seed, 2),
            tree: Tree::new(&LIBRARIES),
            wanted,
            next: 0,
            steps: Vec::new(),
        }
    }

    /// Files that come at once, into a few folders.
    pub fn burst(&mut self, files: usize) -> Operation {
        for _ in 0..files {
            let folder = match self.random.whole(0, 9) {
                0 => self.new_folder(),
                _ => self.some_folder(),
            };
            self.create(&folder);
        }
        self.done("burst")
    }

    /// The next one.
    pub fn one_more(&mut self) -> Operation {
        // What was begun goes on between the others.
        if self.tree.open.is_some() && self.random.chance(0.4) {
            return self.go_on_writing();
        }
        if self.tree.away.is_some() && self.random.chance(0.15) {
            return self.step("root back", Step::Back);
        }
        for _ in 0..100 {
            let kind = self.kind();
            if let Some(operation) = self.one(kind) {
                return operation;
            }
        }
        let folder = self.some_folder();
        self.create(&folder);
        self.done("create")
    }

    /// What must still be done so that nothing is left open or away.
    pub fn finish(&mut self) -> Vec<Operation> {
        let mut rest = Vec::new();
        while self.tree.open.is_some() {
            rest.push(self.go_on_writing());
        }
        if self.tree.away.is_some() {
            rest.push(self.step("root back", Step::Back));
        }
        rest
    }

    fn kind(&mut self) -> &'static str {
        let all: u32 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.whole(0, all - 1);
        for (kind, weight) in KINDS {
            if left < *weight {
                return kind;
            }
            left -= weight;
        }
        "create"
    }

    fn one(&mut self, kind: &'static str) -> Option<Operation> {
        match kind {
            "create" => {
                let folder = self.some_folder();
                self.create(&folder);
            }
            "create in new folders" => {
                let folder = self.new_folder();
                for _ in 0..self.random.whole(1, 4) {
                    self.create(&folder);
                }
            }
            "edit" => self.edit(How::Straight)?,
            "replace atomically" => self.edit(How::Beside)?,
            "edit keeping size and time" => {
                let path = self.some_picture()?;
                let Some(Content::Picture { base, .. }) = self.tree.content(&path) else {
                    return None;
                };
                let number = self.number();
                let content = Content::Picture { base, number };
                self.write(path, content, How::SameTime);
            }
            "copy" => {
                let from = self.some_file()?;
                let folder = self.some_folder();
                let to = self.new_path(&folder, name(&from));
                self.take(Step::Copy { from, to });
            }
            "move" | "move to the other library" => {
                let from = self.some_file()?;
                let folder = self.folder_for(&from, kind == "move")?;
                let to = match self.random.chance(0.5) {
                    true => format!("{folder}/{}", name(&from)),
                    false => self.new_path(&folder, name(&from)),
                };
                if self.tree.has(&to) {
                    return None;
                }
                self.take(Step::Rename { from, to });
            }
            "swap" => {
                let (a, b) = (self.some_picture()?, self.some_picture()?);
                if a == b {
                    return None;
                }
                let between = self.new_path(parent(&a), "swap.jpg");
                self.rename(&a, &between);
                self.rename(&b, &a);
                self.rename(&between, &b);
            }
            "chain of renames" => {
                let mut path = self.some_file()?;
                for _ in 0..self.random.whole(2, 4) {
                    let next = self.new_path(parent(&path), name(&path));
                    self.rename(&path, &next);
                    path = next;
                }
            }
            "delete" => {
                let path = self.some_file()?;
                self.take(Step::Remove { path });
            }
            "delete and make again" => {
                let path = self.some_picture()?;
                let content = match self.random.chance(0.4) {
                    true => self.tree.content(&path)?,
                    false => self.new_picture(),
                };
                self.take(Step::Remove { path: path.clone() });
                self.write(path, content, How::Straight);
            }
            "rename case" => {
                let from = self.some_file()?;
                let own = name(&from);
                let other = match own.to_ascii_uppercase() {
                    upper if upper == own => own.to_ascii_lowercase(),
                    upper => upper,
                };
                let to = format!("{}/{other}", parent(&from));
                if self.tree.has(&to) {
                    return None;
                }
                self.take(Step::Rename { from, to });
            }
            "hide or show" => {
                let from = self.some_file()?;
                let own = name(&from);
                let other = own
                    .strip_prefix('.')
                    .map_or_else(|| format!(".{own}"), str::to_owned);
                let to = format!("{}/{other}", parent(&from));
                if self.tree.has(&to) {
                    return None;
                }
                self.take(Step::Rename { from, to });
            }
            "break or mend" => {
                let path = self.some_file()?;
                let content = match self.tree.content(&path)? {
                    Content::Picture { .. } => self.not_a_picture(),
                    _ => self.new_picture(),
                };
                self.write(path, content, How::Straight);
            }
            "touch" => {
                let path = self.some_file()?;
                // A quarter of an hour ahead, or years ago.
                let seconds = self.random.choose(&[0, 900, -86_400, -315_360_000]);
                self.take(Step::Touch { path, seconds });
            }
            "hard link" => {
                let from = self.some_file()?;
                let folder = self.folder_for(&from, true)?;
                let to = self.new_path(&folder, name(&from));
                self.take(Step::Link { from, to });
            }
            "write slowly" => {
                if self.tree.open.is_some() {
                    return None;
                }
                let folder = self.some_folder();
                let path = self.new_path(&folder, "slow.jpg");
                let content = self.new_picture();
                self.take(Step::Begin { path, content });
            }
            "move folder" | "move folder to the other library" => {
                let from = self.some_inner_folder()?;
                let into = self.folder_for(&from, kind == "move folder")?;
                // What looks like the loss of half a library makes a watcher wait for a word.
                let too_many = self.tree.files_within(&from) * 4 > self.tree.count();
                if into == from || is_within(&into, &from) || too_many {
                    return None;
                }
                let to = self.new_path(&into, name(&from));
                self.take(Step::Rename { from, to });
            }
            "copy folder" => self.copy_folder()?,
            "delete folder" => {
                let path = self.some_inner_folder()?;
                let too_many = self.tree.files_within(&path) * 4 > self.tree.count();
                if too_many || self.tree.count() * 2 < self.wanted {
                    return None;
                }
                self.take(Step::RemoveFolder { path });
            }
            "delete folder and make again" => {
                let path = self.some_inner_folder()?;
                if self.tree.files_within(&path) * 4 > self.tree.count() {
                    return None;
                }
                self.take(Step::RemoveFolder { path: path.clone() });
                for _ in 0..self.random.whole(1, 5) {
                    self.create(&path);
                }
            }
            "burst" => {
                if self.tree.count() > self.wanted * 3 / 2 {
                    return None;
                }
                let most = u32::try_from(self.wanted / 5).unwrap_or(u32::MAX);
                let files = self.random.whole(most / 4, most);
                return Some(self.burst(files as usize));
            }
            "root away" => {
                // Both libraries at once would leave nothing to do.
                if self.tree.away.is_some() || self.tree.open.is_some() {
                    return None;
                }
                let library = self.random.choose(&LIBRARIES).to_owned();
                self.take(Step::Away { library });
            }
            _ => return None,
        }
        Some(self.done(kind))
    }

    fn go_on_writing(&mut self) -> Operation {
        match self.random.chance(0.4) {
            true => self.step("write slowly", Step::End),
            false => self.step("write slowly", Step::More),
        }
    }

    fn step(&mut self, kind: &'static str, step: Step) -> Operation {
        self.take(step);
        self.done(kind)
    }

    fn take(&mut self, step: Step) {
        self.tree.apply(&step);
        self.steps.push(step);
    }

    fn done(&mut self, kind: &'static str) -> Operation {
        let steps = std::mem::take(&mut self.steps);
        let files = |step: &Step| match step {
            // By where they lie afterwards; of a removed folder nothing is left to count.
            Step::Rename { to, .. } => self.tree.files_within(to).max(1),
            _ => 1,
        };
        Operation {
            kind,
            files: steps.iter().map(files).sum(),
            steps,
        }
    }

    fn write(&mut self, path: String, content: Content, how: How) {
        self.take(Step::Write { path, content, how });
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.take(Step::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
    }

    fn edit(&mut self, how: How) -> Option<()> {
        let path = self.some_file()?;
        let content = match self.tree.content(&path)? {
            Content::Picture { .. } => self.new_picture(),
            _ => self.not_a_picture(),
        };
        self.write(path, content, how);
        Some(())
    }

    fn copy_folder(&mut self) -> Option<()> {
        let from = self.some_inner_folder()?;
        let count = self.tree.files_within(&from);
        if count == 0 || count * 8 > self.wanted || self.tree.count() > self.wanted * 3 / 2 {
            return None;
        }
        let into = self.some_folder();
        let to = self.new_path(&into, name(&from));
        let within: Vec<String> = self
            .tree
            .files()
            .filter(|(path, _)| is_within(path, &from))
            .map(|(path, _)| path.to_owned())
            .collect();
        for file in within {
            let copy = format!("{to}{}", &file[from.len()..]);
            self.take(Step::Copy {
                from: file,
                to: copy,
            });
        }
        Some(())
    }

    /// A file of a content that is new, known, or none that can be indexed.
    fn create(&mut self, folder: &str) {
        let (content, own) = match self.random.whole(0, 19) {
            0 => (self.not_a_picture(), "odd.jpg"),
            1 => (Content::Text { number: self.next }, "note.txt"),
            2 => (self.new_picture(), ".hidden.jpg"),
            3..=7 => (self.known_picture(), "known.jpg"),
            _ => (self.new_picture(), "new.jpg"),
        };
        let path = self.new_path(folder, own);
        let how = match self.random.chance(0.5) {
            true => How::Straight,
            false => How::Beside,
        };
        self.write(path, content, how);
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn new_picture(&mut self) -> Content {
        Content::Picture {
            base: self.random.whole(0, BASES - 1),
            number: self.number(),
        }
    }

    /// As an earlier one, which may be gone.
    fn known_picture(&mut self) -> Content {
        match self.some_picture() {
            Some(path) => self.tree.content(&path).unwrap_or(Content::Empty),
            None => self.new_picture(),
        }
    }

    fn not_a_picture(&mut self) -> Content {
        let number = self.number();
        match self.random.whole(0, 2) {
            0 => Content::Empty,
            1 => Content::Text { number },
            _ => Content::Broken { number },
        }
    }

    /// A free path in a folder, with the ending of `like`.
    fn new_path(&mut self, folder: &str, like: &str) -> String {
        let number = self.number();
        let hidden = if like.starts_with('.') { "." } else { "" };
        let path = match like.trim_start_matches('.').rsplit_once('.') {
            Some((stem, ending)) => {
                let stem = stem.split('-').next().unwrap_or(stem);
                format!("{folder}/{hidden}{stem}-{number}.{ending}")
            }
            None => format!("{folder}/folder-{number}"),
        };
        debug_assert!(!self.tree.has(&path));
        path
    }

    fn new_folder(&mut self) -> String {
        let mut folder = self.some_folder();
        for _ in 0..self.random.whole(1, 3) {
            folder = self.new_path(&folder, "folder");
        }
        folder
    }

    fn pick(&mut self, from: &[String]) -> Option<String> {
        let last = u32::try_from(from.len().checked_sub(1)?).ok()?;
        Some(from[self.random.whole(0, last) as usize].clone())
    }

    fn is_free(&self, path: &str) -> bool {
        let is_away = self.tree.away.as_deref() == Some(library(path));
        !is_away && self.tree.open.as_deref() != Some(path)
    }

    fn some_file(&mut self) -> Option<String> {
        self.some_file_that(|_| true)
    }

    /// A picture with a name under which it is indexed.
    fn some_picture(&mut self) -> Option<String> {
        self.some_file_that(Content::is_picture)
    }

    fn some_file_that(&mut self, fits: impl Fn(Content) -> bool) -> Option<String> {
        let files: Vec<String> = self
            .tree
            .files()
            .filter(|(path, content)| fits(*content) && self.is_free(path))
            .map(|(path, _)| path.to_owned())
            .collect();
        self.pick(&files)
    }

    fn some_folder(&mut self) -> String {
        self.some_folder_that(|_| true)
            .expect("one root at least is there")
    }

    /// One that is no root, and holds nothing that is open.
    fn some_inner_folder(&mut self) -> Option<String> {
        let open = self.tree.open.clone();
        self.some_folder_that(|folder| {
            folder.contains('/') && !open.as_deref().is_some_and(|open| is_within(open, folder))
        })
    }

    /// One in the same library as `path`, or in the other.
    fn folder_for(&mut self, path: &str, same: bool) -> Option<String> {
        self.some_folder_that(|folder| (library(folder) == library(path)) == same)
    }

    fn some_folder_that(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        // Deep trees say nothing new, and paths must stay short.
        let is_shallow = |folder: &str| folder.matches('/').count() < 8;
        let folders: Vec<String> = self
            .tree
            .folders()
            .filter(|folder| fits(folder) && self.is_free(folder) && is_shallow(folder))
            .map(str::to_owned)
            .collect();
        self.pick(&folders)
    }
}
