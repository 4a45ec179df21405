//! What the disk says of a path, without following links.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What kind of thing lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File(FileStat),
    /// A folder.
    Folder,
    /// A symbolic link, socket, pipe or device.
    Other {
        /// It is a symbolic link.
        is_symlink: bool,
        /// As of a file.
        stat: FileStat,
    },
}

/// What tells one state of a file from another. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Bytes.
    pub size: u64,
    /// When the content was written, as far as the file tells (programs can set it).
    pub mtime_ns: i64,
    /// When the inode changed (nobody can set it).
    pub ctime_ns: i64,
    /// The device it lies on; may change when a file system is mounted again.
    pub device: u64,
    /// Its inode; some network file systems make it up anew.
    pub inode: u64,
    /// When the inode was made; 0 where the file system does not tell.
    pub born_ns: i64,
}

impl FileStat {
    fn from_metadata(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        Self {
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
            born_ns: metadata
                .created()
                .map_or(0, lookalike_chassis::clock::to_nanos),
        }
    }

    /// Whether nothing happened to the file since. The device is not asked (a new mount changes
    /// it), nor the inode where the file system tells no birth (such file systems make inodes up).
    pub fn is_unchanged_since(&self, before: &Self) -> bool {
        self.size == before.size
            && self.mtime_ns == before.mtime_ns
            && self.ctime_ns == before.ctime_ns
            && (self.inode == before.inode || self.born_ns == 0)
            && self.born_ns == before.born_ns
    }

    /// Whether a file that was written just now may have been written twice with the same facts:
    /// FAT and its like keep times in whole seconds, or two of them.
    pub fn may_hide_change(&self, now_ns: i64) -> bool {
        const SECOND: i64 = 1_000_000_000;
        self.mtime_ns % SECOND == 0
            && self.ctime_ns % SECOND == 0
            && now_ns.abs_diff(self.mtime_ns) <= 3 * SECOND.unsigned_abs()
    }

    /// Whether these were learnt from a row of the index, which keeps size and mtime only, and
    /// that to the millisecond.
    pub fn is_from_index(&self) -> bool {
        self.inode == 0 && self.device == 0
    }

    /// Whether a file may be the one that second-hand facts tell of.
    pub fn matches_index_stat(&self, second_hand: &Self) -> bool {
        self.size == second_hand.size
            && self.mtime_ns / 1_000_000 == second_hand.mtime_ns / 1_000_000
    }

    /// Whether this is the same inode as `before`, wherever it lies now and whatever is in it.
    /// An inode is used again after its file is gone: its birth tells that apart, and where that
    /// is not told, size and mtime must not have changed (a rename keeps both).
    pub fn is_same_inode(&self, before: &Self) -> bool {
        self.device == before.device
            && self.inode == before.inode
            && self.born_ns == before.born_ns
            && (self.born_ns != 0 || (self.size == before.size && self.mtime_ns == before.mtime_ns))
    }
}

/// What tells one folder from another, wherever it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderIdentity {
    /// The device it lies on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When the inode was made (inodes are used again); 0 where that is not known.
    pub born_ns: i64,
}

impl FolderIdentity {
    /// Of the folder at `file_path`; `None` where there is none.
    pub fn from_path(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
        let facts = FileStat::from_metadata(&metadata);
        Some(Self {
            device: facts.device,
            inode: facts.inode,
            born_ns: facts.born_ns,
        })
    }

    /// Whether both are the same folder.
    pub fn is_same_folder(&self, other: &Self) -> bool {
        self.device == other.device
            && self.inode == other.inode
            && (self.born_ns == other.born_ns || self.born_ns == 0 || other.born_ns == 0)
    }
}

/// What lies at `file_path`; `None` where nothing does.
///
/// # Errors
/// When the system can't tell (which is not the same as "nothing").
pub fn stat_path(path: &Path) -> io::Result<Option<FileKind>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(kind_from_metadata(&metadata))),
        Err(e) if is_not_found(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a directory entry's metadata says.
pub fn kind_from_metadata(metadata: &Metadata) -> FileKind {
    let facts = FileStat::from_metadata(metadata);
    if metadata.is_file() {
        FileKind::File(facts)
    } else if metadata.is_dir() {
        FileKind::Folder
    } else {
        FileKind::Other {
            is_symlink: metadata.is_symlink(),
            stat: facts,
        }
    }
}

/// Whether an error says that nothing lies there (a part of the path may be a file, too).
pub fn is_not_found(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_hide_what_was_written_just_now() {
        const NOW: i64 = 1_700_000_001_500_000_000;
        let facts = |mtime_ns, ctime_ns| FileStat {
            size: 1,
            mtime_ns,
            ctime_ns,
            device: 1,
            inode: 1,
            born_ns: 0,
        };
        let whole = NOW - 1_500_000_000;
        assert!(facts(whole, whole).may_hide_change(NOW));
        assert!(
            !facts(whole, whole + 1).may_hide_change(NOW),
            "a finer clock"
        );
        assert!(!facts(NOW, NOW).may_hide_change(NOW));
        assert!(!facts(whole, whole).may_hide_change(NOW + 60_000_000_000));
    }
}
