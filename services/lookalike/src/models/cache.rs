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
use lookalike_vision::registry::{Hub, Known, UNPINNED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::error::Error;
use crate::settings::Settings;

/// The lock of a model's folder.
pub const LOCK: &str = "model.lock.json";
/// Our description, beside the weights.
const DESCRIPTION: &str = "description.json";
/// Keeps two processes from fetching one model at once.
const BUSY: &str = "fetching.lock";
/// Files up to this are hashed at every start. Weights are larger, and are hashed where they are
/// loaded.
const SMALL_BYTES: u64 = 64 << 20;

/// What a model's folder must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its name here.
    pub name: String,
    /// Its repository on the hub.
    pub repository: String,
    /// The commit.
    pub revision: String,
    /// Who said what the files must be.
    pub pinned: PinnedBy,
    /// When, in milliseconds since 1970.
    pub at: i64,
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

impl Lock {
    /// The lock of a model that lookalike has pinned.
    pub fn pinned(known: &Known, hub: &Hub) -> Option<Self> {
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
            at: now_millis(),
            files: files.collect::<Option<_>>()?,
        })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
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
pub fn folder(settings: &Settings) -> Result<PathBuf, Error> {
    let cache = match &settings.servers.cache_dir {
        Some(given) => given.clone(),
        None => dirs::cache_dir().ok_or(Error::NoCache)?.join("lookalike"),
    };
    let cache = std::path::absolute(&cache).map_err(at(&cache))?;
    Ok(cache.join("models"))
}

/// An error of a file or folder.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { path, source }
}

/// A model's place in the cache.
#[derive(Debug, Clone)]
pub struct Place {
    known: &'static Known,
    hub: Hub,
    folder: PathBuf,
}

impl Place {
    /// The place of a model below the folder of all models.
    pub fn new(models: &Path, known: &'static Known, hub: Hub) -> Self {
        Self {
            known,
            hub,
            folder: models.join(known.name),
        }
    }

    /// The folder of one revision.
    pub fn revision(&self, revision: &str) -> PathBuf {
        self.folder.join(revision)
    }

    /// The lock that counts: of the pinned revision, or the newest of what was fetched first.
    ///
    /// # Errors
    /// When one can't be read, or does not say what lookalike says.
    pub fn lock(&self) -> Result<Option<Lock>, Error> {
        if self.hub.revision != UNPINNED {
            let found = read_lock(&self.revision(self.hub.revision))?;
            let ours = Lock::pinned(self.known, &self.hub);
            return match (found, ours) {
                (Some(found), Some(ours)) if found.files != ours.files => Err(Error::Altered {
                    path: self.revision(self.hub.revision).join(LOCK),
                    what: "says other checksums than lookalike does".to_owned(),
                    name: self.known.name.to_owned(),
                }),
                (found, _) => Ok(found),
            };
        }
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&self.folder)(error)),
        };
        let mut newest: Option<Lock> = None;
        for entry in entries {
            let folder = entry.map_err(at(&self.folder))?.path();
            let Some(lock) = read_lock(&folder)? else {
                continue;
            };
            if newest.as_ref().is_none_or(|other| other.at < lock.at) {
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
    pub fn complete(&self) -> Result<Option<PathBuf>, Error> {
        let Some(lock) = self.lock()? else {
            return Ok(None);
        };
        let folder = self.revision(&lock.revision);
        for file in &lock.files {
            if !is_there(&folder, file, self.known.name)? {
                return Ok(None);
            }
        }
        self.describe(&folder, &lock)?;
        Ok(Some(folder))
    }

    /// Whether anything of these files has arrived.
    pub fn has_part(&self, lock: &Lock) -> bool {
        let folder = self.revision(&lock.revision);
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
    pub fn check(&self) -> Result<Lock, Error> {
        let altered = |path: PathBuf, what: String| Error::Altered {
            path,
            what,
            name: self.known.name.to_owned(),
        };
        let lock = self
            .lock()?
            .ok_or_else(|| altered(self.folder.join(LOCK), "is gone".to_owned()))?;
        for file in &lock.files {
            let path = self.revision(&lock.revision).join(&file.name);
            let hash = sha256(&path)?;
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
    pub fn write_lock(&self, lock: &Lock) -> Result<PathBuf, Error> {
        let folder = self.revision(&lock.revision);
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let text = serde_json::to_vec_pretty(lock).expect("a lock is plain data");
        write_whole(&folder.join(LOCK), &text)?;
        Ok(folder)
    }

    /// Our description beside the weights, with their checksum.
    fn describe(&self, folder: &Path, lock: &Lock) -> Result<(), Error> {
        let mut description =
            Description::bundled(self.known.name).expect("known models are described");
        if let Some(weights) = lock.files.first() {
            description.checksum.clone_from(&weights.sha256);
        }
        let text = serde_json::to_vec_pretty(&description).expect("a description is plain data");
        let path = folder.join(DESCRIPTION);
        if std::fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write_whole(&path, &text)
    }

    /// Waits until nobody else fetches this model; `waiting` is told when somebody does.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub async fn busy(&self, waiting: impl FnOnce()) -> Result<File, Error> {
        std::fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        let path = self.folder.join(BUSY);
        let file = File::create(&path).map_err(at(&path))?;
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
            .map_err(at(&path))?;
        let locked = locked.await.expect("the thread answers");
        locked.map_err(at(&path))
    }
}

/// Whether a file is there; small ones are hashed, large ones where they are loaded.
fn is_there(folder: &Path, file: &LockedFile, name: &str) -> Result<bool, Error> {
    let path = folder.join(&file.name);
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(&path)(error)),
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
    if file.bytes <= SMALL_BYTES {
        let hash = sha256(&path)?;
        if hash != file.sha256 {
            return Err(altered(format!(
                "has the SHA-256 {hash}, and had {} when it was fetched",
                file.sha256
            )));
        }
    }
    Ok(true)
}

fn read_lock(folder: &Path) -> Result<Option<Lock>, Error> {
    let path = folder.join(LOCK);
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
        Err(error) => return Err(at(&path)(error)),
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
pub fn sha256(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(at(path))?;
    io::copy(&mut file, &mut hasher).map_err(at(path))?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A file with these bytes, or as it was before.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(at(path))?;
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
        .map_err(at(folder))
}
