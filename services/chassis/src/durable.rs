//! Writes files so that a crash leaves the old or the new contents.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Replaces a file in one step: readers see the old or the new contents, even after a crash.
///
/// The new contents are first written to a file of another name in the same folder. If two processes
/// replace the same file at the same time, the last one wins.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace_with(path, contents, File::options())
}

/// Does the same as [`replace_file`] for a file that only its owner may read.
pub fn replace_secret_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.mode(0o600);
    replace_with(path, contents, options)
}

fn replace_with(path: &Path, contents: &[u8], mut options: OpenOptions) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = Path::new(&temporary);
    // A leftover of a crash may have other permissions.
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut write = || {
        let mut file = options.create_new(true).write(true).open(temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(temporary, path)
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(temporary);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable. Some file systems refuse it, and need none.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for contents in ["one", "two"] {
            replace_file(&path, contents.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn secrets_are_for_their_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, "readable by all").unwrap();
        let leftover = format!("keys.json.new-{}", std::process::id());
        std::fs::write(dir.path().join(leftover), "of a crash").unwrap();
        replace_secret_file(&path, b"secret").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir_all(path.join("inner")).unwrap();
        replace_file(&path, b"contents").unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
