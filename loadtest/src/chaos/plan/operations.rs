//! What people and programs do to folders, at random: every operation is drawn from the seed and
//! from the model of the folders as the operations before left them.

use crate::chaos::plan::content::TestContent;
use crate::chaos::plan::folder_model::{
    FolderModel, FolderStep, WriteMethod, is_within, library_of, name_of, parent_of,
};
use lookalike_painter::paint::Random;

/// The libraries.
pub const LIBRARIES: [&str; 2] = ["first", "second"];

/// Painted pictures that all contents are made from.
pub const BASE_PICTURES: u32 = 12;

/// Something that is done to the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its kind, for the report.
    pub kind: &'static str,
    /// Its steps, done one after the other without a pause.
    pub steps: Vec<FolderStep>,
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
    ("break or repair", 4),
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
pub struct OperationGenerator {
    random: Random,
    /// The folders after every operation drawn so far.
    pub tree: FolderModel,
    /// About how many files there should be.
    target_files: usize,
    last_number: u32,
    steps: Vec<FolderStep>,
}

impl OperationGenerator {
    /// Over empty libraries; about `target_files` files later.
    pub fn new(seed: u64, target_files: usize) -> Self {
        Self {
            random: Random::new(seed, 2),
            tree: FolderModel::new(&LIBRARIES),
            target_files: target_files,
            last_number: 0,
            steps: Vec::new(),
        }
    }

    /// Files that come at once, into a few folders.
    pub fn create_burst(&mut self, files: usize) -> Operation {
        for _ in 0..files {
            let folder = match self.random.int_between(0, 9) {
                0 => self.new_folder(),
                _ => self.some_folder(),
            };
            self.create_file(&folder);
        }
        self.finish_operation("burst")
    }

    /// The next one.
    pub fn next_operation(&mut self) -> Operation {
        // What was begun goes on between the others.
        if self.tree.open_file.is_some() && self.random.next_bool(0.4) {
            return self.continue_writing();
        }
        if self.tree.away_library.is_some() && self.random.next_bool(0.15) {
            return self.single_step("root back", FolderStep::PutRootBack);
        }
        for _ in 0..100 {
            let kind = self.draw_kind();
            if let Some(operation) = self.try_operation(kind) {
                return operation;
            }
        }
        let folder = self.some_folder();
        self.create_file(&folder);
        self.finish_operation("create")
    }

    /// What must still be done so that nothing is left open or away.
    pub fn finish_open_work(&mut self) -> Vec<Operation> {
        let mut remaining = Vec::new();
        while self.tree.open_file.is_some() {
            remaining.push(self.continue_writing());
        }
        if self.tree.away_library.is_some() {
            remaining.push(self.single_step("root back", FolderStep::PutRootBack));
        }
        remaining
    }

    fn draw_kind(&mut self) -> &'static str {
        let all: u32 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.int_between(0, all - 1);
        for (kind, weight) in KINDS {
            if left < *weight {
                return kind;
            }
            left -= weight;
        }
        "create"
    }

    fn try_operation(&mut self, kind: &'static str) -> Option<Operation> {
        match kind {
            "create" => {
                let folder = self.some_folder();
                self.create_file(&folder);
            }
            "create in new folders" => {
                let folder = self.new_folder();
                for _ in 0..self.random.int_between(1, 4) {
                    self.create_file(&folder);
                }
            }
            "edit" => self.edit_file(WriteMethod::InPlace)?,
            "replace atomically" => self.edit_file(WriteMethod::TempThenRename)?,
            "edit keeping size and time" => {
                let path = self.some_picture()?;
                let Some(TestContent::Picture { base, .. }) = self.tree.content_of(&path) else {
                    return None;
                };
                let number = self.next_number();
                let content = TestContent::Picture { base, number };
                self.write_file(path, content, WriteMethod::KeepModifiedTime);
            }
            "copy" => {
                let from = self.some_file()?;
                let folder = self.some_folder();
                let to = self.new_path(&folder, name_of(&from));
                self.push_step(FolderStep::Copy { from, to });
            }
            "move" | "move to the other library" => {
                let from = self.some_file()?;
                let folder = self.folder_for(&from, kind == "move")?;
                let to = match self.random.next_bool(0.5) {
                    true => format!("{folder}/{}", name_of(&from)),
                    false => self.new_path(&folder, name_of(&from)),
                };
                if self.tree.contains_path(&to) {
                    return None;
                }
                self.push_step(FolderStep::Rename { from, to });
            }
            "swap" => {
                let (a, b) = (self.some_picture()?, self.some_picture()?);
                if a == b {
                    return None;
                }
                let between = self.new_path(parent_of(&a), "swap.jpg");
                self.rename_path(&a, &between);
                self.rename_path(&b, &a);
                self.rename_path(&between, &b);
            }
            "chain of renames" => {
                let mut path = self.some_file()?;
                for _ in 0..self.random.int_between(2, 4) {
                    let next = self.new_path(parent_of(&path), name_of(&path));
                    self.rename_path(&path, &next);
                    path = next;
                }
            }
            "delete" => {
                let path = self.some_file()?;
                self.push_step(FolderStep::Remove { path });
            }
            "delete and make again" => {
                let path = self.some_picture()?;
                let content = match self.random.next_bool(0.4) {
                    true => self.tree.content_of(&path)?,
                    false => self.new_picture(),
                };
                self.push_step(FolderStep::Remove { path: path.clone() });
                self.write_file(path, content, WriteMethod::InPlace);
            }
            "rename case" => {
                let from = self.some_file()?;
                let own = name_of(&from);
                let other = match own.to_ascii_uppercase() {
                    upper if upper == own => own.to_ascii_lowercase(),
                    upper => upper,
                };
                let to = format!("{}/{other}", parent_of(&from));
                if self.tree.contains_path(&to) {
                    return None;
                }
                self.push_step(FolderStep::Rename { from, to });
            }
            "hide or show" => {
                let from = self.some_file()?;
                let own = name_of(&from);
                let other = own
                    .strip_prefix('.')
                    .map_or_else(|| format!(".{own}"), str::to_owned);
                let to = format!("{}/{other}", parent_of(&from));
                if self.tree.contains_path(&to) {
                    return None;
                }
                self.push_step(FolderStep::Rename { from, to });
            }
            "break or repair" => {
                let path = self.some_file()?;
                let content = match self.tree.content_of(&path)? {
                    TestContent::Picture { .. } => self.not_a_picture(),
                    _ => self.new_picture(),
                };
                self.write_file(path, content, WriteMethod::InPlace);
            }
            "touch" => {
                let path = self.some_file()?;
                // A quarter of an hour ahead, or years ago.
                let seconds = self.random.choose_from(&[0, 900, -86_400, -315_360_000]);
                self.push_step(FolderStep::Touch { path, seconds });
            }
            "hard link" => {
                let from = self.some_file()?;
                let folder = self.folder_for(&from, true)?;
                let to = self.new_path(&folder, name_of(&from));
                self.push_step(FolderStep::Link { from, to });
            }
            "write slowly" => {
                if self.tree.open_file.is_some() {
                    return None;
                }
                let folder = self.some_folder();
                let path = self.new_path(&folder, "slow.jpg");
                let content = self.new_picture();
                self.push_step(FolderStep::BeginWrite { path, content });
            }
            "move folder" | "move folder to the other library" => {
                let from = self.some_inner_folder()?;
                let into = self.folder_for(&from, kind == "move folder")?;
                // What looks like the loss of half a library makes a watcher wait for a word.
                let too_many = self.tree.files_within(&from) * 4 > self.tree.file_count();
                if into == from || is_within(&into, &from) || too_many {
                    return None;
                }
                let to = self.new_path(&into, name_of(&from));
                self.push_step(FolderStep::Rename { from, to });
            }
            "copy folder" => self.copy_folder()?,
            "delete folder" => {
                let path = self.some_inner_folder()?;
                let too_many = self.tree.files_within(&path) * 4 > self.tree.file_count();
                if too_many || self.tree.file_count() * 2 < self.target_files {
                    return None;
                }
                self.push_step(FolderStep::RemoveFolder { path });
            }
            "delete folder and make again" => {
                let path = self.some_inner_folder()?;
                if self.tree.files_within(&path) * 4 > self.tree.file_count() {
                    return None;
                }
                self.push_step(FolderStep::RemoveFolder { path: path.clone() });
                for _ in 0..self.random.int_between(1, 5) {
                    self.create_file(&path);
                }
            }
            "burst" => {
                if self.tree.file_count() > self.target_files * 3 / 2 {
                    return None;
                }
                let max_files = u32::try_from(self.target_files / 5).unwrap_or(u32::MAX);
                let files = self.random.int_between(max_files / 4, max_files);
                return Some(self.create_burst(files as usize));
            }
            "root away" => {
                // Both libraries at once would leave nothing to do.
                if self.tree.away_library.is_some() || self.tree.open_file.is_some() {
                    return None;
                }
                let library = self.random.choose_from(&LIBRARIES).to_owned();
                self.push_step(FolderStep::TakeRootAway { library });
            }
            _ => return None,
        }
        Some(self.finish_operation(kind))
    }

    fn continue_writing(&mut self) -> Operation {
        match self.random.next_bool(0.4) {
            true => self.single_step("write slowly", FolderStep::EndWrite),
            false => self.single_step("write slowly", FolderStep::ContinueWrite),
        }
    }

    fn single_step(&mut self, kind: &'static str, step: FolderStep) -> Operation {
        self.push_step(step);
        self.finish_operation(kind)
    }

    fn push_step(&mut self, step: FolderStep) {
        self.tree.apply_step(&step);
        self.steps.push(step);
    }

    fn finish_operation(&mut self, kind: &'static str) -> Operation {
        let steps = std::mem::take(&mut self.steps);
        let files = |step: &FolderStep| match step {
            // By where they lie afterwards; of a removed folder nothing is left to count.
            FolderStep::Rename { to, .. } => self.tree.files_within(to).max(1),
            _ => 1,
        };
        Operation {
            kind,
            files: steps.iter().map(files).sum(),
            steps,
        }
    }

    fn write_file(&mut self, path: String, content: TestContent, how: WriteMethod) {
        self.push_step(FolderStep::Write {
            path,
            content,
            method: how,
        });
    }

    fn rename_path(&mut self, from: &str, to: &str) {
        self.push_step(FolderStep::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
    }

    fn edit_file(&mut self, how: WriteMethod) -> Option<()> {
        let path = self.some_file()?;
        let content = match self.tree.content_of(&path)? {
            TestContent::Picture { .. } => self.new_picture(),
            _ => self.not_a_picture(),
        };
        self.write_file(path, content, how);
        Some(())
    }

    fn copy_folder(&mut self) -> Option<()> {
        let from = self.some_inner_folder()?;
        let count = self.tree.files_within(&from);
        if count == 0
            || count * 8 > self.target_files
            || self.tree.file_count() > self.target_files * 3 / 2
        {
            return None;
        }
        let into = self.some_folder();
        let to = self.new_path(&into, name_of(&from));
        let within: Vec<String> = self
            .tree
            .files()
            .filter(|(path, _)| is_within(path, &from))
            .map(|(path, _)| path.to_owned())
            .collect();
        for file in within {
            let copy = format!("{to}{}", &file[from.len()..]);
            self.push_step(FolderStep::Copy {
                from: file,
                to: copy,
            });
        }
        Some(())
    }

    /// A file of a content that is new, known, or none that can be indexed.
    fn create_file(&mut self, folder: &str) {
        let (content, name_pattern) = match self.random.int_between(0, 19) {
            0 => (self.not_a_picture(), "odd.jpg"),
            1 => (
                TestContent::Text {
                    number: self.last_number,
                },
                "note.txt",
            ),
            2 => (self.new_picture(), ".hidden.jpg"),
            3..=7 => (self.repeated_picture(), "known.jpg"),
            _ => (self.new_picture(), "new.jpg"),
        };
        let path = self.new_path(folder, name_pattern);
        let how = match self.random.next_bool(0.5) {
            true => WriteMethod::InPlace,
            false => WriteMethod::TempThenRename,
        };
        self.write_file(path, content, how);
    }

    fn next_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    fn new_picture(&mut self) -> TestContent {
        TestContent::Picture {
            base: self.random.int_between(0, BASE_PICTURES - 1),
            number: self.next_number(),
        }
    }

    /// As an earlier one, which may be gone.
    fn repeated_picture(&mut self) -> TestContent {
        match self.some_picture() {
            Some(path) => self.tree.content_of(&path).unwrap_or(TestContent::Empty),
            None => self.new_picture(),
        }
    }

    fn not_a_picture(&mut self) -> TestContent {
        let number = self.next_number();
        match self.random.int_between(0, 2) {
            0 => TestContent::Empty,
            1 => TestContent::Text { number },
            _ => TestContent::TruncatedPicture { number },
        }
    }

    /// A free path in a folder, with the ending of `like`.
    fn new_path(&mut self, folder: &str, like: &str) -> String {
        let number = self.next_number();
        let hidden = if like.starts_with('.') { "." } else { "" };
        let path = match like.trim_start_matches('.').rsplit_once('.') {
            Some((stem, ending)) => {
                let stem = stem.split('-').next().unwrap_or(stem);
                format!("{folder}/{hidden}{stem}-{number}.{ending}")
            }
            None => format!("{folder}/folder-{number}"),
        };
        debug_assert!(!self.tree.contains_path(&path));
        path
    }

    fn new_folder(&mut self) -> String {
        let mut folder = self.some_folder();
        for _ in 0..self.random.int_between(1, 3) {
            folder = self.new_path(&folder, "folder");
        }
        folder
    }

    fn pick_random(&mut self, from: &[String]) -> Option<String> {
        let last = u32::try_from(from.len().checked_sub(1)?).ok()?;
        Some(from[self.random.int_between(0, last) as usize].clone())
    }

    fn is_free(&self, path: &str) -> bool {
        let is_away = self.tree.away_library.as_deref() == Some(library_of(path));
        !is_away && self.tree.open_file.as_deref() != Some(path)
    }

    fn some_file(&mut self) -> Option<String> {
        self.some_file_matching(|_| true)
    }

    /// A picture with a name under which it is indexed.
    fn some_picture(&mut self) -> Option<String> {
        self.some_file_matching(TestContent::is_picture)
    }

    fn some_file_matching(&mut self, fits: impl Fn(TestContent) -> bool) -> Option<String> {
        let files: Vec<String> = self
            .tree
            .files()
            .filter(|(path, content)| fits(*content) && self.is_free(path))
            .map(|(path, _)| path.to_owned())
            .collect();
        self.pick_random(&files)
    }

    fn some_folder(&mut self) -> String {
        self.some_folder_matching(|_| true)
            .expect("one root at least is there")
    }

    /// One that is no root, and holds nothing that is open.
    fn some_inner_folder(&mut self) -> Option<String> {
        let open = self.tree.open_file.clone();
        self.some_folder_matching(|folder| {
            folder.contains('/') && !open.as_deref().is_some_and(|open| is_within(open, folder))
        })
    }

    /// One in the same library as `path`, or in the other.
    fn folder_for(&mut self, path: &str, same: bool) -> Option<String> {
        self.some_folder_matching(|folder| (library_of(folder) == library_of(path)) == same)
    }

    fn some_folder_matching(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        // Deep trees say nothing new, and paths must stay short.
        let is_shallow = |folder: &str| folder.matches('/').count() < 8;
        let folders: Vec<String> = self
            .tree
            .folders()
            .filter(|folder| fits(folder) && self.is_free(folder) && is_shallow(folder))
            .map(str::to_owned)
            .collect();
        self.pick_random(&folders)
    }
}
