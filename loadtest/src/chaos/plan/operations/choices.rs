//! Random choices: contents, names, files and folders that an operation can use.

use super::{BASE_PICTURES, OperationGenerator};
use crate::chaos::plan::content::TestContent;
use crate::chaos::plan::folder_model::{is_within, library_of};

impl OperationGenerator {
    pub(super) fn next_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn new_picture(&mut self) -> TestContent {
        TestContent::Picture {
            base: self.random.int_between(0, BASE_PICTURES - 1),
            number: self.next_number(),
        }
    }

    /// Returns the content of an existing picture, or a new one if there is none.
    pub(super) fn repeated_picture(&mut self) -> TestContent {
        match self.some_picture() {
            Some(path) => self.tree.content_of(&path).unwrap_or(TestContent::Empty),
            None => self.new_picture(),
        }
    }

    pub(super) fn not_a_picture(&mut self) -> TestContent {
        let number = self.next_number();
        match self.random.int_between(0, 2) {
            0 => TestContent::Empty,
            1 => TestContent::Text { number },
            _ => TestContent::TruncatedPicture { number },
        }
    }

    /// Returns an unused path in a folder, with stem and extension of `like`.
    pub(super) fn new_path(&mut self, folder: &str, like: &str) -> String {
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

    pub(super) fn new_folder(&mut self) -> String {
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

    pub(super) fn some_file(&mut self) -> Option<String> {
        self.some_file_matching(|_| true)
    }

    /// Draws a file whose content is a picture.
    pub(super) fn some_picture(&mut self) -> Option<String> {
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

    pub(super) fn some_folder(&mut self) -> String {
        self.some_folder_matching(|_| true)
            .expect("at least one root is in place")
    }

    /// Draws a folder that is not a root and does not contain the open file.
    pub(super) fn some_inner_folder(&mut self) -> Option<String> {
        let open = self.tree.open_file.clone();
        self.some_folder_matching(|folder| {
            folder.contains('/') && !open.as_deref().is_some_and(|open| is_within(open, folder))
        })
    }

    /// Draws a folder in the same library as `path`, or in the other one.
    pub(super) fn folder_for(&mut self, path: &str, same: bool) -> Option<String> {
        self.some_folder_matching(|folder| (library_of(folder) == library_of(path)) == same)
    }

    fn some_folder_matching(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        // Deeper trees test nothing new, and paths must stay short.
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
