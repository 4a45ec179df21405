//! Gives a staged file its final name. No file is replaced, and the same picture is not stored twice.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use lookalike_chassis::durable::sync_folder;
use lookalike_chassis::rename::rename_without_replacing;
use lookalike_proto::{ContentHash, ContentHasher, RelativePath};

use super::folder_walk::{WalkError, create_folders};
use super::staging::StagedFile;
use super::target::{MAX_NUMBERED_NAMES, TargetFolder, TargetName};

/// A picture in its library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LandedUpload {
    pub path: RelativePath,
    /// False if a file with the same content was there before.
    pub is_new: bool,
}

/// Why a staged file gets no name.
#[derive(Debug)]
pub(super) enum LandingError {
    Walk(WalkError),
    /// The folder is on another file system than the root.
    CrossesDevices,
    /// Files with other contents have all the names.
    TooManyNames,
    Io(io::Error),
}

impl From<WalkError> for LandingError {
    fn from(error: WalkError) -> Self {
        Self::Walk(error)
    }
}

impl From<io::Error> for LandingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Moves the file into its folder, under its name or the next free number.
pub(super) fn land_file(
    staged: StagedFile,
    root: &Path,
    folder: &TargetFolder,
    name: &TargetName,
) -> Result<LandedUpload, LandingError> {
    let root = root.canonicalize()?;
    let folder_path = create_folders(&root, folder.parts())?;
    for number in 1..=MAX_NUMBERED_NAMES {
        let name = name.numbered(number);
        let path = folder_path.join(&name);
        let is_new = match rename_without_replacing(staged.guard.path(), &path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                return Err(LandingError::CrossesDevices);
            }
            Err(error) => return Err(error.into()),
        };
        if is_new {
            staged.guard.disarm();
            sync_folder(&folder_path)?;
        } else if !has_content(&path, staged.bytes, &staged.content_hash) {
            continue;
        }
        let path = RelativePath::new(folder.path_of(&name));
        let path = path.map_err(|error| io::Error::other(error.to_string()))?;
        return Ok(LandedUpload { path, is_new });
    }
    Err(LandingError::TooManyNames)
}

/// Whether a path is that of a regular file with this content. A file that cannot be read has another
/// one.
pub(super) fn has_content(path: &Path, bytes: u64, content_hash: &ContentHash) -> bool {
    let is_candidate = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes);
    is_candidate
        && File::open(path)
            .and_then(|mut file| hash_file(&mut file))
            .is_ok_and(|hash| hash == *content_hash)
}

/// Hashes the rest of a file.
pub(super) fn hash_file(file: &mut File) -> io::Result<ContentHash> {
    let mut hasher = ContentHasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(bytes) => hasher.update(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::library_disk::LibraryIoPermits;
    use crate::uploads::staging::StagingFile;

    async fn land(root: &Path, content: &[u8], folder: &str, name: &str) -> (String, bool) {
        let disk = LibraryIoPermits::new();
        let staging = StagingFile::create(root, disk, "the library".into());
        let mut staging = staging.await.unwrap();
        staging.write(content).await.unwrap();
        let staged = staging.finish().await.unwrap();
        let folder = TargetFolder::parse(folder).unwrap();
        let name = TargetName::parse(name).unwrap();
        let landed = land_file(staged, root, &folder, &name).unwrap();
        (landed.path.to_string(), landed.is_new)
    }

    #[tokio::test]
    async fn names_are_never_taken_from_other_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let new = |path: &str| (path.to_owned(), true);
        assert_eq!(
            land(root, b"a", "2026/May", "a.jpg").await,
            new("2026/May/a.jpg")
        );
        let again = land(root, b"a", "2026/May", "a.jpg").await;
        assert_eq!(again, ("2026/May/a.jpg".to_owned(), false));
        assert_eq!(
            land(root, b"b", "2026/May", "a.jpg").await,
            new("2026/May/a (2).jpg")
        );
        let again = land(root, b"b", "2026/May/", "a.jpg").await;
        assert_eq!(again, ("2026/May/a (2).jpg".to_owned(), false));
        assert_eq!(land(root, b"a", "", "a.jpg").await, new("a.jpg"));
        std::os::unix::fs::symlink("a.jpg", root.join("link.jpg")).unwrap();
        assert_eq!(land(root, b"a", "", "link.jpg").await, new("link (2).jpg"));
        assert_eq!(std::fs::read(root.join("2026/May/a.jpg")).unwrap(), b"a");
        assert_eq!(
            std::fs::read(root.join("2026/May/a (2).jpg")).unwrap(),
            b"b"
        );
        assert_eq!(std::fs::read_dir(root.join("2026/May")).unwrap().count(), 2);
    }
}
