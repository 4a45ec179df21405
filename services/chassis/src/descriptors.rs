//! The limit on open file descriptors: files, connections and inotify instances of this process.

use std::io;

/// A higher limit has no use, and slows down child processes that close every descriptor that they
/// may have inherited.
const MAX_DESCRIPTORS: libc::rlim_t = 1 << 20;

/// Raises the soft limit of this process, and of the processes that it starts, to the hard limit.
/// Many systems start programs with a soft limit of 1,024, because of programs that use `select`.
/// If the system refuses, the limit stays as it is.
pub fn raise_limit() {
    let Ok(limit) = read_limit() else { return };
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max.min(MAX_DESCRIPTORS),
        rlim_max: limit.rlim_max,
    };
    if raised.rlim_cur > limit.rlim_cur {
        // SAFETY: the call only reads the struct.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    }
}

/// Returns the hard limit, up to which this process may raise its own limit, or `None` if the system
/// does not report it.
pub fn hard_descriptor_limit() -> Option<u64> {
    read_limit().ok().map(|limit| limit.rlim_max)
}

/// Returns how many descriptors this process may have, or `None` if the system does not tell.
pub fn descriptor_limit() -> Option<u64> {
    read_limit().ok().map(|limit| limit.rlim_cur)
}

fn read_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call only fills the struct.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether an operation failed because this process, or the whole system, has no descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = read_limit().unwrap();
        raise_limit();
        let after = read_limit().unwrap();
        assert_eq!(after.rlim_max, before.rlim_max);
        let expected = before.rlim_max.min(MAX_DESCRIPTORS).max(before.rlim_cur);
        assert_eq!(after.rlim_cur, expected);
        assert_eq!(descriptor_limit(), Some(expected));
    }

    #[test]
    fn only_missing_descriptors_count_as_such() {
        let is_out = |code| is_out_of_descriptors(&io::Error::from_raw_os_error(code));
        assert!(is_out(libc::EMFILE) && is_out(libc::ENFILE));
        assert!(!is_out(libc::ECONNABORTED) && !is_out(libc::ENOENT));
    }
}
