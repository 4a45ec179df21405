//! Reads and verifies files. The disk decides: a file is read only if it still matches its event,
//! and verified again before a row is written or removed.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lookalike_proto::{ContentHash, FileEvent};

/// Why a file does not match its event, or cannot be read.
#[derive(Debug)]
pub enum FileMismatch {
    /// The path now contains something else; the watcher must observe it again.
    Superseded(String),
    /// The file exists and cannot be read.
    Unreadable(String),
    /// The library's folder is unavailable, or the machine lacks a resource; retry later.
    Unavailable(String),
}

pub struct HashedFile {
    pub bytes: Vec<u8>,
    /// BLAKE3 of `bytes`.
    pub hash: ContentHash,
}

/// Bytes read between two heartbeats. A slow mount delivers them well within the stall timeout.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads the file of a PUT once, if it matches the event before and after. Calls `on_progress`
/// whenever the disk has answered.
///
/// # Errors
/// How the disk differs from the event.
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
    // One byte more than expected, to detect a file that grew.
    let mut remaining = event.size.saturating_add(1);
    while remaining > 0 {
        let chunk = remaining.min(CHUNK_BYTES);
        let mut part = io::Read::by_ref(&mut file).take(chunk);
        let read_bytes = part
            .read_to_end(&mut bytes)
            .map_err(|e| classify_error(root, &e))?;
        on_progress();
        if (read_bytes as u64) < chunk {
            break;
        }
        remaining -= chunk;
    }
    let metadata = file.metadata().map_err(|e| classify_error(root, &e))?;
    compare_metadata(&metadata, event)?;
    if bytes.len() != expected {
        return Err(FileMismatch::Superseded(
            "its length changed while it was read".into(),
        ));
    }
    let hash = ContentHash::hash_content(&bytes);
    Ok(HashedFile { bytes, hash })
}

/// Verifies that the file of a PUT still matches the event.
///
/// # Errors
/// How the disk differs from the event.
pub fn verify_unchanged(root: &Path, event: &FileEvent) -> Result<(), FileMismatch> {
    let path = event.path.join_to(root);
    let metadata = std::fs::symlink_metadata(path).map_err(|e| classify_error(root, &e))?;
    compare_metadata(&metadata, event)
}

/// Verifies that the file of a REMOVE is gone, or that its path now contains something else.
///
/// # Errors
/// The same file is still there, or the path cannot be examined now. A path that cannot be examined
/// may still contain the file, so its row must stay.
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
            "there is no regular file at its path".into(),
        ))
    } else if metadata.size() != event.size || mtime_ns != event.mtime_ns {
        Err(FileMismatch::Superseded(
            "its size or modification time has changed".into(),
        ))
    } else {
        Ok(())
    }
}

/// Errors without a kind of their own that concern the device, the network or the machine, not the
/// file: too many open files in the process or the system; a device or a host that is gone.
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

pub(super) fn classify_error(root: &Path, error: &io::Error) -> FileMismatch {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if root.is_dir() => {
            FileMismatch::Superseded("there is nothing at its path".into())
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            FileMismatch::Unavailable("the library's folder is unavailable".into())
        }
        // A failing mount reports many kinds of errors, for its files and for itself.
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
            FileMismatch::Unavailable(format!("the library's folder is unavailable: {error}"))
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
    fn a_long_file_is_read_whole_with_heartbeats() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 17] {
            let content: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            std::fs::write(dir.path().join("a"), &content).unwrap();
            let heartbeats = std::cell::Cell::new(0);
            let event = test_event(dir.path(), "a");
            let read_now =
                read_verified(dir.path(), &event, || heartbeats.set(heartbeats.get() + 1)).unwrap();
            assert!(read_now.bytes == content, "{length}");
            assert!(heartbeats.get() >= 3 + length / (1 << 20), "{length}");
        }
    }

    #[test]
    fn reads_only_a_file_that_matches_its_event() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), b"bytes").unwrap();
        let event = test_event(dir.path(), "a.jpg");
        let read_now = read_verified(dir.path(), &event, || ()).unwrap();
        assert_eq!(read_now.bytes, b"bytes");
        assert_eq!(read_now.hash, ContentHash::hash_content(b"bytes"));
        assert!(matches!(
            verify_gone(dir.path(), &event),
            Err(FileMismatch::Superseded(_))
        ));

        std::fs::write(dir.path().join("a.jpg"), b"other bytes").unwrap();
        assert!(matches!(
            read_verified(dir.path(), &event, || ()),
            Err(FileMismatch::Superseded(_))
        ));
        assert!(
            verify_gone(dir.path(), &event).is_ok(),
            "another file is there"
        );

        std::fs::remove_file(dir.path().join("a.jpg")).unwrap();
        assert!(matches!(
            read_verified(dir.path(), &event, || ()),
            Err(FileMismatch::Superseded(_))
        ));
        assert!(verify_gone(dir.path(), &event).is_ok());

        let unavailable = dir.path().join("unmounted");
        assert!(matches!(
            read_verified(&unavailable, &event, || ()),
            Err(FileMismatch::Unavailable(_))
        ));
        assert!(matches!(
            verify_gone(&unavailable, &event),
            Err(FileMismatch::Unavailable(_))
        ));
    }

    #[test]
    fn a_failing_mount_is_no_fault_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let unavailable = dir.path().join("away");
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
        // A bad sector or missing permissions, unless the whole folder is unavailable.
        for code in [libc::EIO, libc::EACCES] {
            assert!(
                matches!(sorted(dir.path(), code), FileMismatch::Unreadable(_)),
                "{code}"
            );
            assert!(
                matches!(sorted(&unavailable, code), FileMismatch::Unavailable(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn a_file_that_can_not_be_examined_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("b"), b"bytes").unwrap();
        let event = test_event(dir.path(), "a/b");
        std::fs::rename(&folder, dir.path().join("c")).unwrap();
        // Not even a superuser can follow a link to itself.
        std::os::unix::fs::symlink("a", &folder).unwrap();
        assert!(matches!(
            verify_unchanged(dir.path(), &event),
            Err(FileMismatch::Unreadable(_))
        ));
        assert!(matches!(
            verify_gone(dir.path(), &event),
            Err(FileMismatch::Unavailable(_))
        ));
    }
}
