//! Steps into the folders of a library, without following symbolic links: files behind them are not
//! part of the library.

use std::io;
use std::path::{Path, PathBuf};

use lookalike_chassis::durable::sync_folder;

/// Why a folder of a library cannot be used.
#[derive(Debug)]
pub(super) enum WalkError {
    /// This part is a symbolic link or a file.
    NotAFolder(String),
    Io(io::Error),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Returns the folder that these parts below `root` name.
pub(super) fn walk_into<'a>(
    root: &Path,
    parts: impl Iterator<Item = &'a str>,
) -> Result<PathBuf, WalkError> {
    walk(root, parts, |_| Ok(()))
}

/// Does the same as [`walk_into`], and creates folders that are missing.
pub(super) fn create_folders<'a>(
    root: &Path,
    parts: impl Iterator<Item = &'a str>,
) -> Result<PathBuf, WalkError> {
    walk(root, parts, |folder| match std::fs::create_dir(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
        // On a read-only file system, folders that exist are reported as read-only.
        Err(_) if folder.symlink_metadata().is_ok() => Ok(()),
        Err(error) => Err(error),
    })
}

/// Steps down from `root`, and calls `prepare` with each folder before it is checked.
fn walk<'a>(
    root: &Path,
    parts: impl Iterator<Item = &'a str>,
    prepare: impl Fn(&Path) -> io::Result<()>,
) -> Result<PathBuf, WalkError> {
    let mut folder = root.to_owned();
    for part in parts {
        folder.push(part);
        prepare(&folder)?;
        check_folder(&folder, part)?;
    }
    Ok(folder)
}

fn check_folder(folder: &Path, part: &str) -> Result<(), WalkError> {
    match folder.symlink_metadata()?.is_dir() {
        true => Ok(()),
        false => Err(WalkError::NotAFolder(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        let walk = |path: &str| walk_into(&root, path.split('/'));
        let create = |path: &str| create_folders(&root, path.split('/'));
        assert_eq!(create("a/b/c").unwrap(), root.join("a/b/c"));
        assert_eq!(walk("a/b/c").unwrap(), root.join("a/b/c"));
        assert!(matches!(walk("a/x"), Err(WalkError::Io(_))));
        for path in ["link", "link/b", "file", "file/b"] {
            assert!(
                matches!(walk(path), Err(WalkError::NotAFolder(_))),
                "{path}"
            );
            assert!(
                matches!(create(path), Err(WalkError::NotAFolder(_))),
                "{path}"
            );
        }
        assert!(
            std::fs::read_dir(dir.path().join("outside"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}
