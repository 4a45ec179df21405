//! The queue of contents to compare, and the thread of low priority that reads them: no new picture
//! waits for them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_proto::ImageId;

use crate::content_check::ContentCheck;
use crate::inbox::{Inbox, KeeperRequest};

/// The thread reads at most so many bytes per second on average.
const MAX_BYTES_PER_SECOND: u64 = 32 << 20;

/// While events wait or are in flight, one file is compared in each such interval.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// Results that may wait for the keeper.
const MAX_UNRECORDED: usize = 64;

/// The queue between the keeper and the thread that reads.
pub struct ContentChecks {
    state: Mutex<CheckState>,
    changed: Condvar,
    max_checks: usize,
}

#[derive(Default)]
struct CheckState {
    queue: VecDeque<ContentCheck>,
    /// The images of the queue, and of checks whose result is not recorded yet.
    images: HashSet<ImageId>,
    /// Checks were dropped, so that a scan must find their files again.
    has_overflowed: bool,
    /// Events wait or are in flight.
    is_busy: bool,
    is_stopped: bool,
}

impl ContentChecks {
    pub fn new(max_checks: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_checks,
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, CheckState> {
        self.state.lock().expect("no holder panics")
    }

    /// Queues a check, unless one of this image waits already. When too many wait, drops it.
    pub fn queue_check(&self, check: ContentCheck) {
        let mut state = self.lock_state();
        if state.images.contains(&check.image_id) {
            return;
        }
        if state.images.len() >= self.max_checks {
            state.has_overflowed = true;
            return;
        }
        state.images.insert(check.image_id);
        state.queue.push_back(check);
        self.changed.notify_one();
    }

    /// Records that the keeper has the result of a check.
    pub fn finish_check(&self, image_id: &ImageId) {
        self.lock_state().images.remove(image_id);
        self.changed.notify_one();
    }

    pub fn contains_image(&self, image_id: &ImageId) -> bool {
        self.lock_state().images.contains(image_id)
    }

    /// Drops every check. A scan finds their files again.
    pub fn clear_checks(&self) {
        let mut state = self.lock_state();
        state.queue.clear();
        state.images.clear();
        state.has_overflowed = false;
    }

    /// Whether every check that fitted into the queue is done, although others were dropped since
    /// the last call.
    pub fn take_overflow(&self) -> bool {
        let mut state = self.lock_state();
        state.images.is_empty() && std::mem::take(&mut state.has_overflowed)
    }

    /// Sets whether events wait or are in flight, which go first.
    pub fn set_busy(&self, is_busy: bool) {
        let mut state = self.lock_state();
        if state.is_busy && !is_busy {
            self.changed.notify_one();
        }
        state.is_busy = is_busy;
    }

    /// Ends the thread that reads.
    pub fn stop(&self) {
        self.lock_state().is_stopped = true;
        self.changed.notify_all();
    }

    /// Returns the next check without waiting for quiet times.
    #[cfg(test)]
    pub fn pop_check(&self) -> Option<ContentCheck> {
        self.lock_state().queue.pop_front()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lock_state().images.is_empty()
    }

    /// Waits for the next check, and for a time without events; `None`: the watcher stops.
    fn wait_for_check(&self) -> Option<ContentCheck> {
        let mut busy_since = None;
        let mut state = self.lock_state();
        loop {
            if state.is_stopped {
                return None;
            }
            let unrecorded = state.images.len().saturating_sub(state.queue.len());
            let is_ready = !state.queue.is_empty() && unrecorded < MAX_UNRECORDED;
            let now = Instant::now();
            let may_begin = !state.is_busy
                || now.duration_since(*busy_since.get_or_insert(now)) >= BUSY_INTERVAL;
            if is_ready && may_begin {
                return state.queue.pop_front();
            }
            if is_ready {
                let waited = self.changed.wait_timeout(state, BUSY_INTERVAL / 4);
                state = waited.expect("no holder panics").0;
            } else {
                state = self.changed.wait(state).expect("no holder panics");
            }
        }
    }

    /// Waits so long, or until the watcher stops.
    fn pause(&self, duration: Duration) {
        let state = self.lock_state();
        let _ = self
            .changed
            .wait_timeout_while(state, duration, |state| !state.is_stopped);
    }

    /// Compares contents until stopped: the body of the thread.
    pub fn run_checks(self: Arc<Self>, inbox: Arc<Inbox>) {
        lower_priority();
        while let Some(check) = self.wait_for_check() {
            let begun_at = Instant::now();
            let bytes = check.stat.size;
            let report = check.compare_content();
            inbox.push_request(KeeperRequest::RecordContentCheck(report));
            let share = bytes as f64 / MAX_BYTES_PER_SECOND as f64;
            self.pause(Duration::from_secs_f64(share).saturating_sub(begun_at.elapsed()));
        }
    }
}

/// Lets every other thread of the machine compute and read first. Without the right to do so, the
/// limit of the rate remains.
#[cfg(target_os = "linux")]
fn lower_priority() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: the calls take numbers only. On Linux, 0 names the calling thread.
    unsafe {
        libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 19);
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            IOPRIO_CLASS_IDLE,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use lookalike_proto::ContentHash;

    use super::*;
    use crate::content_check::CheckedContent;
    use crate::content_check::tests::check_of;

    /// Waits for results, at most so long.
    fn take_results(inbox: &Inbox, timeout: Duration) -> Vec<CheckedContent> {
        let drained = inbox.wait_and_drain(1, Instant::now() + timeout);
        let results = drained.requests.into_iter().map(|request| match request {
            KeeperRequest::RecordContentCheck(report) => report.content,
            _ => panic!("the thread only reports results"),
        });
        results.collect()
    }

    #[test]
    fn files_are_compared_in_quiet_times_and_once_a_second_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let checks = Arc::new(ContentChecks::new(100));
        let inbox = Arc::new(Inbox::new(10, Duration::from_millis(500)));
        checks.set_busy(true);
        for n in 0..100 {
            std::fs::write(dir.path().join(format!("{n}.jpg")), b"bytes").unwrap();
            checks.queue_check(check_of(dir.path(), &format!("{n}.jpg")));
        }
        std::fs::write(dir.path().join("dropped.jpg"), b"bytes").unwrap();
        checks.queue_check(check_of(dir.path(), "dropped.jpg"));
        let thread = std::thread::spawn({
            let (checks, inbox) = (checks.clone(), inbox.clone());
            move || checks.run_checks(inbox)
        });
        let begun = Instant::now();
        let mut results = Vec::new();
        while results.len() < 2 {
            results.extend(take_results(&inbox, Duration::from_secs(5)));
        }
        assert!(begun.elapsed() >= Duration::from_secs(1), "{results:?}");
        assert!(!checks.take_overflow(), "most checks wait");
        checks.set_busy(false);
        for n in 0..100 {
            let check = check_of(dir.path(), &format!("{n}.jpg"));
            checks.finish_check(&check.image_id);
        }
        while results.len() < 100 {
            let arrived = take_results(&inbox, Duration::from_secs(5));
            assert!(!arrived.is_empty(), "{} results", results.len());
            results.extend(arrived);
        }
        let hash = CheckedContent::Hash(ContentHash::hash_content(b"bytes"));
        assert!(results.iter().all(|result| *result == hash));
        assert!(checks.take_overflow(), "a check was dropped");
        checks.stop();
        thread.join().unwrap();
    }
}
