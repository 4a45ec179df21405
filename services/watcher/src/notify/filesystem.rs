//! File systems whose changes the system reports only in part: what another machine or a host
//! changes in them comes with no event. They are watched all the same, and compared often.

use std::io;
use std::path::Path;

/// What `statfs` says of file systems that others may change unseen, and their names for people.
const UNREPORTED_FILESYSTEMS: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x794C_7630, "overlay"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786F_4256, "vboxsf"),
    (0x2003_0528, "OrangeFS"),
    (0x1983_0326, "BeeGFS"),
    (0xAAD7_AAEA, "PanFS"),
    (0x564C, "NCP"),
    (0xBACB_ACBC, "vmhgfs"),
    (0x7C7C_6673, "prl_fs"),
];

/// The name of the file system at `file_path` if changes in it may come without an event.
///
/// # Errors
/// When the system can't tell.
#[cfg(target_os = "linux")]
pub fn unreported_filesystem(path: &Path) -> io::Result<Option<&'static str>> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and the struct is the size that the call fills.
    let answer = unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every bit pattern is a valid `statfs`, and the call has filled it.
    let found = unsafe { found.assume_init() };
    // 32 bits say it; where the field is wider, its sign may have been spread.
    Ok(filesystem_name(found.f_type as u32))
}

/// Elsewhere nothing is known of it.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn unseen(_path: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// Which mount `file_path` lies on, by a number that no other mount ever has; `None` where the system
/// does not tell (Linux before 6.8), or nothing is there.
#[cfg(target_os = "linux")]
pub fn mount_id(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let wanted = libc::STATX_MNT_ID_UNIQUE;
    // SAFETY: the path ends with a zero byte, and the struct is the size that the call fills.
    let answer =
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, wanted, found.as_mut_ptr()) };
    // SAFETY: every bit pattern is a valid `statx`, and it was zeroed.
    let found = unsafe { found.assume_init() };
    (answer == 0 && found.stx_mask & wanted != 0).then_some(found.stx_mnt_id)
}

/// Elsewhere nothing is known of it.
#[cfg(not(target_os = "linux"))]
pub fn mount(_path: &Path) -> Option<u64> {
    None
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn filesystem_name(magic: u32) -> Option<&'static str> {
    let mut known = UNREPORTED_FILESYSTEMS.iter();
    known
        .find(|(unseen, _)| *unseen == magic)
        .map(|(_, name)| *name)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_their_numbers() {
        assert_eq!(filesystem_name(0x6969), Some("NFS"));
        assert_eq!(filesystem_name(0xFF53_4D42), Some("CIFS"));
        assert_eq!(filesystem_name(0x6573_5546), Some("FUSE"));
        assert_eq!(filesystem_name(0x794C_7630), Some("overlay"));
        for local in [
            libc::EXT4_SUPER_MAGIC,
            libc::TMPFS_MAGIC,
            libc::XFS_SUPER_MAGIC,
        ] {
            assert_eq!(filesystem_name(local as u32), None);
        }
        for (index, (magic, _)) in UNREPORTED_FILESYSTEMS.iter().enumerate() {
            assert!(
                UNREPORTED_FILESYSTEMS[..index]
                    .iter()
                    .all(|(other, _)| other != magic)
            );
        }
    }

    #[test]
    fn the_system_is_asked() {
        assert_eq!(unreported_filesystem(Path::new("/proc")).unwrap(), None);
        assert!(unreported_filesystem(Path::new("/no such folder")).is_err());
        let [root, again, other] = ["/", "/..", "/proc"].map(|path| mount_id(Path::new(path)));
        assert_eq!(root, again);
        assert!(root.is_none() || root != other);
        assert_eq!(mount_id(Path::new("/no such folder")), None);
    }
}
