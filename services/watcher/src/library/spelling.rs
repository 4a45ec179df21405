//! Whether a folder lists a name as it is spelled. Some file systems (exFAT, FAT, SMB, HFS+, NTFS) find
//! `a.jpg` after it was renamed to `A.jpg`; without this check, one file would have two rows.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::disk;
use crate::paths::{is_at_or_below, join_path, split_path};

/// Folders whose names are kept in memory at a time.
const MAX_FOLDERS: usize = 64;

/// What one tick found out about the spelling of names.
#[derive(Default)]
pub struct FolderSpellings {
    folders: HashMap<Vec<u8>, SpelledFolder>,
    /// The last path whose folder lists it with another spelling, and that spelling.
    respelled: Option<(Vec<u8>, Vec<u8>)>,
}

impl FolderSpellings {
    /// Whether the folder of `path`, which exists, lists it with exactly this name.
    pub fn has_spelling(&mut self, root: &Path, path: &[u8]) -> io::Result<bool> {
        let (folder, name) = split_path(path);
        if self.folders.len() >= MAX_FOLDERS && !self.folders.contains_key(folder) {
            self.folders.clear();
        }
        let spelled = self.folders.entry(folder.to_vec()).or_default();
        let has_spelling = spelled.has_spelling(root, folder, name)?;
        if !has_spelling && let Some(listed) = spelled.find_other_spelling(name) {
            self.respelled = Some((path.to_vec(), join_path(folder, &listed)));
        }
        Ok(has_spelling)
    }

    /// Returns `path` as its folders list it, if the last path that was listed with another spelling
    /// is `path` or a folder above it.
    pub fn take_listed_spelling(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let (asked, listed) = self.respelled.take()?;
        is_at_or_below(path, &asked).then(|| [&listed, &path[asked.len()..]].concat())
    }
}

/// What one tick found out about one folder.
#[derive(Default)]
struct SpelledFolder {
    /// Whether ASCII letters of other case are found; `None` before the first name with some.
    folds_case: Option<bool>,
    /// The names that the folder lists, read when they are needed.
    names: Option<HashSet<Vec<u8>>>,
}

impl SpelledFolder {
    fn has_spelling(&mut self, root: &Path, folder: &[u8], name: &[u8]) -> io::Result<bool> {
        let Some(swapped) = swap_case(name) else {
            return Ok(true);
        };
        let folds_case = match self.folds_case {
            Some(folds_case) => folds_case,
            None => {
                let swapped = join_path(folder, &swapped);
                let full_path = root.join(OsStr::from_bytes(&swapped));
                let folds_case = disk::stat_path(&full_path)?.is_some();
                // A file system may fold other letters than those of this name.
                if name.iter().any(u8::is_ascii_alphabetic) {
                    self.folds_case = Some(folds_case);
                }
                folds_case
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

    /// Returns the listed name that differs from `name` only in case.
    fn find_other_spelling(&self, name: &[u8]) -> Option<Vec<u8>> {
        let lowercase = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
        let wanted = lowercase(name);
        let mut names = self.names.iter().flatten();
        names.find(|listed| lowercase(listed) == wanted).cloned()
    }
}

/// Returns the name with upper and lower case swapped, or `None` if it has no letters with a case.
/// ASCII letters suffice, because every file system that folds case folds them.
fn swap_case(name: &[u8]) -> Option<Vec<u8>> {
    let swap_byte = |byte: &u8| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    let has_ascii_letters = name.iter().any(u8::is_ascii_alphabetic);
    let swapped = match std::str::from_utf8(name) {
        Ok(text) if !has_ascii_letters => {
            let swapped: String = text.chars().map(swap_char).collect();
            swapped.into_bytes()
        }
        _ => name.iter().map(swap_byte).collect(),
    };
    (swapped != name).then_some(swapped)
}

/// Keeps letters such as `ß`, which become several ones: no file system folds these.
fn swap_char(c: char) -> char {
    let (mut upper, mut lower) = (c.to_uppercase(), c.to_lowercase());
    let swapped = match c.is_lowercase() {
        true => (upper.next(), upper.next()),
        false => (lower.next(), lower.next()),
    };
    match swapped {
        (Some(swapped), None) => swapped,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_alphabets_are_swapped() {
        let swap =
            |name: &str| swap_case(name.as_bytes()).map(|name| String::from_utf8(name).unwrap());
        assert_eq!(swap("a.JPG").as_deref(), Some("A.jpg"));
        assert_eq!(swap("Фото").as_deref(), Some("фОТО"));
        assert_eq!(swap("Фото.jpg").as_deref(), Some("Фото.JPG"));
        assert_eq!(swap("写真 2024"), None);
        assert_eq!(swap("ß"), None);
        assert_eq!(swap_case(b"\xff1"), None);
        assert_eq!(swap_case(b"\xffa"), Some(b"\xffA".to_vec()));
    }
}
