//! The model of the watched folders: what every operation makes of them.
//!
//! Paths are relative to the folder that holds the libraries, so the first part of a path is the
//! library. Hard links are two paths of one file. The planner and the test compare with this;
//! the running system is compared with the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Opened, emptied, written, closed.
    Straight,
    /// Written beside under an unfinished file's name, then renamed.
    Beside,
    /// Straight, and then given the time that the file had before: only its bytes tell.
    SameTime,
}

/// One thing done to the folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes or overwrites a file; folders that are missing are made.
    Write {
        /// The file.
        path: String,
        /// Its bytes.
        content: Content,
        /// In which way.
        how: How,
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
    Begin {
        /// A path where nothing is.
        path: String,
        /// What it will hold in the end.
        content: Content,
    },
    /// Writes the next part of it.
    More,
    /// Writes the rest of it and closes it.
    End,
    /// Takes a whole library's root away.
    Away {
        /// The library.
        library: String,
    },
    /// Puts it back.
    Back,
}

/// The folders as they ought to be.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, u32>,
    contents: BTreeMap<u32, Content>,
    folders: BTreeSet<String>,
    next_file: u32,
    /// A file that is still being written.
    pub open: Option<String>,
    /// A library whose root is away.
    pub away: Option<String>,
}

/// The folder of a path; the empty text for a library's root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The library that a path lies in.
pub fn library(path: &str) -> &str {
    path.split_once('/').map_or(path, |(library, _)| library)
}

/// Whether `path` lies in `folder`, at any depth.
pub fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl Tree {
    /// Empty libraries.
    pub fn new(libraries: &[&str]) -> Self {
        Self {
            folders: libraries.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Every file with what it holds, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, Content)> {
        self.files
            .iter()
            .map(|(path, file)| (&path[..], self.contents[file]))
    }

    /// Every folder, the roots too, by path.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().map(String::as_str)
    }

    /// What a file holds.
    pub fn content(&self, path: &str) -> Option<Content> {
        self.files.get(path).map(|file| self.contents[file])
    }

    /// Whether something has this path.
    pub fn has(&self, path: &str) -> bool {
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
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Write { path, content, how } => {
                self.make_folders(parent(path));
                match self.files.get(path) {
                    Some(file) if *how != How::Beside => {
                        self.contents.insert(*file, *content);
                    }
                    _ => self.add(path, *content),
                }
            }
            Step::Copy { from, to } => {
                let content = self
                    .content(from)
                    .expect("the planner copies what is there");
                self.make_folders(parent(to));
                self.add(to, content);
            }
            Step::Link { from, to } => {
                let file = *self
                    .files
                    .get(from)
                    .expect("the planner links what is there");
                self.make_folders(parent(to));
                self.files.insert(to.clone(), file);
            }
            Step::Rename { from, to } => {
                assert!(!self.has(to), "{to} exists");
                self.make_folders(parent(to));
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                } else {
                    self.rename_folder(from, to);
                }
            }
            Step::Remove { path } => {
                let removed = self.files.remove(path);
                assert!(removed.is_some(), "{path} does not exist");
            }
            Step::RemoveFolder { path } => {
                self.files.retain(|file, _| !is_within(file, path));
                self.folders
                    .retain(|folder| folder != path && !is_within(folder, path));
            }
            Step::Touch { path, .. } => assert!(self.has(path), "{path} does not exist"),
            Step::Begin { path, content } => {
                self.make_folders(parent(path));
                self.add(path, *content);
                self.open = Some(path.clone());
            }
            Step::More => assert!(self.open.is_some(), "nothing is being written"),
            Step::End => self.open = None,
            Step::Away { library } => self.away = Some(library.clone()),
            Step::Back => self.away = None,
        }
    }

    fn add(&mut self, path: &str, content: Content) {
        self.next_file += 1;
        self.contents.insert(self.next_file, content);
        self.files.insert(path.to_owned(), self.next_file);
    }

    fn make_folders(&mut self, folder: &str) {
        let mut folder = folder;
        while !folder.is_empty() && self.folders.insert(folder.to_owned()) {
            folder = parent(folder);
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
