//! Photos and broken files that are not part of the repository.

use std::path::{Path, PathBuf};

/// Returns a folder of the shared data, or prints a line and returns `None`.
pub fn shared_folder(path: &str) -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: shared data not present ({path})");
    None
}

/// Reads every file of a folder; returns names and bytes, sorted by name.
pub fn read_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}
