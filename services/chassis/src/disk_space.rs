//! The free space of the file system that contains a path.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What a file system can still store for this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Files that can still be created. `None` if the file system has no fixed number of them.
    pub free_files: Option<u64>,
    pub is_read_only: bool,
}

/// Reads the free space of the file system that contains `path`, which must exist.
///
/// # Errors
/// When `statvfs` fails, for example because nothing exists at the path.
pub fn read_disk_space(path: &Path) -> io::Result<DiskSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and the struct is the size that the call fills.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every bit pattern is a valid `statvfs`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast, reason = "not on every system")]
    let (block, free, total) = (
        stat.f_frsize as u64,
        stat.f_bavail as u64,
        stat.f_blocks as u64,
    );
    #[allow(clippy::unnecessary_cast, reason = "not on every system")]
    let (files, free_files) = (stat.f_files as u64, stat.f_favail as u64);
    Ok(DiskSpace {
        free_bytes: free.saturating_mul(block),
        total_bytes: total.saturating_mul(block),
        free_files: (files > 0).then_some(free_files),
        is_read_only: stat.f_flag & libc::ST_RDONLY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let space = read_disk_space(dir.path()).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
        assert!(!space.is_read_only);
        let missing = read_disk_space(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
