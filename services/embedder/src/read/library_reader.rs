//! A library's folder, which may hang: a mount whose server is away lets a thread wait for ever.
//!
//! Everything that touches the disk goes through [`Folder::acquire_permit`]. Each library has a few readers
//! of its own, so that one that hangs takes no thread from another one. Once everything under way
//! in a folder has given no sign for a moment, what would enter is put off at once, and only now
//! and then somebody tries; a sign of life from anybody opens the folder again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::embed::leaked_threads::LeakKind;
use crate::metrics;
use crate::settings::Settings;

/// The folder can't be read now: try again later. Says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderUnavailable(pub String);

/// One library's folder.
pub struct LibraryReader {
    root: PathBuf,
    permits: Arc<Semaphore>,
    /// How long one system call may take before nobody waits for it any more.
    timeout: Duration,
    health: Arc<FolderHealth>,
}

/// The signs of life of a folder.
struct FolderHealth {
    stall_timeout: Duration,
    state: Mutex<FolderState>,
    changed: Notify,
}

struct FolderState {
    library: String,
    /// Errands under way, and those that nobody waits for any more.
    active: usize,
    leaked: usize,
    last_heartbeat: Instant,
    /// Somebody tries a stalled folder since then.
    probing_since: Option<Instant>,
    next_probe: Instant,
    backoff: Backoff,
    is_reported: bool,
}

/// Whether an errand may begin.
#[derive(Debug, PartialEq, Eq)]
enum ReadAdmission {
    Allowed,
    /// Somebody tries: a sign, or nothing until then, decides.
    WaitUntil(Instant),
    Unavailable,
}

impl LibraryReader {
    /// A folder in which everything is well.
    pub fn new(library: &str, root: PathBuf, settings: &Settings) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            root,
            permits: Arc::new(Semaphore::new(settings.library_readers.max(1))),
            timeout: settings.read_timeout,
            health: Arc::new(FolderHealth {
                stall_timeout: settings.read_stall_timeout,
                state: Mutex::new(FolderState {
                    library: library.to_owned(),
                    active: 0,
                    leaked: 0,
                    last_heartbeat: now,
                    probing_since: None,
                    next_probe: now,
                    backoff: Backoff::new(Duration::from_secs(1), settings.read_timeout),
                    is_reported: false,
                }),
                changed: Notify::new(),
            }),
        })
    }

    /// Waits for a turn to read.
    ///
    /// # Errors
    /// When the folder hangs.
    pub async fn acquire_permit(self: &Arc<Self>) -> Result<ReadPermit, FolderUnavailable> {
        let turn = self.permits.clone().acquire_owned();
        tokio::pin!(turn);
        loop {
            let changed = self.health.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let admission = self
                .health
                .lock_state()
                .admit_read(self.health.stall_timeout, Instant::now());
            let until = match admission {
                ReadAdmission::Unavailable => return Err(self.unavailable_error()),
                ReadAdmission::WaitUntil(until) => {
                    tokio::select! {
                        () = &mut changed => {}
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                    continue;
                }
                ReadAdmission::Allowed => Instant::now() + self.health.stall_timeout,
            };
            tokio::select! {
                biased;
                reader = &mut turn => {
                    return Ok(ReadPermit {
                        reader: self.clone(),
                        permit: reader.expect("this semaphore is never closed"),
                    });
                }
                // All readers are busy: perhaps they are stuck.
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Runs something that touches the disk, on a thread that may wait.
    ///
    /// # Errors
    /// When the folder hangs.
    pub async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Path, &ReadHeartbeat) -> T + Send + 'static,
    ) -> Result<T, FolderUnavailable> {
        self.acquire_permit().await?.run_blocking(work).await
    }

    fn unavailable_error(&self) -> FolderUnavailable {
        FolderUnavailable("the library's folder does not answer: does its mount hang?".to_owned())
    }
}

/// A turn to read in a folder.
pub struct ReadPermit {
    reader: Arc<LibraryReader>,
    permit: OwnedSemaphorePermit,
}

impl ReadPermit {
    /// As [`Folder::run_blocking`]. Who hangs keeps the turn: at most so many threads of a library do.
    ///
    /// # Errors
    /// When the folder hangs.
    pub async fn run_blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&Path, &ReadHeartbeat) -> T + Send + 'static,
    ) -> Result<T, FolderUnavailable> {
        let Self {
            reader: folder,
            permit: reader,
        } = self;
        let sign = ReadHeartbeat::start_task(&folder.health);
        let (root, own) = (folder.root.clone(), sign.clone());
        let mut thread = tokio::task::spawn_blocking(move || {
            // In this order, also in a panic: the end is noted, then the turn given on.
            let _reader = reader;
            let ending = DiskTaskGuard(own);
            work(&root, &ending.0)
        });
        loop {
            let deadline = sign.last_heartbeat() + folder.timeout;
            match tokio::time::timeout_at(deadline.into(), &mut thread).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                Err(_) if sign.abandon_if_stalled(Instant::now(), folder.timeout) => {
                    return Err(folder.unavailable_error());
                }
                Err(_) => {}
            }
        }
    }
}

/// Tells that an errand goes on: from its thread, after every call of the system.
#[derive(Clone)]
pub struct ReadHeartbeat {
    health: Arc<FolderHealth>,
    task: Arc<Mutex<DiskTask>>,
}

struct DiskTask {
    last_heartbeat: Instant,
    has_ended: bool,
    is_leaked: bool,
}

impl ReadHeartbeat {
    fn start_task(pulse: &Arc<FolderHealth>) -> Self {
        let now = Instant::now();
        let mut state = pulse.lock_state();
        if state.active + state.leaked == 0 {
            // The silence before was peace.
            state.last_heartbeat = now;
        }
        state.active += 1;
        drop(state);
        Self {
            health: pulse.clone(),
            task: Arc::new(Mutex::new(DiskTask {
                last_heartbeat: now,
                has_ended: false,
                is_leaked: false,
            })),
        }
    }

    fn lock_task(&self) -> MutexGuard<'_, DiskTask> {
        self.task
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Something came back from the disk.
    pub fn record_progress(&self) {
        let now = Instant::now();
        self.lock_task().last_heartbeat = now;
        self.health.record_heartbeat(now);
    }

    fn last_heartbeat(&self) -> Instant {
        self.lock_task().last_heartbeat
    }

    /// Gives the errand up if it has given no sign for so long.
    fn abandon_if_stalled(&self, now: Instant, timeout: Duration) -> bool {
        let mut own = self.lock_task();
        if own.has_ended || now.duration_since(own.last_heartbeat) < timeout {
            return false;
        }
        // Both locks at once, own first: an end at this moment is counted before or after.
        let mut state = self.health.lock_state();
        own.is_leaked = true;
        state.active -= 1;
        state.leaked += 1;
        metrics::LEAKED_THREADS
            .with_label_values(&[LeakKind::Disk.label()])
            .inc();
        true
    }
}

/// Notes an errand's end, however it ends.
struct DiskTaskGuard(ReadHeartbeat);

impl Drop for DiskTaskGuard {
    fn drop(&mut self) {
        let mut own = self.0.lock_task();
        own.has_ended = true;
        let mut state = self.0.health.lock_state();
        if own.is_leaked {
            state.leaked -= 1;
            metrics::LEAKED_THREADS
                .with_label_values(&[LeakKind::Disk.label()])
                .dec();
        } else {
            state.active -= 1;
        }
        drop((state, own));
        self.0.health.record_heartbeat(Instant::now());
    }
}

impl FolderHealth {
    fn lock_state(&self) -> MutexGuard<'_, FolderState> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn record_heartbeat(&self, now: Instant) {
        let mut state = self.lock_state();
        state.last_heartbeat = now;
        if state.probing_since.take().is_some() {
            state.backoff.reset_attempts();
            state.next_probe = now;
            self.changed.notify_waiters();
        }
        if std::mem::take(&mut state.is_reported) {
            tracing::info!(
                library = state.library,
                "the library's folder answers again"
            );
        }
    }
}

impl FolderState {
    fn is_stalled(&self, stall: Duration, now: Instant) -> bool {
        self.active + self.leaked > 0 && now.duration_since(self.last_heartbeat) >= stall
    }

    fn admit_read(&mut self, stall: Duration, now: Instant) -> ReadAdmission {
        if !self.is_stalled(stall, now) {
            return ReadAdmission::Allowed;
        }
        match self.probing_since {
            // The first try is waited for; after that, who comes is put off.
            Some(since) if self.backoff.attempts() <= 1 && now < since + stall => {
                return ReadAdmission::WaitUntil(since + stall);
            }
            _ => {}
        }
        if now < self.next_probe {
            return ReadAdmission::Unavailable;
        }
        self.probing_since = Some(now);
        self.next_probe = now + stall + self.backoff.next_delay();
        if !std::mem::replace(&mut self.is_reported, true) {
            tracing::warn!(
                library = self.library,
                "a library's folder does not answer; what concerns it is put off meanwhile"
            );
        }
        ReadAdmission::Allowed
    }
}

#[cfg(test)]
mod tests;
