//! The model store on disk, and how it proves that a model is complete.
//!
//! A model is stored in `models/NAME/REVISION` below the cache folder. The lock file in it,
//! `model.lock.json`, records the repository, the revision, and length and SHA-256 of every file:
//! from our own pins where the registry has them, otherwise as the hub announced them at the first
//! fetch. The lock file is written before the first byte is requested, and a file gets its final
//! name only after its checksum matched. A folder is therefore complete when all files of its lock
//! exist.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lookalike_chassis::durable::{replace_file, sync_folder};
use lookalike_vision::registry::{RegisteredModel, Repository, UNPINNED};
use lookalike_vision::{Description, Model};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::error::Error;

const LOCK_FILE_NAME: &str = "model.lock.json";
/// Our description of the model, stored next to its weights.
const DESCRIPTION_FILE_NAME: &str = "description.json";
/// Prevents two processes from fetching the same model at once.
const FETCH_LOCK_FILE_NAME: &str = "fetching.lock";
/// Smaller files are hashed at every start. Larger files are weights, which are hashed when they
/// are loaded.
const MAX_BYTES_HASHED_AT_START: u64 = 64 << 20;

/// The folder that contains all fetched models.
#[derive(Debug, Clone)]
pub struct ModelStore {
    folder: PathBuf,
}

impl ModelStore {
    /// The store in `cache_dir`, or in the platform's cache folder.
    pub fn open(cache_dir: Option<&Path>) -> Result<Self, Error> {
        let cache_dir = match cache_dir {
            Some(cache_dir) => cache_dir.to_owned(),
            None => dirs::cache_dir()
                .ok_or(Error::NoCacheFolder)?
                .join("lookalike"),
        };
        let absolute = std::path::absolute(&cache_dir).map_err(cache_error(&cache_dir))?;
        Ok(Self {
            folder: absolute.join("models"),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn cached_model(
        &self,
        entry: &'static RegisteredModel,
        repository: Repository,
    ) -> CachedModel {
        CachedModel {
            entry,
            repository,
            folder: self.folder.join(entry.name),
        }
    }
}

/// The contents of `model.lock.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLock {
    pub name: String,
    /// Owner and name of the repository on the hub, or name of the Python project.
    pub repository: String,
    /// The repository's commit, 40 hexadecimal digits, or the version of a wheel and of our
    /// description.
    pub revision: String,
    pub pinned: PinnedBy,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// All files, the weights first.
    pub files: Vec<LockedFile>,
}

/// Who stated the checksums of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedBy {
    /// The registry of this program.
    Lookalike,
    /// The hub, when the model was fetched for the first time.
    FirstFetch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// The path in the repository, and the name in the model's folder.
    pub name: String,
    pub bytes: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

impl ModelLock {
    /// The lock of a model whose files are all pinned in the registry.
    pub(crate) fn from_pins(entry: &RegisteredModel, repository: &Repository) -> Option<Self> {
        let files = repository.files().map(|file| {
            let pin = file.pin?;
            Some(LockedFile {
                name: file.name.to_owned(),
                bytes: pin.bytes,
                sha256: pin.sha256.to_owned(),
            })
        });
        Some(Self {
            name: entry.name.to_owned(),
            repository: repository.repository.to_owned(),
            revision: repository.revision.to_owned(),
            pinned: PinnedBy::Lookalike,
            created_at_ms: now_millis(),
            files: files.collect::<Option<_>>()?,
        })
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Returns the current time in milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    lookalike_chassis::clock::now_nanos() / 1_000_000
}

/// Turns an I/O error at `path` into an [`Error`].
pub(crate) fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

/// A registered model and its folder in the store, whether or not it was fetched.
#[derive(Debug, Clone)]
pub(crate) struct CachedModel {
    entry: &'static RegisteredModel,
    repository: Repository,
    folder: PathBuf,
}

impl CachedModel {
    /// The folder for all revisions of the model.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn revision_folder(&self, revision: &str) -> PathBuf {
        self.folder.join(revision)
    }

    /// The lock of a model whose files are all pinned in the registry.
    ///
    /// # Panics
    /// Panics if a file is not pinned.
    pub(crate) fn pinned_lock(&self) -> ModelLock {
        ModelLock::from_pins(self.entry, &self.repository).expect("the registry pins every file")
    }

    /// Reads the lock that applies: that of the pinned revision, or the newest one of a model
    /// that is not pinned.
    ///
    /// # Errors
    /// [`Error::Altered`] if a lock is unreadable or contradicts the registry.
    pub(crate) fn read_current_lock(&self) -> Result<Option<ModelLock>, Error> {
        if self.repository.revision == UNPINNED {
            return self.read_newest_lock();
        }
        let folder = self.revision_folder(self.repository.revision);
        let stored = read_lock(&folder)?;
        let pinned = ModelLock::from_pins(self.entry, &self.repository);
        match (stored, pinned) {
            (Some(stored), Some(pinned)) if stored.files != pinned.files => Err(Error::Altered {
                path: folder.join(LOCK_FILE_NAME),
                difference: "contains checksums other than those of this lookalike".to_owned(),
                name: self.entry.name.to_owned(),
            }),
            (stored, _) => Ok(stored),
        }
    }

    fn read_newest_lock(&self) -> Result<Option<ModelLock>, Error> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cache_error(&self.folder)(error)),
        };
        let mut newest: Option<ModelLock> = None;
        for entry in entries {
            let folder = entry.map_err(cache_error(&self.folder))?.path();
            let Some(lock) = read_lock(&folder)? else {
                continue;
            };
            if newest
                .as_ref()
                .is_none_or(|newest| newest.created_at_ms < lock.created_at_ms)
            {
                newest = Some(lock);
            }
        }
        Ok(newest)
    }

    /// The model's folder if all files of its lock exist. Updates the description in it if this
    /// version of lookalike has another one.
    ///
    /// # Errors
    /// [`Error::Altered`] if a file differs from its lock.
    pub(crate) fn complete_folder(&self) -> Result<Option<PathBuf>, Error> {
        let Some(lock) = self.read_current_lock()? else {
            return Ok(None);
        };
        let folder = self.revision_folder(&lock.revision);
        for file in &lock.files {
            if !is_file_present(&folder, file, self.entry.name)? {
                return Ok(None);
            }
        }
        self.write_description(&folder, &lock)?;
        Ok(Some(folder))
    }

    /// Whether any byte of the files in `lock` is on disk.
    pub(crate) fn has_part(&self, lock: &ModelLock) -> bool {
        let folder = self.revision_folder(&lock.revision);
        lock.files.iter().any(|file| {
            let part = folder.join(format!("{}.part", file.name));
            folder.join(&file.name).exists()
                || std::fs::metadata(part).is_ok_and(|part| part.len() > 0)
        })
    }

    /// Hashes every file and returns the lock that they match.
    ///
    /// # Errors
    /// [`Error::Altered`] if a file differs from its lock.
    pub(crate) fn verify_checksums(&self) -> Result<ModelLock, Error> {
        let lock = self.read_current_lock()?.ok_or_else(|| Error::Altered {
            path: self.folder.join(LOCK_FILE_NAME),
            difference: "was deleted".to_owned(),
            name: self.entry.name.to_owned(),
        })?;
        for file in &lock.files {
            let path = self.revision_folder(&lock.revision).join(&file.name);
            verify_hash(&path, file, self.entry.name)?;
        }
        Ok(lock)
    }

    /// Writes the lock durably and returns the folder of its revision.
    pub(crate) fn write_lock(&self, lock: &ModelLock) -> Result<PathBuf, Error> {
        let folder = self.revision_folder(&lock.revision);
        std::fs::create_dir_all(&folder).map_err(cache_error(&folder))?;
        let text = serde_json::to_vec_pretty(lock).expect("a lock has no maps or fallible types");
        let lock_file = folder.join(LOCK_FILE_NAME);
        replace_file(&lock_file, &text).map_err(cache_error(&lock_file))?;
        Ok(folder)
    }

    /// Writes our description next to the weights, with their checksum, and the expected golden vector
    /// where we know it.
    fn write_description(&self, folder: &Path, lock: &ModelLock) -> Result<(), Error> {
        let mut description = Description::find_bundled(self.entry.name)
            .expect("every registered model has a bundled description");
        if let Some(weights) = lock.files.first() {
            description.checksum.clone_from(&weights.sha256);
        }
        let text = serde_json::to_vec_pretty(&description)
            .expect("a description has string keys and finite numbers only");
        write_if_different(&folder.join(DESCRIPTION_FILE_NAME), &text)?;
        match Model::golden_file(self.entry.name) {
            Some((name, json)) => write_if_different(&folder.join(name), json.as_bytes()),
            None => Ok(()),
        }
    }

    /// Waits until no other process fetches this model, and locks it until the file is dropped.
    /// Calls `on_wait` if another process holds the lock.
    pub(crate) async fn lock_for_fetch(&self, on_wait: impl FnOnce()) -> Result<File, Error> {
        std::fs::create_dir_all(&self.folder).map_err(cache_error(&self.folder))?;
        let path = self.folder.join(FETCH_LOCK_FILE_NAME);
        let file = File::create(&path).map_err(cache_error(&path))?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        on_wait();
        // A thread of the runtime would prevent the runtime from shutting down while it waits.
        let (sender, locked) = oneshot::channel();
        std::thread::Builder::new()
            .name("models-lock".to_owned())
            .spawn(move || {
                // If the receiver is gone, the file is closed here, which releases the lock.
                let _ = sender.send(file.lock().map(|()| file));
            })
            .map_err(cache_error(&path))?;
        let locked = locked.await.expect("the thread always sends a result");
        locked.map_err(cache_error(&path))
    }
}

/// Whether a file exists with the recorded length. Small files are hashed as well.
fn is_file_present(folder: &Path, file: &LockedFile, model_name: &str) -> Result<bool, Error> {
    let path = folder.join(&file.name);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cache_error(&path)(error)),
    };
    if metadata.len() != file.bytes {
        return Err(Error::Altered {
            path,
            difference: format!(
                "has {} bytes, but had {} after the download",
                metadata.len(),
                file.bytes
            ),
            name: model_name.to_owned(),
        });
    }
    if file.bytes <= MAX_BYTES_HASHED_AT_START {
        verify_hash(&path, file, model_name)?;
    }
    Ok(true)
}

fn verify_hash(path: &Path, file: &LockedFile, model_name: &str) -> Result<(), Error> {
    let hash = hash_file(path)?;
    if hash == file.sha256 {
        return Ok(());
    }
    Err(Error::Altered {
        path: path.to_owned(),
        difference: format!(
            "has the SHA-256 {hash}, but had {} after the download",
            file.sha256
        ),
        name: model_name.to_owned(),
    })
}

fn read_lock(folder: &Path) -> Result<Option<ModelLock>, Error> {
    let path = folder.join(LOCK_FILE_NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(cache_error(&path)(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => Err(Error::Altered {
            name: folder
                .parent()
                .and_then(Path::file_name)
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            path,
            difference: format!("cannot be read: {error}"),
        }),
    }
}

/// Like [`hash_file`], on a thread for blocking work.
pub(crate) async fn hash_in_background(path: &Path) -> Result<String, Error> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || hash_file(&path));
    match hashing.await {
        Ok(hash) => hash,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Removes a file whose hash differs from that of its lock. A missing file is no error.
pub(crate) async fn remove_if_damaged(path: &Path, file: &LockedFile) -> Result<(), Error> {
    if path.exists() && hash_in_background(path).await? != file.sha256 {
        std::fs::remove_file(path).map_err(cache_error(path))?;
    }
    Ok(())
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(cache_error(path))?;
    io::copy(&mut file, &mut hasher).map_err(cache_error(path))?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn write_if_different(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if std::fs::read(path).is_ok_and(|existing| existing == bytes) {
        return Ok(());
    }
    replace_file(path, bytes).map_err(cache_error(path))
}

/// Makes a created or renamed entry durable by syncing the folder that contains it.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    sync_folder(folder).map_err(cache_error(folder))
}
