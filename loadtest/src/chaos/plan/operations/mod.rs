//! Random operations that people and programs do to folders. Each is drawn from the seed and from
//! the model of the folders after all earlier operations.

mod choices;
mod kinds;

use crate::chaos::plan::content::TestContent;
use crate::chaos::plan::folder_model::{FolderModel, FolderStep, WriteMethod};
use lookalike_painter::paint::Random;

pub const LIBRARIES: [&str; 2] = ["first", "second"];

/// Number of painted pictures that all contents are made from.
pub const BASE_PICTURES: u32 = 12;

/// One operation on the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub kind: &'static str,
    /// Done one after the other without a pause.
    pub steps: Vec<FolderStep>,
    /// Number of files that the operation touches.
    pub files: usize,
}

/// A kind of operation that can be drawn.
struct OperationKind {
    name: &'static str,
    /// How often it is drawn, relative to the others.
    weight: u32,
    /// Adds the steps of one operation, or returns `None` if the folders do not allow it now.
    attempt: fn(&mut OperationGenerator) -> Option<()>,
}

impl OperationKind {
    const fn new(
        name: &'static str,
        weight: u32,
        attempt: fn(&mut OperationGenerator) -> Option<()>,
    ) -> Self {
        Self {
            name,
            weight,
            attempt,
        }
    }
}

/// All kinds. Their order and weights decide what a seed draws.
const KINDS: &[OperationKind] = &[
    OperationKind::new("create", 8, OperationGenerator::create_one_file),
    OperationKind::new(
        "create in new folders",
        5,
        OperationGenerator::create_in_new_folders,
    ),
    OperationKind::new("edit", 8, OperationGenerator::edit_in_place),
    OperationKind::new(
        "replace atomically",
        8,
        OperationGenerator::replace_atomically,
    ),
    OperationKind::new(
        "edit keeping size and time",
        4,
        OperationGenerator::edit_keeping_size_and_time,
    ),
    OperationKind::new("copy", 8, OperationGenerator::copy_file),
    OperationKind::new("move", 8, OperationGenerator::move_file),
    OperationKind::new(
        "move to the other library",
        6,
        OperationGenerator::move_to_other_library,
    ),
    OperationKind::new("swap", 5, OperationGenerator::swap_files),
    OperationKind::new("chain of renames", 3, OperationGenerator::rename_in_chain),
    OperationKind::new("delete", 8, OperationGenerator::delete_file),
    OperationKind::new(
        "delete and make again",
        4,
        OperationGenerator::delete_and_recreate,
    ),
    OperationKind::new("rename case", 2, OperationGenerator::rename_case),
    OperationKind::new("hide or show", 3, OperationGenerator::toggle_hidden),
    OperationKind::new("break or repair", 4, OperationGenerator::toggle_broken),
    OperationKind::new("touch", 3, OperationGenerator::touch_file),
    OperationKind::new("hard link", 3, OperationGenerator::hard_link),
    OperationKind::new("write slowly", 5, OperationGenerator::begin_slow_write),
    OperationKind::new("move folder", 6, OperationGenerator::move_folder),
    OperationKind::new(
        "move folder to the other library",
        3,
        OperationGenerator::move_folder_to_other_library,
    ),
    OperationKind::new("copy folder", 2, OperationGenerator::copy_folder),
    OperationKind::new("delete folder", 2, OperationGenerator::delete_folder),
    OperationKind::new(
        "delete folder and make again",
        2,
        OperationGenerator::delete_folder_and_recreate,
    ),
    OperationKind::new("burst", 2, OperationGenerator::create_large_burst),
    OperationKind::new("root away", 1, OperationGenerator::take_root_away),
];

/// Draws operations and applies them to the model.
#[derive(Debug)]
pub struct OperationGenerator {
    random: Random,
    /// The folders after all operations drawn so far.
    pub tree: FolderModel,
    /// Approximate number of files to keep.
    target_files: usize,
    last_number: u32,
    steps: Vec<FolderStep>,
}

impl OperationGenerator {
    /// Starts with empty libraries.
    pub fn new(seed: u64, target_files: usize) -> Self {
        Self {
            random: Random::new(seed, 2),
            tree: FolderModel::new(&LIBRARIES),
            target_files,
            last_number: 0,
            steps: Vec::new(),
        }
    }

    /// Creates files at once in a few folders.
    pub fn create_burst(&mut self, files: usize) -> Operation {
        self.create_files(files);
        self.finish_operation("burst")
    }

    pub fn next_operation(&mut self) -> Operation {
        // Started operations continue between the others.
        if self.tree.open_file.is_some() && self.random.next_bool(0.4) {
            return self.continue_writing();
        }
        if self.tree.away_library.is_some() && self.random.next_bool(0.15) {
            return self.single_step("root back", FolderStep::PutRootBack);
        }
        for _ in 0..100 {
            let kind = self.draw_kind();
            if (kind.attempt)(self).is_some() {
                return self.finish_operation(kind.name);
            }
        }
        let folder = self.some_folder();
        self.create_file(&folder);
        self.finish_operation("create")
    }

    /// Closes the open file and returns the root that is away.
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

    fn draw_kind(&mut self) -> &'static OperationKind {
        let total: u32 = KINDS.iter().map(|kind| kind.weight).sum();
        let mut remaining = self.random.int_between(0, total - 1);
        for kind in KINDS {
            if remaining < kind.weight {
                return kind;
            }
            remaining -= kind.weight;
        }
        &KINDS[0]
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
            // A renamed folder counts its files; a removed folder has none left to count.
            FolderStep::Rename { to, .. } => self.tree.files_within(to).max(1),
            _ => 1,
        };
        Operation {
            kind,
            files: steps.iter().map(files).sum(),
            steps,
        }
    }

    fn write_file(&mut self, path: String, content: TestContent, method: WriteMethod) {
        self.push_step(FolderStep::Write {
            path,
            content,
            method,
        });
    }

    fn rename_path(&mut self, from: &str, to: &str) {
        self.push_step(FolderStep::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
    }
}
