//! Where fetched models lie, and how it is known that they are what was fetched.
//!
//! A model's folder is `models/NAME/REVISION` in the cache folder. Its lock, `model.lock.json`, says
//! from where each file is and what its bytes must be: our own checksums where we have them, those
//! that the hub announced at the first fetch elsewhere. The lock is written before the first byte is
//! asked for, and a file has its name only once its bytes are right, so that a folder is complete
//! when all its files are there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lookalike_vision::Description;
use lookalike_vision::registry::{HubRepository, RegisteredModel, UNPINNED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::error::Error;
use crate::settings::Settings;

/// The lock of a model's folder.
pub const LOCK_FILE_NAME: &str = "model.lock.json";
/// Our description, beside the weights.
const DESCRIPTION_FILE_NAME: &str = "description.json";
/// Keeps two processes from fetching one model at once.
const FETCH_LOCK_FILE_NAME: &str = "fetching.lock";
/// Files up to this are hashed at every start. Weights are larger, and are hashed where they are
/// loaded.
const MAX_BYTES_HASHED_AT_START: u64 = 64 << 20;

/// What a model's folder must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLock {
    /// Its name here.
    pub name: String,
    /// Its repository on the hub.
    pub repository: String,
    /// The commit.
    pub revision: String,
    /// Who said what the files must be.
    pub pinned: PinnedBy,
    /// When, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Its files, the weights first.
    pub files: Vec<LockedFile>,
}

/// Who said what the files must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinnedBy {
    /// lookalike itself.
    Lookalike,
    /// The hub, at the first fetch.
    FirstFetch,
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// Its name here, and its path in the repository.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

impl ModelLock {
    /// The lock of a model that lookalike has pinned.
    pub fn from_pins(known: &RegisteredModel, hub: &HubRepository) -> Option<Self> {
        let files = hub.files().map(|file| {
            let pin = file.pin?;
            Some(LockedFile {
                name: file.name.to_owned(),
                bytes: pin.bytes,
                sha256: pin.sha256.to_owned(),
            })
        });
        Some(Self {
            name: known.name.to_owned(),
            repository: hub.repository.to_owned(),
            revision: hub.revision.to_owned(),
            pinned: PinnedBy::Lookalike,
            created_at_ms: now_millis(),
            files: files.collect::<Option<_>>()?,
        })
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    lookalike_chassis::clock::now_nanos() / 1_000_000
}

/// The folder of all models.
///
/// # Errors
/// When the system names no cache folder and none is set.
pub fn models_folder(settings: &Settings) -> Result<PathBuf, Error> {
    let cache = match &settings.servers.cache_dir {
        Some(given) => given.clone(),
        None => dirs::cache_dir().ok_or(Error::NoCache)?.join("lookalike"),
    };
    let cache = std::path::absolute(&cache).map_err(cache_error(&cache))?;
    Ok(cache.join("models"))
}

/// An error of a file or folder.
pub fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

/// A model's place in the cache.
#[derive(Debug, Clone)]
pub struct CachedModel {
    entry: &'static RegisteredModel,
    hub: HubRepository,
    folder: PathBuf,
}

impl CachedModel {
    /// The place of a model below the folder of all models.
    pub fn new(models: &Path, entry: &'static RegisteredModel, hub: HubRepository) -> Self {
        Self {
            entry,
            hub,
            folder: models.join(entry.name),
        }
    }

    /// The folder of one revision.
    pub fn revision_folder(&self, revision: &str) -> PathBuf {
        self.folder.join(revision)
    }

    /// The lock that counts: of the pinned revision, or the newest of what was fetched first.
    ///
    /// # Errors
    /// When one can't be read, or does not say what lookalike says.
    pub fn read_current_lock(&self) -> Result<Option<ModelLock>, Error> {
        if self.hub.revision != UNPINNED {
            let found = read_lock(&self.revision_folder(self.hub.revision))?;
            let ours = ModelLock::from_pins(self.entry, &self.hub);
            return match (found, ours) {
                (Some(found), Some(ours)) if found.files != ours.files => Err(Error::Altered {
                    path: self.revision_folder(self.hub.revision).join(LOCK_FILE_NAME),
                    what: "says other checksums than lookalike does".to_owned(),
                    name: self.entry.name.to_owned(),
                }),
                (found, _) => Ok(found),
            };
        }
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
                .is_none_or(|other| other.created_at_ms < lock.created_at_ms)
            {
                newest = Some(lock);
            }
        }
        Ok(newest)
    }

    /// The folder with everything in it, if it is complete; its description is written anew where
    /// this lookalike has another one.
    ///
    /// # Errors
    /// When what is there is not what was fetched.
    pub fn complete_folder(&self) -> Result<Option<PathBuf>, Error> {
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

    /// Whether anything of these files has arrived.
    pub fn has_part(&self, lock: &ModelLock) -> bool {
        let folder = self.revision_folder(&lock.revision);
        lock.files.iter().any(|file| {
            let part = folder.join(format!("{}.part", file.name));
            folder.join(&file.name).exists()
                || std::fs::metadata(part).is_ok_and(|part| part.len() > 0)
        })
    }

    /// Hashes every file, and gives the lock that they fit.
    ///
    /// # Errors
    /// When one is missing or is not what was fetched.
    pub fn verify_checksums(&self) -> Result<ModelLock, Error> {
        let altered = |path: PathBuf, what: String| Error::Altered {
            path,
            what,
            name: self.entry.name.to_owned(),
        };
        let lock = self
            .read_current_lock()?
            .ok_or_else(|| altered(self.folder.join(LOCK_FILE_NAME), "is gone".to_owned()))?;
        for file in &lock.files {
            let path = self.revision_folder(&lock.revision).join(&file.name);
            let hash = hash_file(&path)?;
            if hash != file.sha256 {
                return Err(altered(
                    path,
                    format!(
                        "has the SHA-256 {hash}, and had {} when it was fetched",
                        file.sha256
                    ),
                ));
            }
        }
        Ok(lock)
    }

    /// Writes the lock, whole and for good.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn write_lock(&self, lock: &ModelLock) -> Result<PathBuf, Error> {
        let folder = self.revision_folder(&lock.revision);
        std::fs::create_dir_all(&folder).map_err(cache_error(&folder))?;
        let text = serde_json::to_vec_pretty(lock).expect("a lock is plain data");
        write_atomically(&folder.join(LOCK_FILE_NAME), &text)?;
        Ok(folder)
    }

    /// Our description beside the weights, with their checksum.
    fn write_description(&self, folder: &Path, lock: &ModelLock) -> Result<(), Error> {
        let mut description =
            Description::find_bundled(self.entry.name).expect("known models are described");
        if let Some(weights) = lock.files.first() {
            description.checksum.clone_from(&weights.sha256);
        }
        let text = serde_json::to_vec_pretty(&description).expect("a description is plain data");
        let path = folder.join(DESCRIPTION_FILE_NAME);
        if std::fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write_atomically(&path, &text)
    }

    /// Waits until nobody else fetches this model; `show_waiting` is told when somebody does.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub async fn lock_for_fetch(&self, waiting: impl FnOnce()) -> Result<File, Error> {
        std::fs::create_dir_all(&self.folder).map_err(cache_error(&self.folder))?;
        let path = self.folder.join(FETCH_LOCK_FILE_NAME);
        let file = File::create(&path).map_err(cache_error(&path))?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        waiting();
        // Not on a thread of the runtime, which that would keep from shutting down.
        let (sender, locked) = oneshot::channel();
        std::thread::Builder::new()
            .name("models-lock".to_owned())
            .spawn(move || {
                // When nobody listens any more, the file is closed and the lock with it.
                let _ = sender.send(file.lock().map(|()| file));
            })
            .map_err(cache_error(&path))?;
        let locked = locked.await.expect("the thread answers");
        locked.map_err(cache_error(&path))
    }
}

/// Whether a file is there; small ones are hashed, large ones where they are loaded.
fn is_file_present(folder: &Path, file: &LockedFile, name: &str) -> Result<bool, Error> {
    let path = folder.join(&file.name);
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cache_error(&path)(error)),
    };
    let altered = |what: String| Error::Altered {
        path: path.clone(),
        what,
        name: name.to_owned(),
    };
    if found.len() != file.bytes {
        return Err(altered(format!(
            "has {} bytes, and had {} when it was fetched",
            found.len(),
            file.bytes
        )));
    }
    if file.bytes <= MAX_BYTES_HASHED_AT_START {
        let hash = hash_file(&path)?;
        if hash != file.sha256 {
            return Err(altered(format!(
                "has the SHA-256 {hash}, and had {} when it was fetched",
                file.sha256
            )));
        }
    }
    Ok(true)
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
            what: format!("can't be read: {error}"),
        }),
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it can't be read.
pub fn hash_file(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(cache_error(path))?;
    io::copy(&mut file, &mut hasher).map_err(cache_error(path))?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A file with these bytes, or as it was before.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(cache_error(path))?;
    sync_folder(path)
}

/// Makes a file's name in its folder last.
///
/// # Errors
/// When the folder can't be written.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(cache_error(folder))
}
