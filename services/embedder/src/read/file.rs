//! The disk decides: reading a file only if it is what the event tells, and asking again before
//! anything is written or removed.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lookalike_proto::{ContentHash, FileEvent};

/// A file that could not be read as the event tells.
#[derive(Debug)]
pub enum FileMismatch {
    /// Something else lies there by now: the watcher has to look again.
    Superseded(String),
    /// It lies there and can't be read.
    Unreadable(String),
    /// The folder itself is away, or the machine is short of something: to be tried again later.
    Unavailable(String),
}

/// A file's bytes and their hash.
pub struct HashedFile {
    /// All of them.
    pub bytes: Vec<u8>,
    /// BLAKE3.
    pub hash: ContentHash,
}

/// How much is read between two signs of life: what a slow mount brings within a moment.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads the file of a PUT once, if it is (before and after) what the event tells. Calls `on_progress`
/// whenever something came from the disk.
///
/// # Errors
/// What is there instead.
pub fn read_verified(
    root: &Path,
    event: &FileEvent,
    on_progress: impl Fn(),
) -> Result<HashedFile, FileMismatch> {
    verify_unchanged(root, event)?;
    on_progress();
    let path = event.path.join_to(root);
    let mut file = File::open(&path).map_err(|e| classify_error(root, &e))?;
    on_progress();
    let expected = usize::try_from(event.size)
        .map_err(|_| FileMismatch::Unreadable("it does not fit into memory".into()))?;
    let mut bytes = Vec::with_capacity(expected);
    // One byte more than expected, to notice a file that grew.
    let mut left = event.size.saturating_add(1);
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES);
        let mut part = io::Read::by_ref(&mut file).take(chunk);
        let came = part
            .read_to_end(&mut bytes)
            .map_err(|e| classify_error(root, &e))?;
        on_progress();
        if (came as u64) < chunk {
            break;
        }
        left -= chunk;
    }
    let after = file.metadata().map_err(|e| classify_error(root, &e))?;
    compare_metadata(&after, event)?;
    if bytes.len() != expected {
        return Err(FileMismatch::Superseded(
            "its length changed while it was read".into(),
        ));
    }
    let hash = ContentHash::hash_content(&bytes);
    Ok(HashedFile { bytes, hash })
}

/// Whether the file of a PUT still is what the event tells.
///
/// # Errors
/// What is there instead.
pub fn verify_unchanged(root: &Path, event: &FileEvent) -> Result<(), FileMismatch> {
    let path = event.path.join_to(root);
    let metadata = std::fs::symlink_metadata(path).map_err(|e| classify_error(root, &e))?;
    compare_metadata(&metadata, event)
}

/// Whether a REMOVE may go on: the path is gone, or holds something else than was last seen.
///
/// # Errors
/// When the very file is there, or when it can't be seen now: what nobody may look at may be there
/// as well, and is no reason to remove a row.
pub fn verify_gone(root: &Path, event: &FileEvent) -> Result<(), FileMismatch> {
    match verify_unchanged(root, event) {
        Ok(()) => Err(FileMismatch::Superseded("the file is there".into())),
        Err(FileMismatch::Superseded(_)) => Ok(()),
        Err(FileMismatch::Unreadable(reason) | FileMismatch::Unavailable(reason)) => {
            Err(FileMismatch::Unavailable(reason))
        }
    }
}

fn compare_metadata(metadata: &Metadata, event: &FileEvent) -> Result<(), FileMismatch> {
    let mtime_ns = metadata
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(metadata.mtime_nsec());
    if !metadata.is_file() {
        Err(FileMismatch::Superseded(
            "no regular file lies there".into(),
        ))
    } else if metadata.size() != event.size || mtime_ns != event.mtime_ns {
        Err(FileMismatch::Superseded(
            "its size or time is another one by now".into(),
        ))
    } else {
        Ok(())
    }
}

/// Errors without a kind that tell of the device, the network or the machine and not of a file:
/// too many open files, here or in the whole system; a device or a host that is gone.
const TRANSIENT_ERRORS: &[i32] = &[
    libc::ENFILE,
    libc::EMFILE,
    libc::ENODEV,
    libc::ENXIO,
    libc::ESHUTDOWN,
    libc::EHOSTDOWN,
    #[cfg(target_os = "linux")]
    libc::ECOMM,
    #[cfg(target_os = "linux")]
    libc::EREMOTEIO,
];

fn classify_error(root: &Path, error: &io::Error) -> FileMismatch {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if root.is_dir() => {
            FileMismatch::Superseded("nothing lies there".into())
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            FileMismatch::Unavailable("the library's folder is away".into())
        }
        // A mount that is dying says many things, of its files and of itself.
        io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::TimedOut
        | io::ErrorKind::Interrupted
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::NotConnected
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable => FileMismatch::Unavailable(error.to_string()),
        _ if error
            .raw_os_error()
            .is_some_and(|code| TRANSIENT_ERRORS.contains(&code)) =>
        {
            FileMismatch::Unavailable(error.to_string())
        }
        _ if std::fs::metadata(root).is_err() => {
            FileMismatch::Unavailable(format!("the library's folder is away: {error}"))
        }
        _ => FileMismatch::Unreadable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_proto::{FileEventKind, Generation, ImageId, LibraryName, RelativePath};

    fn test_event(root: &Path, name: &str) -> FileEvent {
        let metadata = std::fs::metadata(root.join(name)).unwrap();
        FileEvent {
            image_id: ImageId::from_bytes([1; 16]),
            library: LibraryName::new("x").unwrap(),
            path: RelativePath::new(name).unwrap(),
            kind: FileEventKind::Put,
            generation: Generation::from_u64(1),
            attempt: 1,
            size: metadata.len(),
            mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            observed_at_ns: 0,
        }
    }

    #[test]
    fn a_long_file_is_read_whole_with_signs_of_life() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 17] {
            let content: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            std::fs::write(dir.path().join("a"), &content).unwrap();
            let signs = std::cell::Cell::new(0);
            let told = test_event(dir.path(), "a");
            let read_now = read_verified(dir.path(), &told, || signs.set(signs.get() + 1)).unwrap();
            assert!(read_now.bytes == content, "{length}");
            assert!(signs.get() >= 3 + length / (1 << 20), "{length}");
        }
    }

    #[test]
    fn reads_only_what_the_event_tells() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), b"bytes").unwrap();
        let told = test_event(dir.path(), "a.jpg");
        let read_now = read_verified(dir.path(), &told, || ()).unwrap();
        assert_eq!(read_now.bytes, b"bytes");
        assert_eq!(read_now.hash, ContentHash::hash_content(b"bytes"));
        assert!(matches!(
            verify_gone(dir.path(), &told),
            Err(FileMismatch::Superseded(_))
        ));

        std::fs::write(dir.path().join("a.jpg"), b"other bytes").unwrap();
        assert!(matches!(
            read_verified(dir.path(), &told, || ()),
            Err(FileMismatch::Superseded(_))
        ));
        assert!(
            verify_gone(dir.path(), &told).is_ok(),
            "another file lies there"
        );

        std::fs::remove_file(dir.path().join("a.jpg")).unwrap();
        assert!(matches!(
            read_verified(dir.path(), &told, || ()),
            Err(FileMismatch::Superseded(_))
        ));
        assert!(verify_gone(dir.path(), &told).is_ok());

        let away = dir.path().join("unmounted");
        assert!(matches!(
            read_verified(&away, &told, || ()),
            Err(FileMismatch::Unavailable(_))
        ));
        assert!(matches!(
            verify_gone(&away, &told),
            Err(FileMismatch::Unavailable(_))
        ));
    }

    #[test]
    fn a_mount_that_is_dying_is_no_fault_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let away = dir.path().join("away");
        let sorted = |root: &Path, code| classify_error(root, &io::Error::from_raw_os_error(code));
        for code in [
            libc::ENOTCONN,
            libc::EHOSTDOWN,
            libc::EHOSTUNREACH,
            libc::ENODEV,
            libc::ECONNRESET,
            libc::ESTALE,
            libc::EMFILE,
        ] {
            assert!(
                matches!(sorted(dir.path(), code), FileMismatch::Unavailable(_)),
                "{code}"
            );
        }
        // A bad sector, or rights; but not where nothing at all can be looked at.
        for code in [libc::EIO, libc::EACCES] {
            assert!(
                matches!(sorted(dir.path(), code), FileMismatch::Unreadable(_)),
                "{code}"
            );
            assert!(
                matches!(sorted(&away, code), FileMismatch::Unavailable(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn nothing_is_removed_that_can_not_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("b"), b"bytes").unwrap();
        let told = test_event(dir.path(), "a/b");
        std::fs::rename(&folder, dir.path().join("c")).unwrap();
        // A link to itself can't be looked through, by a superuser neither.
        std::os::unix::fs::symlink("a", &folder).unwrap();
        assert!(matches!(
            verify_unchanged(dir.path(), &told),
            Err(FileMismatch::Unreadable(_))
        ));
        assert!(matches!(
            verify_gone(dir.path(), &told),
            Err(FileMismatch::Unavailable(_))
        ));
    }
}
