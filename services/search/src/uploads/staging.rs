//! The temporary file of an upload.
//!
//! It is in a hidden folder at the root of the library: the watcher does not enter it, and a rename
//! from there to a folder of the library is one atomic step. While an upload is in progress, its file
//! is locked, so that another service of the same library does not remove it as abandoned.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use lookalike_proto::{ContentHash, ContentHasher};

use super::storage_problem::storage_problem;
use crate::core::library_disk::LibraryIoPermits;
use crate::core::service::{SearchService, ServiceState};
use crate::problem::Problem;

const STAGING_FOLDER: &str = ".lookalike-uploads";
const STAGING_EXTENSION: &str = "part";

/// An upload takes less time, on file systems without locks.
const MAX_UPLOAD_AGE: Duration = Duration::from_secs(24 * 3600);

/// Bytes that are collected before they are written.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// New names are tried so often: the folder may be removed at the same time.
const MAX_CREATE_ATTEMPTS: usize = 10;

/// Removes the file when it is dropped.
#[derive(Debug)]
pub(super) struct StagingGuard {
    path: PathBuf,
    is_armed: bool,
}

impl StagingGuard {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the file, which has its final name.
    pub(super) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for StagingGuard {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let path = std::mem::take(&mut self.path);
        // A failure leaves the file to the next start.
        let remove = move || drop(std::fs::remove_file(path));
        // A request that is cancelled is dropped on a thread that must not wait for a disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The file and the hash of what it contains.
struct StagingWriter {
    file: File,
    hasher: ContentHasher,
    bytes: u64,
}

impl StagingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// An upload while it is received.
pub(super) struct StagingFile {
    disk: LibraryIoPermits,
    /// Describes the folder of the library, for problems.
    place: String,
    /// Missing while a thread writes, and after a failure.
    writer: Option<StagingWriter>,
    buffer: BytesMut,
    guard: StagingGuard,
}

/// An upload that is complete and on the disk.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) guard: StagingGuard,
    pub(super) content_hash: ContentHash,
    pub(super) bytes: u64,
    /// Holds the lock until the file has its final name.
    _file: File,
}

impl StagingFile {
    pub(super) async fn create(
        root: &Path,
        disk: LibraryIoPermits,
        place: String,
    ) -> Result<Self, Problem> {
        let root = root.to_owned();
        let created = disk
            .run_blocking(move || create_staging_file(&root))
            .await?;
        let (file, guard) = created.map_err(|error| storage_problem(&error, &place))?;
        Ok(Self {
            disk,
            place,
            writer: Some(StagingWriter {
                file,
                hasher: ContentHasher::default(),
                bytes: 0,
            }),
            buffer: BytesMut::new(),
            guard,
        })
    }

    /// Appends bytes. After a failure, the upload cannot continue.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.buffer.extend_from_slice(bytes);
        match self.buffer.len() >= BUFFER_BYTES {
            true => self.flush(false).await,
            false => Ok(()),
        }
    }

    /// Writes the buffer; `is_last` also makes the file durable.
    async fn flush(&mut self, is_last: bool) -> Result<(), Problem> {
        let failed_before = || io::Error::other("an earlier write failed");
        let writer = self.writer.take();
        let mut writer = writer.ok_or_else(|| storage_problem(&failed_before(), &self.place))?;
        let bytes = self.buffer.split();
        let writing = self.disk.run_blocking(move || {
            let written = writer.write(&bytes).and_then(|()| match is_last {
                true => writer.file.sync_all(),
                false => Ok(()),
            });
            written.map(|()| writer)
        });
        let writer = writing.await?;
        self.writer = Some(writer.map_err(|error| storage_problem(&error, &self.place))?);
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<StagedFile, Problem> {
        self.flush(true).await?;
        let writer = self
            .writer
            .expect("a flush that succeeds returns the writer");
        Ok(StagedFile {
            guard: self.guard,
            content_hash: writer.hasher.finish(),
            bytes: writer.bytes,
            _file: writer.file,
        })
    }
}

/// Creates a locked file in the staging folder of a library.
fn create_staging_file(root: &Path) -> io::Result<(File, StagingGuard)> {
    let folder = root.canonicalize()?.join(STAGING_FOLDER);
    for _ in 0..MAX_CREATE_ATTEMPTS {
        match DirBuilder::new().create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !folder.symlink_metadata()?.is_dir() {
            return Err(io::Error::other(format!(
                "{STAGING_FOLDER} is not a folder; remove it"
            )));
        }
        let name = format!("{:016x}.{STAGING_EXTENSION}", rand::random::<u64>());
        let path = folder.join(name);
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            // Another service may have removed the folder.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file?,
        };
        let guard = StagingGuard {
            path,
            is_armed: true,
        };
        // Another service may have removed the file before it was locked.
        let is_ours = match file.try_lock() {
            Ok(()) => file.metadata()?.nlink() > 0,
            Err(TryLockError::WouldBlock) => false,
            // File systems without locks have the file to themselves.
            Err(TryLockError::Error(_)) => true,
        };
        if is_ours {
            return Ok((file, guard));
        }
    }
    Err(io::Error::other(
        "the folder for uploads is removed again and again",
    ))
}

/// Removes the files of uploads that a crash interrupted, in the libraries that accept uploads.
pub(crate) async fn clean_up_uploads(state: Arc<ServiceState>) {
    let service = SearchService::unlimited(&state);
    for (library, uploads) in service.library_uploads() {
        let Some((root, disk)) = service.find_root(library) else {
            continue;
        };
        if !uploads.permissions.uploads {
            continue;
        }
        let root = root.clone();
        match disk
            .run_blocking(move || remove_abandoned_uploads(&root))
            .await
        {
            Ok(Ok(0)) => {}
            Ok(Ok(files)) => {
                tracing::info!(%library, files, "removed the files of interrupted uploads");
            }
            Ok(Err(error)) => {
                tracing::warn!(%library, %error, "cannot remove the files of interrupted uploads");
            }
            Err(problem) => {
                let error = problem.detail;
                tracing::warn!(%library, %error, "cannot remove the files of interrupted uploads");
            }
        }
    }
}

/// Returns how many files there were.
fn remove_abandoned_uploads(root: &Path) -> io::Result<usize> {
    let folder = root.join(STAGING_FOLDER);
    match folder.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        // Uploads refuse a link or a file in the place of the folder.
        Ok(_) => return Ok(0),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    }
    let (mut removed, mut failure) = (0, None);
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if !is_staging_name(&entry.file_name().to_string_lossy()) || !entry.file_type()?.is_file() {
            continue;
        }
        match remove_abandoned(&entry.path()) {
            Ok(was_removed) => removed += usize::from(was_removed),
            Err(error) => failure = Some(error),
        }
    }
    // Fails if an upload is in progress.
    let _ = std::fs::remove_dir(&folder);
    failure.map_or(Ok(removed), Err)
}

fn is_staging_name(name: &str) -> bool {
    let number = name
        .strip_suffix(STAGING_EXTENSION)
        .and_then(|name| name.strip_suffix('.'));
    number.is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Removes the file of an upload that no service receives. Returns whether it did.
fn remove_abandoned(path: &Path) -> io::Result<bool> {
    // Some network file systems lock only files that are open for writing.
    let file = OpenOptions::new().write(true).open(path)?;
    let is_abandoned = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        // Without locks, only the age shows it.
        Err(TryLockError::Error(_)) => {
            let age = file.metadata()?.modified()?.elapsed();
            age.is_ok_and(|age| age > MAX_UPLOAD_AGE)
        }
    };
    if is_abandoned {
        // The lock is held until the file is gone, so that no upload begins to use it.
        std::fs::remove_file(path)?;
    }
    Ok(is_abandoned)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn stage(root: &Path) -> StagingFile {
        let created = StagingFile::create(root, LibraryIoPermits::new(), "the library".into());
        created.await.unwrap()
    }

    #[tokio::test]
    async fn bytes_are_hashed_while_they_are_written() {
        let root = tempfile::tempdir().unwrap();
        let mut staging = stage(root.path()).await;
        let bytes = vec![7; BUFFER_BYTES + 1];
        staging.write(&bytes).await.unwrap();
        staging.write(b"end").await.unwrap();
        let staged = staging.finish().await.unwrap();
        let expected = [&bytes[..], b"end"].concat();
        assert_eq!(staged.bytes, expected.len() as u64);
        assert_eq!(staged.content_hash, ContentHash::hash_content(&expected));
        assert_eq!(std::fs::read(staged.guard.path()).unwrap(), expected);
    }

    #[tokio::test]
    async fn only_abandoned_files_are_removed() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(remove_abandoned_uploads(root.path()).unwrap(), 0);
        let mut staging = stage(root.path()).await;
        staging.write(b"a").await.unwrap();
        let folder = root.path().join(STAGING_FOLDER);
        let abandoned = format!("{:016x}.part", 7);
        std::fs::write(folder.join(abandoned), "left by a crash").unwrap();
        std::fs::write(folder.join("mine.part"), "of someone else").unwrap();
        std::fs::write(folder.join("notes.txt"), "of someone else").unwrap();
        assert_eq!(remove_abandoned_uploads(root.path()).unwrap(), 1);
        let staged = staging.finish().await.unwrap();
        let path = staged.guard.path().to_owned();
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
        tokio::task::spawn_blocking(move || drop(staged))
            .await
            .unwrap();
        // The file is removed by another thread.
        while path.exists() {
            tokio::task::yield_now().await;
        }
        for other in ["notes.txt", "mine.part"] {
            std::fs::remove_file(folder.join(other)).unwrap();
        }
        assert_eq!(remove_abandoned_uploads(root.path()).unwrap(), 0);
        assert!(!folder.exists());
    }

    #[test]
    fn nothing_behind_a_link_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("root"), dir.path().join("other"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&other).unwrap();
        let file = other.join(format!("{:016x}.part", 7));
        std::fs::write(&file, "of someone else").unwrap();
        std::os::unix::fs::symlink(&other, root.join(STAGING_FOLDER)).unwrap();
        assert_eq!(remove_abandoned_uploads(&root).unwrap(), 0);
        assert!(file.exists());
    }

    #[tokio::test]
    async fn a_missing_root_is_not_created() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("missing");
        let created = StagingFile::create(&root, LibraryIoPermits::new(), "the library".into());
        let problem = created.await.map(|_| ()).unwrap_err();
        assert!(
            problem.detail.contains("connect its disk"),
            "{}",
            problem.detail
        );
        assert!(!root.exists());
    }
}
