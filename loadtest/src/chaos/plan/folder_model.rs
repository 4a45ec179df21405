//! The model of the watched folders: what every operation makes of them.
//!
//! Paths are relative to the folder that holds the libraries, so the first part of a path is the
//! library. Hard links are two paths of one file. The planner and the test compare with this;
//! the running system is compared with the disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::chaos::plan::content::TestContent;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMethod {
    /// Opened, emptied, written, closed.
    InPlace,
    /// Written beside under an unfinished file's name, then renamed.
    TempThenRename,
    /// Straight, and then given the time that the file had before: only its bytes tell.
    KeepModifiedTime,
}

/// One thing done to the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderStep {
    /// Makes or overwrites a file; folders that are missing are made.
    Write {
        /// The file.
        path: String,
        /// Its bytes.
        content: TestContent,
        /// In which way.
        method: WriteMethod,
    },
    /// Makes another file with the same bytes.
    Copy {
        /// An existing file.
        from: String,
        /// A path where nothing is.
        to: String,
    },
    /// Gives a file or a folder another name.
    Rename {
        /// What is there.
        from: String,
        /// A path where nothing is; its folder is made.
        to: String,
    },
    /// A second name for a file.
    Link {
        /// An existing file.
        from: String,
        /// A path where nothing is.
        to: String,
    },
    /// Removes a file.
    Remove {
        /// The file.
        path: String,
    },
    /// Removes a folder with everything in it.
    RemoveFolder {
        /// The folder.
        path: String,
    },
    /// Gives a file another time of its last change, this far from now.
    Touch {
        /// The file.
        path: String,
        /// Seconds from now; the future is allowed.
        seconds: i64,
    },
    /// Begins to write a file slowly and does not close it.
    BeginWrite {
        /// A path where nothing is.
        path: String,
        /// What it will hold in the end.
        content: TestContent,
    },
    /// Writes the next part of it.
    ContinueWrite,
    /// Writes the rest of it and closes it.
    EndWrite,
    /// Takes a whole library's root away.
    TakeRootAway {
        /// The library.
        library: String,
    },
    /// Puts it back.
    PutRootBack,
}

/// The folders as they ought to be.
#[derive(Debug, Clone, Default)]
pub struct FolderModel {
    files: BTreeMap<String, u32>,
    contents: BTreeMap<u32, TestContent>,
    folders: BTreeSet<String>,
    next_file: u32,
    /// A file that is still being written.
    pub open_file: Option<String>,
    /// A library whose root is away.
    pub away_library: Option<String>,
}

/// The folder of a path; the empty text for a library's root.
pub fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path.
pub fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The library that a path lies in.
pub fn library_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(library, _)| library)
}

/// Whether `path` lies in `folder`, at any depth.
pub fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl FolderModel {
    /// Empty libraries.
    pub fn new(libraries: &[&str]) -> Self {
        Self {
            folders: libraries.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Every file with what it holds, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, TestContent)> {
        self.files
            .iter()
            .map(|(path, file)| (&path[..], self.contents[file]))
    }

    /// Every folder, the roots too, by path.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    /// What a file holds.
    pub fn content_of(&self, path: &str) -> Option<TestContent> {
        self.files.get(path).map(|file| self.contents[file])
    }

    /// Whether something has this path.
    pub fn contains_path(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.folders.contains(path)
    }

    /// Files within a folder.
    pub fn files_within(&self, folder: &str) -> usize {
        let within = |(path, _): &(&String, &u32)| is_within(path, folder);
        self.files.iter().filter(within).count()
    }

    /// Does one step, as the disk will.
    ///
    /// # Panics
    /// When it can't be done: the planner has made a mistake.
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
                    .expect("the planner copies what is there");
                self.make_folders(parent_of(to));
                self.add_file(to, content);
            }
            FolderStep::Link { from, to } => {
                let file = *self
                    .files
                    .get(from)
                    .expect("the planner links what is there");
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
