//! A model of the watched folders that applies every step as the disk does.
//!
//! Paths are relative to the parent folder of the libraries, so their first part is the library.
//! Hard links are two paths of one file. The planner draws from the model and a unit test compares
//! it with the disk; the running system is compared with the disk only.

use std::collections::{BTreeMap, BTreeSet};

use crate::chaos::plan::content::TestContent;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMethod {
    /// Opens, truncates, writes and closes the file.
    InPlace,
    /// Writes a temporary file in the same folder, then renames it.
    TempThenRename,
    /// Writes in place, then restores the previous modification time: only the bytes differ.
    KeepModifiedTime,
}

/// One change of the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderStep {
    /// Creates or overwrites a file and its missing folders.
    Write {
        path: String,
        content: TestContent,
        method: WriteMethod,
    },
    /// Copies a file to an unused path.
    Copy {
        from: String,
        to: String,
    },
    /// Renames a file or a folder to an unused path whose folder is created if missing.
    Rename {
        from: String,
        to: String,
    },
    /// Makes a hard link at an unused path.
    Link {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// Removes a folder and its content.
    RemoveFolder {
        path: String,
    },
    /// Sets the modification time of a file.
    Touch {
        path: String,
        /// Seconds from now; may be in the future.
        seconds: i64,
    },
    /// Creates a file, writes its first part and keeps it open.
    BeginWrite {
        path: String,
        /// The content after the last part.
        content: TestContent,
    },
    /// Writes the next part of the open file.
    ContinueWrite,
    /// Writes the rest of the open file and closes it.
    EndWrite,
    /// Moves the root of a library out of place, as an unmounted disk does.
    TakeRootAway {
        library: String,
    },
    /// Moves the root back.
    PutRootBack,
}

/// The expected state of the folders.
#[derive(Debug, Clone, Default)]
pub struct FolderModel {
    files: BTreeMap<String, u32>,
    contents: BTreeMap<u32, TestContent>,
    folders: BTreeSet<String>,
    next_file: u32,
    /// Path of the file that is still being written.
    pub open_file: Option<String>,
    /// Library whose root is away.
    pub away_library: Option<String>,
}

/// Returns the folder of a path; empty for the root of a library.
pub fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

pub fn library_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(library, _)| library)
}

/// Returns whether `path` is in `folder`, at any depth.
pub fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl FolderModel {
    pub fn new(libraries: &[&str]) -> Self {
        Self {
            folders: libraries.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Returns every file with its content, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, TestContent)> {
        self.files
            .iter()
            .map(|(path, file)| (&path[..], self.contents[file]))
    }

    /// Returns every folder, roots included, sorted by path.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    pub fn content_of(&self, path: &str) -> Option<TestContent> {
        self.files.get(path).map(|file| self.contents[file])
    }

    /// Returns whether a file or a folder has this path.
    pub fn contains_path(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.folders.contains(path)
    }

    /// Returns how many files are in a folder, at any depth.
    pub fn files_within(&self, folder: &str) -> usize {
        let within = |(path, _): &(&String, &u32)| is_within(path, folder);
        self.files.iter().filter(within).count()
    }

    /// Applies one step. Panics if it is impossible, because the planner has a bug then.
    pub fn apply_step(&mut self, step: &FolderStep) {
        match step {
            FolderStep::Write {
                path,
                content,
                method: how,
            } => {
                self.make_folders(parent_of(path));
                match self.files.get(path) {
                    Some(file) if *how != WriteMethod::TempThenRename => {
                        self.contents.insert(*file, *content);
                    }
                    _ => self.add_file(path, *content),
                }
            }
            FolderStep::Copy { from, to } => {
                let content = self
                    .content_of(from)
                    .expect("the planner copies existing files");
                self.make_folders(parent_of(to));
                self.add_file(to, content);
            }
            FolderStep::Link { from, to } => {
                let file = *self
                    .files
                    .get(from)
                    .expect("the planner links existing files");
                self.make_folders(parent_of(to));
                self.files.insert(to.clone(), file);
            }
            FolderStep::Rename { from, to } => {
                assert!(!self.contains_path(to), "{to} exists");
                self.make_folders(parent_of(to));
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                } else {
                    self.rename_folder(from, to);
                }
            }
            FolderStep::Remove { path } => {
                let removed = self.files.remove(path);
                assert!(removed.is_some(), "{path} does not exist");
            }
            FolderStep::RemoveFolder { path } => {
                self.files.retain(|file, _| !is_within(file, path));
                self.folders
                    .retain(|folder| folder != path && !is_within(folder, path));
            }
            FolderStep::Touch { path, .. } => {
                assert!(self.contains_path(path), "{path} does not exist")
            }
            FolderStep::BeginWrite { path, content } => {
                self.make_folders(parent_of(path));
                self.add_file(path, *content);
                self.open_file = Some(path.clone());
            }
            FolderStep::ContinueWrite => {
                assert!(self.open_file.is_some(), "nothing is being written")
            }
            FolderStep::EndWrite => self.open_file = None,
            FolderStep::TakeRootAway { library } => self.away_library = Some(library.clone()),
            FolderStep::PutRootBack => self.away_library = None,
        }
    }

    fn add_file(&mut self, path: &str, content: TestContent) {
        self.next_file += 1;
        self.contents.insert(self.next_file, content);
        self.files.insert(path.to_owned(), self.next_file);
    }

    fn make_folders(&mut self, folder: &str) {
        let mut folder = folder;
        while !folder.is_empty() && self.folders.insert(folder.to_owned()) {
            folder = parent_of(folder);
        }
    }

    fn rename_folder(&mut self, from: &str, to: &str) {
        let renamed = |path: &String| {
            if path == from || is_within(path, from) {
                format!("{to}{}", &path[from.len()..])
            } else {
                path.clone()
            }
        };
        self.files = self
            .files
            .iter()
            .map(|(path, file)| (renamed(path), *file))
            .collect();
        self.folders = self.folders.iter().map(renamed).collect();
    }
}
