//! Whether a folder lists a name as it is spelled. Some file systems (exFAT, FAT, SMB, HFS+, NTFS) find
//! `a.jpg` after it was renamed to `A.jpg`; without this check, one file would have two rows.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::disk;
use crate::paths::{join_path, split_path};

/// What one tick found out about one folder.
#[derive(Default)]
pub struct FolderSpellings {
    folder: Vec<u8>,
    /// Whether names of other case are found; `None` before the first name with letters.
    folds_case: Option<bool>,
    /// The names that the folder lists, read when they are needed.
    names: Option<HashSet<Vec<u8>>>,
}

impl FolderSpellings {
    /// Whether the folder of `path`, which exists, lists it with exactly this name.
    pub fn has_spelling(&mut self, root: &Path, path: &[u8]) -> io::Result<bool> {
        let (folder, name) = split_path(path);
        if self.folder != folder {
            *self = Self {
                folder: folder.to_vec(),
                ..Self::default()
            };
        }
        let Some(swapped) = swap_case(name) else {
            return Ok(true);
        };
        let folds_case = match self.folds_case {
            Some(folds_case) => folds_case,
            None => {
                let swapped = join_path(folder, &swapped);
                let full_path = root.join(OsStr::from_bytes(&swapped));
                let folds_case = disk::stat_path(&full_path)?.is_some();
                *self.folds_case.insert(folds_case)
            }
        };
        if !folds_case
            || self
                .names
                .as_ref()
                .is_some_and(|names| names.contains(name))
        {
            return Ok(true);
        }
        // A file may have appeared since the names were read.
        let mut names = HashSet::new();
        for entry in std::fs::read_dir(root.join(OsStr::from_bytes(folder)))? {
            names.insert(entry?.file_name().as_bytes().to_vec());
        }
        let is_listed = names.contains(name);
        self.names = Some(names);
        Ok(is_listed)
    }
}

/// Returns the name with upper and lower case swapped, or `None` if it has no ASCII letters. All names
/// of pictures have some, in their extension.
fn swap_case(name: &[u8]) -> Option<Vec<u8>> {
    let swap = |byte: &u8| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    let swapped: Vec<u8> = name.iter().map(swap).collect();
    (swapped != name).then_some(swapped)
}
