//! What the disk reports of a path, without following links.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use lookalike_bus::RootFolder;
use lookalike_proto::ContentHash;

use crate::notify::filesystem;

/// What exists at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File(FileStat),
    Folder,
    /// A symbolic link, socket, pipe or device.
    Other {
        is_symlink: bool,
        stat: FileStat,
    },
}

/// What distinguishes one state of a file from another. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Size in bytes.
    pub size: u64,
    /// When the content was written; programs can set it.
    pub mtime_ns: i64,
    /// When the inode changed; no program can set it.
    pub ctime_ns: i64,
    /// May change when a file system is mounted again.
    pub device: u64,
    /// Some network file systems invent a new one at each mount.
    pub inode: u64,
    /// When the inode was created; 0 if the file system does not report it, or may give the file
    /// another inode.
    pub born_ns: i64,
}

impl FileStat {
    /// The stat of what is known by its name only: no file has it, and no row of the index.
    pub const UNKNOWN: Self = Self {
        size: 0,
        mtime_ns: 0,
        ctime_ns: 0,
        device: u64::MAX,
        inode: u64::MAX,
        born_ns: 0,
    };

    fn from_metadata(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        Self {
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
            born_ns: match INODE_INVENTING_DEVICES.is_known_to_invent(metadata.dev()) {
                true => 0,
                false => metadata
                    .created()
                    .map_or(0, lookalike_chassis::clock::to_nanos),
            },
        }
    }

    /// Whether nothing happened to the file since `before`. Ignores the device, which a new mount
    /// changes, and the inode on file systems without birth times, which invent inodes.
    pub fn is_unchanged_since(&self, before: &Self) -> bool {
        self.size == before.size
            && self.mtime_ns == before.mtime_ns
            && self.ctime_ns == before.ctime_ns
            && (!self.has_births(before)
                || (self.inode == before.inode && self.born_ns == before.born_ns))
    }

    /// Whether nothing of the file seems to have changed but its rights, owner, link count or
    /// attributes. Programs can set the time of a write back, so only its bytes prove that.
    pub fn is_only_touched_since(&self, before: &Self) -> bool {
        let untouched = Self {
            ctime_ns: before.ctime_ns,
            ..*self
        };
        self.ctime_ns != before.ctime_ns && untouched.is_unchanged_since(before)
    }

    /// Whether both stats have birth times. One may lack it if it was taken before or after the
    /// system told that the file system invents inodes.
    fn has_births(&self, before: &Self) -> bool {
        self.born_ns != 0 && before.born_ns != 0
    }

    /// Whether a file that was just written may have been written twice with the same stat: FAT
    /// and similar file systems store times in whole seconds, or two of them.
    pub fn may_hide_change(&self, now_ns: i64) -> bool {
        const SECOND: i64 = 1_000_000_000;
        self.mtime_ns % SECOND == 0
            && self.ctime_ns % SECOND == 0
            && now_ns.abs_diff(self.mtime_ns) <= 3 * SECOND.unsigned_abs()
    }

    /// Whether this stat comes from a row of the index, which stores only the size, and the mtime
    /// in milliseconds.
    pub fn is_from_index(&self) -> bool {
        self.inode == 0 && self.device == 0
    }

    /// Whether a file may be the one of a stat that comes from the index.
    pub fn matches_index_stat(&self, index_stat: &Self) -> bool {
        self.size == index_stat.size && self.mtime_ns / 1_000_000 == index_stat.mtime_ns / 1_000_000
    }

    /// Whether this is the same inode as `before`, even with another path or other content.
    ///
    /// Inodes are reused after their file is deleted. The birth time detects that. Without birth
    /// times, size and mtime must be unchanged (a rename keeps both).
    pub fn is_same_inode(&self, before: &Self) -> bool {
        self.device == before.device
            && self.inode == before.inode
            && match self.has_births(before) {
                true => self.born_ns == before.born_ns,
                false => self.size == before.size && self.mtime_ns == before.mtime_ns,
            }
    }
}

/// What distinguishes one folder from another, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderIdentity {
    pub device: u64,
    pub inode: u64,
    /// When the inode was created (inodes are reused); 0 if that is unknown.
    pub born_ns: i64,
}

impl FolderIdentity {
    /// Returns the identity of the folder at `path`, or `None` if there is none.
    pub fn from_path(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
        INODE_INVENTING_DEVICES.examine(metadata.dev(), path);
        let stat = FileStat::from_metadata(&metadata);
        Some(Self {
            device: stat.device,
            inode: stat.inode,
            born_ns: stat.born_ns,
        })
    }

    /// Returns what other processes compare. They may see the folder on a device of another number.
    pub fn root_folder(self) -> Option<RootFolder> {
        (self.born_ns != 0).then_some(RootFolder {
            inode: self.inode,
            born_ns: self.born_ns,
        })
    }

    pub fn is_same_folder(&self, other: &Self) -> bool {
        self.device == other.device
            && self.inode == other.inode
            && (self.born_ns == other.born_ns || self.born_ns == 0 || other.born_ns == 0)
    }
}

/// Returns what exists at `path`, or `None` if nothing does.
///
/// # Errors
/// When the system cannot tell, which does not mean that nothing exists.
pub fn stat_path(path: &Path) -> io::Result<Option<FileKind>> {
    #[cfg(test)]
    let path = &test_folding::fold_path(path);
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(kind_from_metadata(&metadata))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => stat_in_folder(path),
        Err(error) => Err(error),
    }
}

/// Like [`stat_path`] for a path that is too long for the system, if the path of its folder is not.
/// Nothing deeper exists for lookalike.
fn stat_in_folder(path: &Path) -> io::Result<Option<FileKind>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let open = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(folder);
    let metadata = open.and_then(|folder| {
        let folder = format!("/proc/self/fd/{}", folder.as_raw_fd());
        std::fs::symlink_metadata(Path::new(&folder).join(name))
    });
    match metadata {
        Ok(metadata) => Ok(Some(kind_from_metadata(&metadata))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the file systems of the folders examined so far invent inode numbers, by device number.
struct InodeInventingDevices(RwLock<Option<HashMap<u64, bool>>>);

static INODE_INVENTING_DEVICES: InodeInventingDevices = InodeInventingDevices(RwLock::new(None));

impl InodeInventingDevices {
    /// Devices come and go with their mounts.
    const MAX_DEVICES: usize = 1024;

    /// Asks the system about the device of a folder. Every folder is examined before its files are
    /// listed. Asks each time, because another mount may get the number of a device that is gone.
    fn examine(&self, device: u64, path: &Path) {
        // An error says nothing about the file system.
        let Ok(invents) = filesystem::invents_inodes(path) else {
            return;
        };
        if self.is_known_to_invent(device) == invents {
            return;
        }
        let mut devices = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        if devices.len() >= Self::MAX_DEVICES {
            devices.clear();
        }
        devices.insert(device, invents);
    }

    fn is_known_to_invent(&self, device: u64) -> bool {
        let devices = self.0.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .as_ref()
            .and_then(|devices| devices.get(&device))
            .copied()
            .unwrap_or(false)
    }
}

pub fn kind_from_metadata(metadata: &Metadata) -> FileKind {
    let stat = FileStat::from_metadata(metadata);
    if metadata.is_file() {
        FileKind::File(stat)
    } else if metadata.is_dir() {
        FileKind::Folder
    } else {
        FileKind::Other {
            is_symlink: metadata.is_symlink(),
            stat,
        }
    }
}

/// Whether an error means that nothing exists there (a part of the path may be a file, too).
pub fn is_not_found(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub fn hash_file(path: &Path) -> io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}

/// Makes [`stat_path`] ignore the case of names, as on exFAT or SMB, for tests on other file systems.
#[cfg(test)]
pub mod test_folding {
    use std::cell::Cell;
    use std::ffi::OsStr;
    use std::path::{Path, PathBuf};

    thread_local! {
        static FOLDS_CASE: Cell<bool> = const { Cell::new(false) };
    }

    /// Affects the current thread.
    pub fn fold_case(folds: bool) {
        FOLDS_CASE.set(folds);
    }

    /// Returns the existing path that differs only in case, or else the path itself.
    pub fn fold_path(path: &Path) -> PathBuf {
        if !FOLDS_CASE.get() || path.symlink_metadata().is_ok() {
            return path.to_owned();
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        let folder = fold_path(folder);
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        let lowercase = |name: &OsStr| name.to_string_lossy().to_lowercase();
        match names.find(|entry| lowercase(entry) == lowercase(name)) {
            Some(entry) => folder.join(entry),
            None => folder.join(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_hide_what_was_written_just_now() {
        const NOW: i64 = 1_700_000_001_500_000_000;
        let stat = |mtime_ns, ctime_ns| FileStat {
            size: 1,
            mtime_ns,
            ctime_ns,
            device: 1,
            inode: 1,
            born_ns: 0,
        };
        let whole = NOW - 1_500_000_000;
        assert!(stat(whole, whole).may_hide_change(NOW));
        assert!(
            !stat(whole, whole + 1).may_hide_change(NOW),
            "a finer clock"
        );
        assert!(!stat(NOW, NOW).may_hide_change(NOW));
        assert!(!stat(whole, whole).may_hide_change(NOW + 60_000_000_000));
    }

    #[test]
    fn a_birth_time_that_one_stat_lacks_proves_nothing() {
        let stat = FileStat {
            size: 1,
            mtime_ns: 2,
            ctime_ns: 3,
            device: 4,
            inode: 5,
            born_ns: 6,
        };
        let unborn = FileStat { born_ns: 0, ..stat };
        for (now, before) in [(stat, unborn), (unborn, stat), (unborn, unborn)] {
            assert!(now.is_same_inode(&before) && now.is_unchanged_since(&before));
            let renumbered = FileStat { inode: 7, ..now };
            assert!(renumbered.is_unchanged_since(&before));
            let edited = FileStat { size: 8, ..now };
            assert!(!edited.is_same_inode(&before) && !edited.is_unchanged_since(&before));
        }
        let reused = FileStat { born_ns: 9, ..stat };
        assert!(!reused.is_same_inode(&stat) && !reused.is_unchanged_since(&stat));
    }

    #[test]
    fn a_recycled_device_number_is_examined_again() {
        let devices = InodeInventingDevices(RwLock::new(Some(HashMap::from([(1, true)]))));
        devices.examine(1, Path::new("/no such folder"));
        assert!(devices.is_known_to_invent(1), "an error tells nothing");
        devices.examine(1, Path::new("/proc"));
        assert!(!devices.is_known_to_invent(1));
    }
}
