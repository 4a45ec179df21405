//! The root folder of a library, and what exists below it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::spelling::FolderSpellings;
use crate::disk::{self, FileKind, FolderIdentity};
use crate::notify::filesystem;
use crate::paths::{ancestors_and_self, split_path};

/// The longest path that the system accepts, without the zero byte at its end.
const MAX_PATH_BYTES: usize = libc::PATH_MAX as usize - 1;

/// The root folder: where it is, and which folder it was when its files were last seen.
pub struct LibraryRoot {
    /// The path that a user gave. Symbolic links in it may be turned to another folder.
    given_path: PathBuf,
    /// Where the links led when the root was last verified.
    path: PathBuf,
    /// The folder's identity as the catalog records it.
    pub identity: Option<FolderIdentity>,
    /// The mount that contained the folder when it was verified.
    pub mount_id: Option<u64>,
    /// The links lead to another folder than the one that was verified.
    pub is_turned: bool,
    /// A folder found in this tick to be below the root without symbolic links.
    verified_folder: Option<Vec<u8>>,
    spellings: FolderSpellings,
}

impl LibraryRoot {
    /// A root that may be missing.
    pub fn new(given_path: &Path) -> Self {
        Self {
            given_path: given_path.to_owned(),
            path: resolve_links(given_path).unwrap_or_else(|| given_path.to_owned()),
            identity: None,
            mount_id: None,
            is_turned: false,
            verified_folder: None,
            spellings: FolderSpellings::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn given_path(&self) -> &Path {
        &self.given_path
    }

    /// Resolves the links of the given path again; true if they lead to another path than before.
    /// False if they lead nowhere: the folder behind them may come back.
    pub fn follow_links(&mut self) -> bool {
        match resolve_links(&self.given_path) {
            Some(path) if path != self.path => {
                self.path = path;
                self.clear_verified_folder();
                true
            }
            _ => false,
        }
    }

    /// Returns where the links of the given path lead now.
    pub fn resolve_given_path(&self) -> Option<PathBuf> {
        resolve_links(&self.given_path)
    }

    pub fn full_path(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }

    /// Whether the path of a file is too long for the system.
    pub fn is_file_too_deep(&self, path: &[u8]) -> bool {
        self.path.as_os_str().len() + 1 + path.len() > MAX_PATH_BYTES
    }

    /// Whether the paths of files in a folder are too long for the system, even with names of one
    /// letter.
    pub fn is_folder_too_deep(&self, path: &[u8]) -> bool {
        self.path.as_os_str().len() + 1 + path.len() + 2 > MAX_PATH_BYTES
    }

    /// Drops what was found in one tick.
    pub fn clear_verified_folder(&mut self) {
        self.verified_folder = None;
        self.spellings = FolderSpellings::default();
    }

    /// Whether the folder at the root is the one in which the cataloged files were last seen.
    pub fn is_present(&self) -> bool {
        let Some(current) = FolderIdentity::from_path(&self.path) else {
            return false;
        };
        let is_same_mount = || {
            let is_identity_enough = current.born_ns != 0 || self.mount_id.is_none();
            is_identity_enough || self.is_on_same_mount(&current, filesystem::mount_id(&self.path))
        };
        !self.is_turned
            && self
                .identity
                .is_none_or(|known| known.is_same_folder(&current) && is_same_mount())
    }

    /// Whether the root's current folder is on the mount on which it was verified.
    ///
    /// Matters only for file systems without birth times: there, the root folders of different
    /// mounts have the same inode, and device numbers are reused.
    pub fn is_on_same_mount(&self, current: &FolderIdentity, mount_id: Option<u64>) -> bool {
        current.born_ns != 0 || mount_id.is_none() || self.mount_id == mount_id
    }

    /// Returns what exists at `path` below the root. What only a symbolic link leads to does not
    /// exist there, nor what a file system without case finds under another spelling.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn stat_below(&mut self, path: &[u8]) -> io::Result<Option<FileKind>> {
        let (folder, _) = split_path(path);
        if !folder.is_empty() && self.verified_folder.as_deref() != Some(folder) {
            for part in ancestors_and_self(folder) {
                if self.stat_spelled(part)? != Some(FileKind::Folder) {
                    return Ok(None);
                }
            }
            self.verified_folder = Some(folder.to_vec());
        }
        self.stat_spelled(path)
    }

    /// Returns the spelling under which `path` exists, if the last call of
    /// [`stat_below`](Self::stat_below) that found another spelling was for this path.
    pub fn take_listed_spelling(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        self.spellings.take_listed_spelling(path)
    }

    fn stat_spelled(&mut self, path: &[u8]) -> io::Result<Option<FileKind>> {
        let kind = disk::stat_path(&self.full_path(path))?;
        let exists = kind.is_some() && self.spellings.has_spelling(&self.path, path)?;
        Ok(kind.filter(|_| exists))
    }
}

fn resolve_links(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}
