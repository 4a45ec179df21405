//! What the disk says of a path, without following links.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What kind of thing lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A regular file.
    File(Facts),
    /// A folder.
    Folder,
    /// A symbolic link, socket, pipe or device.
    Other {
        /// It is a symbolic link.
        link: bool,
        /// As of a file.
        facts: Facts,
    },
}

/// What tells one state of a file from another. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
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

impl Facts {
    fn of(metadata: &Metadata) -> Self {
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
    pub fn unchanged_since(&self, before: &Self) -> bool {
        self.size == before.size
            && self.mtime_ns == before.mtime_ns
            && self.ctime_ns == before.ctime_ns
            && (self.inode == before.inode || self.born_ns == 0)
            && self.born_ns == before.born_ns
    }

    /// Whether a file that was written just now may have been written twice with the same facts:
    /// FAT and its like keep times in whole seconds, or two of them.
    pub fn hide_a_change(&self, now_ns: i64) -> bool {
        const SECOND: i64 = 1_000_000_000;
        self.mtime_ns % SECOND == 0
            && self.ctime_ns % SECOND == 0
            && now_ns.abs_diff(self.mtime_ns) <= 3 * SECOND.unsigned_abs()
    }

    /// Whether these were learnt from a row of the index, which keeps size and mtime only, and
    /// that to the millisecond.
    pub fn are_second_hand(&self) -> bool {
        self.inode == 0 && self.device == 0
    }

    /// Whether a file may be the one that second-hand facts tell of.
    pub fn fits(&self, second_hand: &Self) -> bool {
        self.size == second_hand.size
            && self.mtime_ns / 1_000_000 == second_hand.mtime_ns / 1_000_000
    }

    /// Whether this is the same inode as `before`, wherever it lies now and whatever is in it.
    /// An inode is used again after its file is gone: its birth tells that apart, and where that
    /// is not told, size and mtime must not have changed (a rename keeps both).
    pub fn same_file(&self, before: &Self) -> bool {
        self.device == before.device
            && self.inode == before.inode
            && self.born_ns == before.born_ns
            && (self.born_ns != 0 || (self.size == before.size && self.mtime_ns == before.mtime_ns))
    }
}

/// What tells one folder from another, wherever it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The device it lies on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When the inode was made (inodes are used again); 0 where that is not known.
    pub born_ns: i64,
}

impl Identity {
    /// Of the folder at `path`; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
        let facts = Facts::of(&metadata);
        Some(Self {
            device: facts.device,
            inode: facts.inode,
            born_ns: facts.born_ns,
        })
    }

    /// Whether both are the same folder.
    pub fn is(&self, other: &Self) -> bool {
        self.device == other.device
            && self.inode == other.inode
            && (self.born_ns == other.born_ns || self.born_ns == 0 || other.born_ns == 0)
    }
}

/// What lies at `path`; `None` where nothing does.
///
/// # Errors
/// When the system can't tell (which is not the same as "nothing").
pub fn look(path: &Path) -> io::Result<Option<Thing>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(thing(&metadata))),
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a directory entry's metadata says.
pub fn thing(metadata: &Metadata) -> Thing {
    let facts = Facts::of(metadata);
    if metadata.is_file() {
        Thing::File(facts)
    } else if metadata.is_dir() {
        Thing::Folder
    } else {
        Thing::Other {
            link: metadata.is_symlink(),
            facts,
        }
    }
}

/// Whether an error says that nothing lies there (a part of the path may be a file, too).
pub fn is_gone(error: &io::Error) -> bool {
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
        let facts = |mtime_ns, ctime_ns| Facts {
            size: 1,
            mtime_ns,
            ctime_ns,
            device: 1,
            inode: 1,
            born_ns: 0,
        };
        let whole = NOW - 1_500_000_000;
        assert!(facts(whole, whole).hide_a_change(NOW));
        assert!(!facts(whole, whole + 1).hide_a_change(NOW), "a finer clock");
        assert!(!facts(NOW, NOW).hide_a_change(NOW));
        assert!(!facts(whole, whole).hide_a_change(NOW + 60_000_000_000));
    }
}
