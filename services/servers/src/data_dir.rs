//! The lock of a data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;

/// Name of the file in a data folder that its owner keeps locked.
pub const LOCK_FILE: &str = "lock";

/// Holds the lock of a data folder. The lock is released on drop, and by the system if the process
/// dies.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if necessary and acquires its lock.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process, or another value in this process, holds the lock.
    pub(crate) fn acquire_lock(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::DataDir { path, source }
        };
        std::fs::create_dir_all(path).map_err(failed(path))?;
        // The servers get absolute paths, because each runs in a folder of its own.
        let path = &path.canonicalize().map_err(failed(path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock_with_retries(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may not have written its pid yet.
                let _ = lock.read_to_string(&mut pid);
                return Err(Error::InUse {
                    data_dir: path.clone(),
                    pid: pid.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let write_pid = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write_pid(&mut lock).map_err(failed(&lock_path))?;
        Ok(Self {
            path: path.clone(),
            _lock: lock,
        })
    }

    /// Returns the absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Tries a few times, because other commands briefly take the lock to check whether it is free.
fn lock_with_retries(lock: &File) -> Result<(), TryLockError> {
    const MAX_ATTEMPTS: u32 = 5;
    for _ in 1..MAX_ATTEMPTS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
    lock.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new/folder");
        let owner = DataDir::acquire_lock(&folder).unwrap();
        let error = DataDir::acquire_lock(&folder).unwrap_err();
        assert!(
            matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        drop(owner);
        DataDir::acquire_lock(&folder).unwrap();
    }
}
