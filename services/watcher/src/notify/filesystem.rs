//! File systems that report changes only in part: changes by another machine or by a host come
//! without an event. Their folders are watched all the same, and polled.

use std::io;
use std::path::Path;

/// Magic numbers (`statfs`) of file systems that others may change without a report, and names.
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

/// File systems whose driver may give a file another inode number after a mount, or after it dropped
/// the file from its cache: they store no numbers of their own.
const INODE_INVENTING_FILESYSTEMS: &[u32] = &[
    0x2011_BAB0, // exFAT
    0x4D44,      // FAT
    0x6573_5546, // FUSE
    0x0102_1997, // 9p
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x786F_4256, // vboxsf
    0xBACB_ACBC, // vmhgfs
    0x7C7C_6673, // prl_fs
];

/// Returns the name of the file system at `path` if it may change without a report.
///
/// # Errors
/// When `statfs` fails.
pub fn unreported_filesystem(path: &Path) -> io::Result<Option<&'static str>> {
    Ok(filesystem_magic(path)?.and_then(filesystem_name))
}

/// Whether files at `path` may get other inode numbers.
///
/// # Errors
/// When `statfs` fails.
pub fn invents_inodes(path: &Path) -> io::Result<bool> {
    let magic = filesystem_magic(path)?;
    Ok(magic.is_some_and(|magic| INODE_INVENTING_FILESYSTEMS.contains(&magic)))
}

#[cfg(target_os = "linux")]
fn filesystem_magic(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and the struct is the size that the call fills.
    let result = unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every bit pattern is a valid `statfs`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    // 32 bits are enough. Where the field is wider, the sign may have been extended.
    Ok(Some(stat.f_type as u32))
}

/// Other systems do not distinguish file systems.
#[cfg(not(target_os = "linux"))]
fn filesystem_magic(_path: &Path) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Returns the id of the mount that contains `path`, which no other mount ever has. `None` if the
/// system does not report it (Linux before 6.8) or nothing exists there.
#[cfg(target_os = "linux")]
pub fn mount_id(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_MNT_ID_UNIQUE;
    // SAFETY: the path ends with a zero byte, and the struct is the size that the call fills.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, mask, stat.as_mut_ptr()) };
    // SAFETY: every bit pattern is a valid `statx`, and it was zeroed.
    let stat = unsafe { stat.assume_init() };
    (result == 0 && stat.stx_mask & mask != 0).then_some(stat.stx_mnt_id)
}

/// Other systems have no unique mount ids.
#[cfg(not(target_os = "linux"))]
pub fn mount_id(_path: &Path) -> Option<u64> {
    None
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn filesystem_name(magic: u32) -> Option<&'static str> {
    UNREPORTED_FILESYSTEMS
        .iter()
        .find(|(number, _)| *number == magic)
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
        assert!(!invents_inodes(Path::new("/proc")).unwrap());
        assert!(invents_inodes(Path::new("/no such folder")).is_err());
        let [root, again, other] = ["/", "/..", "/proc"].map(|path| mount_id(Path::new(path)));
        assert_eq!(root, again);
        assert!(root.is_none() || root != other);
        assert_eq!(mount_id(Path::new("/no such folder")), None);
    }
}
