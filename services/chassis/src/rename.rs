//! Renames a file without replacing another one.

use std::io;
use std::path::Path;

/// Renames `from` to `to`, unless something exists at `to`.
///
/// Where the file system lacks such a rename, the file gets its new name by a hard link. Between the
/// two steps, it has both names.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something exists at `to`, and
/// [`io::ErrorKind::CrossesDevices`] if both paths are on different file systems. Nothing is changed
/// then.
pub fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match rename_exclusively(from, to) {
        Err(error) if is_not_supported(&error) => match link_and_unlink(from, to) {
            // File systems without hard links have also refused the rename, with the better reason.
            Err(linking) if linking.kind() == io::ErrorKind::PermissionDenied => Err(error),
            linked => linked,
        },
        renamed => renamed,
    }
}

#[cfg(target_os = "linux")]
fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt as _;

    let from = CString::new(from.as_os_str().as_bytes())?;
    let to = CString::new(to.as_os_str().as_bytes())?;
    // SAFETY: both paths end with a zero byte, and the call keeps neither.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_exclusively(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Old kernels lack the call, and some file systems (NFS, several in user space) its flag.
fn is_not_supported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || matches!(
            error.raw_os_error(),
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)
        )
}

fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rename = fn(&Path, &Path) -> io::Result<()>;

    #[test]
    fn nothing_is_replaced() {
        for rename in [rename_without_replacing as Rename, link_and_unlink] {
            let dir = tempfile::tempdir().unwrap();
            let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
            std::fs::write(&a, "a").unwrap();
            std::fs::write(&b, "b").unwrap();
            let refused = rename(&a, &b).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&a).unwrap(), b"a");
            assert_eq!(std::fs::read(&b).unwrap(), b"b");
            rename(&a, &c).unwrap();
            assert!(!a.exists());
            assert_eq!(std::fs::read(&c).unwrap(), b"a");
            let missing = rename(&a, &dir.path().join("d")).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        }
    }
}
