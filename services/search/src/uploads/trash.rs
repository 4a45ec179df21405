//! Moves a file to the trash folder: `TRASH/LIBRARY/TIME-ID/PATH`. Nothing is ever replaced there.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lookalike_chassis::durable::sync_folder;
use lookalike_chassis::rename::rename_without_replacing;
use lookalike_proto::{ContentHash, LibraryName, RelativePath};

use super::folder_walk::{WalkError, walk_into};
use super::landing::hash_file;

/// A file that is to be removed, as the index knows it.
#[derive(Debug, Clone)]
pub(super) struct TrashRequest {
    pub library: LibraryName,
    pub root: PathBuf,
    pub path: RelativePath,
    /// The id of the image.
    pub id: String,
    pub content_hash: ContentHash,
    pub trash_dir: PathBuf,
    /// Now, as part of a name.
    pub time: String,
}

/// Why a file is not in the trash.
#[derive(Debug)]
pub(super) enum TrashError {
    /// The root of the library is missing.
    Root(io::Error),
    /// There is no regular file at the path.
    Missing,
    /// The file has another content than its row.
    Changed,
    /// It is behind a symbolic link.
    NotAFolder(String),
    Read(io::Error),
    /// The library's folder cannot be changed.
    Library(io::Error),
    /// The trash folder cannot be changed.
    Trash(io::Error),
}

/// Moves the file and returns its path in the trash.
pub(super) fn move_to_trash(request: &TrashRequest) -> Result<PathBuf, TrashError> {
    let root = request.root.canonicalize().map_err(TrashError::Root)?;
    let (folder, name) = split_path(&request.path);
    let source_folder = match walk_into(&root, folder.split('/').filter(|part| !part.is_empty())) {
        Err(WalkError::NotAFolder(part)) => return Err(TrashError::NotAFolder(part)),
        Err(WalkError::Io(error)) => return Err(missing_or(TrashError::Read, error)),
        Ok(folder) => folder,
    };
    let source = source_folder.join(name);
    let mut file = open_regular(&source)?;
    let before = file.metadata().map_err(TrashError::Read)?;
    let hash = hash_file(&mut file).map_err(TrashError::Read)?;
    if hash != request.content_hash || !is_unchanged(&source, &before) {
        return Err(TrashError::Changed);
    }
    let target_folder = request.entry_folder().join(folder);
    create_private_folders(&target_folder).map_err(TrashError::Trash)?;
    let target = target_folder.join(name);
    match rename_without_replacing(&source, &target) {
        Ok(()) => {
            // It may have been replaced between the comparison and the rename.
            if !is_unchanged(&target, &before) {
                rename_without_replacing(&target, &source).map_err(TrashError::Library)?;
                return Err(TrashError::Changed);
            }
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            copy_to_trash(&source, &target, &before, request)?;
        }
        Err(error) => return Err(missing_or(TrashError::Library, error)),
    }
    sync_folder(&target_folder).map_err(TrashError::Trash)?;
    sync_folder(&source_folder).map_err(TrashError::Library)?;
    Ok(target)
}

impl TrashRequest {
    fn library_folder(&self) -> PathBuf {
        self.trash_dir.join(self.library.as_str())
    }

    fn entry_folder(&self) -> PathBuf {
        self.library_folder()
            .join(format!("{}-{}", self.time, self.id))
    }

    /// Returns where an earlier request has moved the file, if its path is the same.
    pub(super) fn find_trashed(&self) -> Option<PathBuf> {
        let suffix = format!("-{}", self.id);
        let entries = std::fs::read_dir(self.library_folder()).ok()?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(&suffix)).collect();
        // The names begin with their times: the newest first.
        names.sort_unstable();
        names.reverse();
        let mut paths = names
            .iter()
            .map(|name| self.path.join_to(&self.library_folder().join(name)));
        paths.find(|path| path.symlink_metadata().is_ok())
    }
}

fn split_path(path: &RelativePath) -> (&str, &str) {
    path.as_str()
        .rsplit_once('/')
        .unwrap_or(("", path.as_str()))
}

fn missing_or(other: fn(io::Error) -> TrashError, error: io::Error) -> TrashError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => TrashError::Missing,
        _ => other(error),
    }
}

fn open_regular(path: &Path) -> Result<File, TrashError> {
    let metadata = path.symlink_metadata();
    match metadata.map_err(|error| missing_or(TrashError::Read, error))? {
        metadata if metadata.is_file() => {}
        _ => return Err(TrashError::Missing),
    }
    File::open(path).map_err(|error| missing_or(TrashError::Read, error))
}

/// Whether a path is that of the same file with the same times. The file is opened, because a network
/// file system may answer from memory otherwise.
fn is_unchanged(path: &Path, before: &Metadata) -> bool {
    let key = |metadata: &Metadata| {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        (metadata.dev(), metadata.ino(), metadata.len(), modified)
    };
    path.symlink_metadata().is_ok_and(|now| now.is_file())
        && File::open(path)
            .and_then(|file| file.metadata())
            .is_ok_and(|now| key(&now) == key(before))
}

/// The trash contains what someone wanted to be gone, so only the account of the service reads it.
fn create_private_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| folder.symlink_metadata().is_err())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut parents = missing.iter().filter_map(|folder| folder.parent());
    parents.try_for_each(sync_folder)
}

/// The trash is on another file system: copies the file, and removes it when the copy is on the disk.
fn copy_to_trash(
    source: &Path,
    target: &Path,
    before: &Metadata,
    request: &TrashRequest,
) -> Result<(), TrashError> {
    // `TIME-ID` is new, so the name is free.
    let partial = request.entry_folder().join(".partial");
    let copied = copy_file(source, &partial, before);
    let copied = copied.and_then(|hash| match hash == request.content_hash {
        true => rename_without_replacing(&partial, target).map_err(TrashError::Trash),
        false => Err(TrashError::Changed),
    });
    if let Err(error) = copied {
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    let folder = target.parent().unwrap_or(target);
    sync_folder(folder).map_err(TrashError::Trash)?;
    remove_copied(source, before, request).inspect_err(|_| {
        // If the file is still in the library, the trash needs no copy.
        if source.symlink_metadata().is_ok() {
            let _ = std::fs::remove_file(target);
        }
    })
}

/// Removes a file unless it was changed since. It gets a hidden name first: a file that another
/// program puts in its place meanwhile is not touched.
fn remove_copied(
    source: &Path,
    before: &Metadata,
    request: &TrashRequest,
) -> Result<(), TrashError> {
    let hidden = source.with_file_name(format!(".lookalike-{}-{}", request.time, request.id));
    // The name is new, and some file systems lack the other rename.
    std::fs::rename(source, &hidden).map_err(|error| missing_or(TrashError::Library, error))?;
    if !is_unchanged(&hidden, before) {
        rename_without_replacing(&hidden, source).map_err(TrashError::Library)?;
        return Err(TrashError::Changed);
    }
    std::fs::remove_file(&hidden).map_err(|error| {
        let _ = rename_without_replacing(&hidden, source);
        TrashError::Library(error)
    })
}

fn copy_file(source: &Path, target: &Path, before: &Metadata) -> Result<ContentHash, TrashError> {
    let mut from = open_regular(source)?;
    let mut to = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(target)
        .map_err(TrashError::Trash)?;
    io::copy(&mut from, &mut to).map_err(TrashError::Trash)?;
    let modified = before.modified().map_err(TrashError::Read)?;
    to.set_modified(modified)
        .and_then(|()| to.sync_all())
        .map_err(TrashError::Trash)?;
    let mut copy = File::open(target).map_err(TrashError::Trash)?;
    hash_file(&mut copy).map_err(TrashError::Trash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3ac9aecf0ebba98faed9a9884f264d9d";

    struct TrashFixture {
        dir: tempfile::TempDir,
    }

    impl TrashFixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("root/2026")).unwrap();
            Self { dir }
        }

        fn file(&self, path: &str) -> PathBuf {
            self.dir.path().join("root").join(path)
        }

        fn request(&self, path: &str, content: &[u8], time: &str) -> TrashRequest {
            TrashRequest {
                library: LibraryName::new("shop").unwrap(),
                root: self.dir.path().join("root"),
                path: RelativePath::new(path).unwrap(),
                id: ID.into(),
                content_hash: ContentHash::hash_content(content),
                trash_dir: self.dir.path().join("trash"),
                time: time.into(),
            }
        }
    }

    #[test]
    fn a_file_keeps_its_path_and_its_times() {
        let fixture = TrashFixture::new();
        let file = fixture.file("2026/a.jpg");
        std::fs::write(&file, "a").unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        let request = fixture.request("2026/a.jpg", b"a", "20261201T120000Z");
        assert_eq!(request.find_trashed(), None);
        let trashed = move_to_trash(&request).unwrap();
        let expected = format!("trash/shop/20261201T120000Z-{ID}/2026/a.jpg");
        assert_eq!(trashed, fixture.dir.path().join(expected));
        assert_eq!(std::fs::read(&trashed).unwrap(), b"a");
        assert_eq!(trashed.metadata().unwrap().modified().unwrap(), modified);
        assert!(!file.exists());
        assert!(matches!(move_to_trash(&request), Err(TrashError::Missing)));
        assert_eq!(request.find_trashed(), Some(trashed.clone()));
        // An entry without the file, of a request that came too late.
        let empty = fixture.request("2026/a.jpg", b"a", "20261201T120000500Z");
        create_private_folders(&empty.entry_folder().join("2026")).unwrap();
        assert_eq!(request.find_trashed(), Some(trashed.clone()));

        // A later file at the same path is another entry.
        std::fs::write(&file, "b").unwrap();
        let later = fixture.request("2026/a.jpg", b"b", "20261201T120001Z");
        let second = move_to_trash(&later).unwrap();
        assert_ne!(second, trashed);
        assert_eq!(later.find_trashed(), Some(second));
        assert_eq!(std::fs::read(&trashed).unwrap(), b"a");
    }

    #[test]
    fn only_the_file_of_the_row_is_moved() {
        let fixture = TrashFixture::new();
        std::fs::write(fixture.file("2026/a.jpg"), "changed").unwrap();
        std::fs::write(fixture.dir.path().join("secret"), "a").unwrap();
        std::os::unix::fs::symlink("../secret", fixture.file("link.jpg")).unwrap();
        std::os::unix::fs::symlink("2026", fixture.file("folder")).unwrap();
        let error = |path: &str| {
            let request = fixture.request(path, b"a", "20261201T120000Z");
            move_to_trash(&request).unwrap_err()
        };
        assert!(matches!(error("2026/a.jpg"), TrashError::Changed));
        assert!(matches!(error("link.jpg"), TrashError::Missing));
        assert!(matches!(error("2026"), TrashError::Missing));
        assert!(matches!(error("2026/a.jpg/b"), TrashError::NotAFolder(_)));
        assert!(matches!(error("folder/a.jpg"), TrashError::NotAFolder(_)));
        assert!(matches!(error("other/a.jpg"), TrashError::Missing));
        assert_eq!(
            std::fs::read(fixture.file("2026/a.jpg")).unwrap(),
            b"changed"
        );
        let missing = TrashRequest {
            root: fixture.dir.path().join("away"),
            ..fixture.request("a.jpg", b"a", "20261201T120000Z")
        };
        assert!(matches!(move_to_trash(&missing), Err(TrashError::Root(_))));
    }

    #[test]
    fn a_copy_is_complete_before_the_file_is_removed() {
        let fixture = TrashFixture::new();
        let file = fixture.file("a.jpg");
        std::fs::write(&file, "a").unwrap();
        let before = file.metadata().unwrap();
        let request = fixture.request("a.jpg", b"a", "20261201T120000Z");
        let entry = request.entry_folder();
        create_private_folders(&entry).unwrap();
        let other = fixture.request("a.jpg", b"other", "20261201T120000Z");
        let refused = copy_to_trash(&file, &entry.join("a.jpg"), &before, &other);
        assert!(matches!(refused, Err(TrashError::Changed)));
        assert_eq!(std::fs::read_dir(&entry).unwrap().count(), 0);
        let newer = fixture.file("newer.jpg");
        std::fs::write(&newer, "b").unwrap();
        let refused = remove_copied(&newer, &before, &request);
        assert!(matches!(refused, Err(TrashError::Changed)));
        assert_eq!(std::fs::read(&newer).unwrap(), b"b");
        copy_to_trash(&file, &entry.join("a.jpg"), &before, &request).unwrap();
        assert!(!file.exists());
        let copy = entry.join("a.jpg");
        assert_eq!(std::fs::read(&copy).unwrap(), b"a");
        let modified = copy.metadata().unwrap().modified().unwrap();
        assert_eq!(modified, before.modified().unwrap());
        assert_eq!(std::fs::read_dir(&entry).unwrap().count(), 1);
    }
}
