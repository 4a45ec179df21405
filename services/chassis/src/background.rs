//! Work that no request waits for: it may use all cores, but not delay requests.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The niceness of background threads. On a busy core, a thread of normal priority gets nine times as
/// much time.
#[cfg(target_os = "linux")]
const BACKGROUND_NICENESS: libc::c_long = 10;

/// Gives the calling thread, and threads that it starts from now on, a low priority. A process cannot
/// raise it again without special rights, so threads that also do other work must not call this.
///
/// Elsewhere than on Linux, this does nothing.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: the calls take numbers only. On Linux, 0 names the calling thread. A lower priority is always permitted.
    unsafe {
        // The system call returns 20 − niceness, which is never negative.
        let niceness = 20 - libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0);
        if niceness < BACKGROUND_NICENESS {
            libc::syscall(
                libc::SYS_setpriority,
                libc::PRIO_PROCESS,
                0,
                BACKGROUND_NICENESS,
            );
        }
    }
}

/// Runs a closure on a thread of low priority, as [`tokio::task::spawn_blocking`] does on one of normal
/// priority.
///
/// # Panics
/// Panics if the system cannot make the first of these threads.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // Its threads are never joined, as an abandoned one must not delay the end of the process.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let builder = &mut Builder::new_current_thread();
        let builder = builder.thread_name("background");
        builder
            .on_thread_start(lower_priority)
            .build()
            .expect("a runtime without drivers needs only memory")
    });
    runtime.spawn_blocking(work)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn niceness() -> libc::c_long {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The name of the thread, which may contain spaces, is in parentheses.
        let fields = stat.rsplit_once(')').unwrap().1;
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_reported_and_the_next_closure_runs() {
        let panicked = spawn_blocking(|| panic!("as expected")).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn background_threads_have_a_low_priority_and_others_do_not() {
        let before = niceness();
        let background = spawn_blocking(niceness).await.unwrap();
        assert_eq!(background, before.max(BACKGROUND_NICENESS));
        assert_eq!(niceness(), before);
        let other = tokio::task::spawn_blocking(niceness).await.unwrap();
        assert_eq!(other, before);
    }
}
