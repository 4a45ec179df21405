//! Priorities of threads. A thread never gets back a higher priority, so give each priority threads of
//! its own.

/// The nice value of work on images to index. Next to a thread of the usual priority it gets a
/// quarter of the CPU time.
#[cfg(target_os = "linux")]
const LOWER_PRIORITY: libc::c_int = 5;

/// The lowest priority.
#[cfg(target_os = "linux")]
const IDLE_PRIORITY: libc::c_int = 19;

/// Lets the other threads of this machine compute first when they have something to do: for work that no
/// person waits for at a screen. The calling thread still makes progress on a busy machine. Systems
/// other than Linux ignore it.
pub fn lower_thread_priority() {
    #[cfg(target_os = "linux")]
    set_priority(LOWER_PRIORITY);
}

/// Lets every other thread of this machine compute and read from disks first. Systems other than Linux
/// ignore it.
pub fn set_idle_thread_priority() {
    #[cfg(target_os = "linux")]
    {
        set_priority(IDLE_PRIORITY);
        set_idle_disk_priority();
    }
}

/// Sets the nice value of the calling thread, unless its priority is already lower. Everybody may do
/// that, and without it everything still works, so errors are ignored.
#[cfg(target_os = "linux")]
fn set_priority(nice: libc::c_int) {
    if nice_of_this_thread() < nice {
        // SAFETY: the call takes numbers only. On Linux, 0 names the calling thread.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    }
}

#[cfg(target_os = "linux")]
fn nice_of_this_thread() -> libc::c_int {
    // SAFETY: as in `set_priority`.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(target_os = "linux")]
fn set_idle_disk_priority() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: the call takes numbers only. On Linux, 0 names the calling thread.
    unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            IOPRIO_CLASS_IDLE,
        );
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_changes() {
        let before = nice_of_this_thread();
        let change = |change: fn()| {
            let thread = std::thread::spawn(move || {
                change();
                nice_of_this_thread()
            });
            thread.join().unwrap()
        };
        assert_eq!(change(lower_thread_priority), before.max(LOWER_PRIORITY));
        assert_eq!(change(set_idle_thread_priority), IDLE_PRIORITY);
        assert_eq!(nice_of_this_thread(), before);
    }
}
