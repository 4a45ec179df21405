//! What each kind of operation does to the folders.
//!
//! A kind returns `None` before it adds a step when the folders do not allow it now.

use super::{LIBRARIES, OperationGenerator};
use crate::chaos::plan::content::TestContent;
use crate::chaos::plan::folder_model::{FolderStep, WriteMethod, is_within, name_of, parent_of};

impl OperationGenerator {
    pub(super) fn create_one_file(&mut self) -> Option<()> {
        let folder = self.some_folder();
        self.create_file(&folder);
        Some(())
    }

    pub(super) fn create_in_new_folders(&mut self) -> Option<()> {
        let folder = self.new_folder();
        for _ in 0..self.random.int_between(1, 4) {
            self.create_file(&folder);
        }
        Some(())
    }

    pub(super) fn edit_in_place(&mut self) -> Option<()> {
        self.edit_file(WriteMethod::InPlace)
    }

    pub(super) fn replace_atomically(&mut self) -> Option<()> {
        self.edit_file(WriteMethod::TempThenRename)
    }

    pub(super) fn edit_keeping_size_and_time(&mut self) -> Option<()> {
        let path = self.some_picture()?;
        let Some(TestContent::Picture { base, .. }) = self.tree.content_of(&path) else {
            return None;
        };
        let number = self.next_number();
        let content = TestContent::Picture { base, number };
        self.write_file(path, content, WriteMethod::KeepModifiedTime);
        Some(())
    }

    pub(super) fn copy_file(&mut self) -> Option<()> {
        let from = self.some_file()?;
        let folder = self.some_folder();
        let to = self.new_path(&folder, name_of(&from));
        self.push_step(FolderStep::Copy { from, to });
        Some(())
    }

    pub(super) fn move_file(&mut self) -> Option<()> {
        self.move_file_to(true)
    }

    pub(super) fn move_to_other_library(&mut self) -> Option<()> {
        self.move_file_to(false)
    }

    fn move_file_to(&mut self, same_library: bool) -> Option<()> {
        let from = self.some_file()?;
        let folder = self.folder_for(&from, same_library)?;
        let to = match self.random.next_bool(0.5) {
            true => format!("{folder}/{}", name_of(&from)),
            false => self.new_path(&folder, name_of(&from)),
        };
        if self.tree.contains_path(&to) {
            return None;
        }
        self.push_step(FolderStep::Rename { from, to });
        Some(())
    }

    pub(super) fn swap_files(&mut self) -> Option<()> {
        let (a, b) = (self.some_picture()?, self.some_picture()?);
        if a == b {
            return None;
        }
        let between = self.new_path(parent_of(&a), "swap.jpg");
        self.rename_path(&a, &between);
        self.rename_path(&b, &a);
        self.rename_path(&between, &b);
        Some(())
    }

    pub(super) fn rename_in_chain(&mut self) -> Option<()> {
        let mut path = self.some_file()?;
        for _ in 0..self.random.int_between(2, 4) {
            let next = self.new_path(parent_of(&path), name_of(&path));
            self.rename_path(&path, &next);
            path = next;
        }
        Some(())
    }

    pub(super) fn delete_file(&mut self) -> Option<()> {
        let path = self.some_file()?;
        self.push_step(FolderStep::Remove { path });
        Some(())
    }

    pub(super) fn delete_and_recreate(&mut self) -> Option<()> {
        let path = self.some_picture()?;
        let content = match self.random.next_bool(0.4) {
            true => self.tree.content_of(&path)?,
            false => self.new_picture(),
        };
        self.push_step(FolderStep::Remove { path: path.clone() });
        self.write_file(path, content, WriteMethod::InPlace);
        Some(())
    }

    pub(super) fn rename_case(&mut self) -> Option<()> {
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
        Some(())
    }

    pub(super) fn toggle_hidden(&mut self) -> Option<()> {
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
        Some(())
    }

    pub(super) fn toggle_broken(&mut self) -> Option<()> {
        let path = self.some_file()?;
        let content = match self.tree.content_of(&path)? {
            TestContent::Picture { .. } => self.not_a_picture(),
            _ => self.new_picture(),
        };
        self.write_file(path, content, WriteMethod::InPlace);
        Some(())
    }

    pub(super) fn touch_file(&mut self) -> Option<()> {
        let path = self.some_file()?;
        // A quarter of an hour ahead, or years ago.
        let seconds = self.random.choose_from(&[0, 900, -86_400, -315_360_000]);
        self.push_step(FolderStep::Touch { path, seconds });
        Some(())
    }

    pub(super) fn hard_link(&mut self) -> Option<()> {
        let from = self.some_file()?;
        let folder = self.folder_for(&from, true)?;
        let to = self.new_path(&folder, name_of(&from));
        self.push_step(FolderStep::Link { from, to });
        Some(())
    }

    pub(super) fn begin_slow_write(&mut self) -> Option<()> {
        if self.tree.open_file.is_some() {
            return None;
        }
        let folder = self.some_folder();
        let path = self.new_path(&folder, "slow.jpg");
        let content = self.new_picture();
        self.push_step(FolderStep::BeginWrite { path, content });
        Some(())
    }

    pub(super) fn move_folder(&mut self) -> Option<()> {
        self.move_folder_to(true)
    }

    pub(super) fn move_folder_to_other_library(&mut self) -> Option<()> {
        self.move_folder_to(false)
    }

    fn move_folder_to(&mut self, same_library: bool) -> Option<()> {
        let from = self.some_inner_folder()?;
        let into = self.folder_for(&from, same_library)?;
        // If half a library seems lost, the mass-delete guard waits for a confirmation.
        let too_many = self.tree.files_within(&from) * 4 > self.tree.file_count();
        if into == from || is_within(&into, &from) || too_many {
            return None;
        }
        let to = self.new_path(&into, name_of(&from));
        self.push_step(FolderStep::Rename { from, to });
        Some(())
    }

    pub(super) fn copy_folder(&mut self) -> Option<()> {
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

    pub(super) fn delete_folder(&mut self) -> Option<()> {
        let path = self.some_inner_folder()?;
        let too_many = self.tree.files_within(&path) * 4 > self.tree.file_count();
        if too_many || self.tree.file_count() * 2 < self.target_files {
            return None;
        }
        self.push_step(FolderStep::RemoveFolder { path });
        Some(())
    }

    pub(super) fn delete_folder_and_recreate(&mut self) -> Option<()> {
        let path = self.some_inner_folder()?;
        if self.tree.files_within(&path) * 4 > self.tree.file_count() {
            return None;
        }
        self.push_step(FolderStep::RemoveFolder { path: path.clone() });
        for _ in 0..self.random.int_between(1, 5) {
            self.create_file(&path);
        }
        Some(())
    }

    pub(super) fn create_large_burst(&mut self) -> Option<()> {
        if self.tree.file_count() > self.target_files * 3 / 2 {
            return None;
        }
        let max_files = u32::try_from(self.target_files / 5).unwrap_or(u32::MAX);
        let files = self.random.int_between(max_files / 4, max_files);
        self.create_files(files as usize);
        Some(())
    }

    pub(super) fn take_root_away(&mut self) -> Option<()> {
        // With both libraries away, no other operation would be possible.
        if self.tree.away_library.is_some() || self.tree.open_file.is_some() {
            return None;
        }
        let library = self.random.choose_from(&LIBRARIES).to_owned();
        self.push_step(FolderStep::TakeRootAway { library });
        Some(())
    }

    /// Creates files, most of them in existing folders.
    pub(super) fn create_files(&mut self, count: usize) {
        for _ in 0..count {
            let folder = match self.random.int_between(0, 9) {
                0 => self.new_folder(),
                _ => self.some_folder(),
            };
            self.create_file(&folder);
        }
    }

    /// Creates a file whose content is new, a copy, or not a picture.
    pub(super) fn create_file(&mut self, folder: &str) {
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
        let method = match self.random.next_bool(0.5) {
            true => WriteMethod::InPlace,
            false => WriteMethod::TempThenRename,
        };
        self.write_file(path, content, method);
    }

    fn edit_file(&mut self, method: WriteMethod) -> Option<()> {
        let path = self.some_file()?;
        let content = match self.tree.content_of(&path)? {
            TestContent::Picture { .. } => self.new_picture(),
            _ => self.not_a_picture(),
        };
        self.write_file(path, content, method);
        Some(())
    }
}
