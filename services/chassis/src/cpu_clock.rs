//! The CPU time of one thread.

use std::mem::MaybeUninit;
use std::time::Duration;

/// The CPU clock of a thread, readable from other threads while that thread exists.
#[derive(Debug, Clone, Copy)]
pub struct ThreadCpuClock(libc::clockid_t);

impl ThreadCpuClock {
    /// Returns the clock of the calling thread, if the system has one.
    pub fn of_this_thread() -> Option<Self> {
        let mut clock = MaybeUninit::uninit();
        // SAFETY: the thread is the calling one, and the pointer refers to space for a clock id.
        let status =
            unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) };
        // SAFETY: a successful call has written the id.
        (status == 0).then(|| Self(unsafe { clock.assume_init() }))
    }

    /// Returns the CPU time that the thread has used. The thread must still exist.
    pub fn cpu_time(self) -> Duration {
        read_clock(self.0)
    }
}

/// Returns the CPU time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer refers to a whole `timespec` that outlives the call.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(status, 0, "every existing thread has this clock");
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_reads_the_time_that_a_thread_computes() {
        let clock = ThreadCpuClock::of_this_thread().unwrap();
        let before = clock.cpu_time();
        while thread_cpu_time() < before + Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        let read = std::thread::spawn(move || clock.cpu_time()).join().unwrap();
        assert!(read >= before + Duration::from_millis(2), "{read:?}");
    }
}
