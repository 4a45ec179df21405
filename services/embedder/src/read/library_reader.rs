//! Reads from one library's folder, which may hang: a call on a mount whose server is unreachable
//! blocks its thread forever.
//!
//! All disk access goes through [`LibraryReader::acquire_permit`]. Each library has a few permits of
//! its own, so a hanging folder takes no thread from another library. When no task in a folder has
//! sent a heartbeat for the stall timeout, the folder counts as stalled and new requests fail at
//! once. Only now and then one request may probe the folder. A heartbeat of any task ends the stall.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::{self, LeakKind};
use crate::settings::Settings;

/// The folder cannot be read now, with the reason; retry later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderUnavailable(pub String);

pub struct LibraryReader {
    root: PathBuf,
    permits: Arc<Semaphore>,
    /// How long one system call may take before its thread is abandoned.
    timeout: Duration,
    health: Arc<FolderHealth>,
}

/// The health of a folder, shared by all its readers.
struct FolderHealth {
    stall_timeout: Duration,
    state: Mutex<FolderState>,
    changed: Notify,
}

struct FolderState {
    library: String,
    /// Tasks whose result is awaited.
    active: usize,
    /// Abandoned tasks whose threads still run.
    leaked: usize,
    last_heartbeat: Instant,
    /// When the current probe of a stalled folder began.
    probing_since: Option<Instant>,
    next_probe: Instant,
    backoff: Backoff,
    is_reported: bool,
}

/// Whether a task may begin.
#[derive(Debug, PartialEq, Eq)]
enum ReadAdmission {
    Allowed,
    /// A probe is running: its heartbeat, or silence until this time, decides.
    WaitUntil(Instant),
    Unavailable,
}

impl LibraryReader {
    /// Creates a reader; its folder counts as healthy.
    pub fn new(library: &str, root: PathBuf, settings: &Settings) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            root,
            permits: Arc::new(Semaphore::new(settings.max_library_readers.max(1))),
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

    /// Waits for a permit to read.
    ///
    /// # Errors
    /// The folder is stalled.
    pub async fn acquire_permit(self: &Arc<Self>) -> Result<ReadPermit, FolderUnavailable> {
        let permit = self.permits.clone().acquire_owned();
        tokio::pin!(permit);
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
                permit = &mut permit => {
                    return Ok(ReadPermit {
                        reader: self.clone(),
                        permit: permit.expect("this semaphore is never closed"),
                    });
                }
                // All permits are in use; perhaps their holders hang.
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Waits for a permit and runs `work` on a blocking thread.
    ///
    /// # Errors
    /// The folder is stalled, or `work` sent no heartbeat for `embed.read_timeout`.
    pub async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Path, &ReadHeartbeat) -> T + Send + 'static,
    ) -> Result<T, FolderUnavailable> {
        self.acquire_permit().await?.run_blocking(work).await
    }

    fn unavailable_error(&self) -> FolderUnavailable {
        FolderUnavailable("the library's folder is not responding; does its mount hang?".to_owned())
    }
}

/// A permit to read in a folder.
pub struct ReadPermit {
    reader: Arc<LibraryReader>,
    permit: OwnedSemaphorePermit,
}

impl ReadPermit {
    /// Runs `work` like [`LibraryReader::run_blocking`]. A hung call keeps its permit, so at most
    /// `embed.max_library_readers` threads of a library can hang.
    ///
    /// # Errors
    /// `work` sent no heartbeat for `embed.read_timeout`.
    pub async fn run_blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&Path, &ReadHeartbeat) -> T + Send + 'static,
    ) -> Result<T, FolderUnavailable> {
        let Self { reader, permit } = self;
        let heartbeat = ReadHeartbeat::start_task(&reader.health);
        let (root, task_heartbeat) = (reader.root.clone(), heartbeat.clone());
        let mut thread = tokio::task::spawn_blocking(move || {
            // Dropped in reverse order, also in a panic: the end is recorded before the permit is
            // released.
            let _permit = permit;
            let guard = DiskTaskGuard(task_heartbeat);
            work(&root, &guard.0)
        });
        loop {
            let deadline = heartbeat.last_heartbeat() + reader.timeout;
            match tokio::time::timeout_at(deadline.into(), &mut thread).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                Err(_) if heartbeat.abandon_if_stalled(Instant::now(), reader.timeout) => {
                    return Err(reader.unavailable_error());
                }
                Err(_) => {}
            }
        }
    }
}

/// Sends heartbeats of a disk task, from its thread, after every system call.
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
    fn start_task(health: &Arc<FolderHealth>) -> Self {
        let now = Instant::now();
        let mut state = health.lock_state();
        if state.active + state.leaked == 0 {
            // Earlier silence was idleness, not a hang.
            state.last_heartbeat = now;
        }
        state.active += 1;
        drop(state);
        Self {
            health: health.clone(),
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

    /// Records that the disk has answered.
    pub fn record_progress(&self) {
        let now = Instant::now();
        self.lock_task().last_heartbeat = now;
        self.health.record_heartbeat(now);
    }

    fn last_heartbeat(&self) -> Instant {
        self.lock_task().last_heartbeat
    }

    /// Abandons the task if it has sent no heartbeat for so long.
    fn abandon_if_stalled(&self, now: Instant, timeout: Duration) -> bool {
        let mut task = self.lock_task();
        if task.has_ended || now.duration_since(task.last_heartbeat) < timeout {
            return false;
        }
        // Both locks at once, the task's first: a task that ends now is counted before or after.
        let mut state = self.health.lock_state();
        task.is_leaked = true;
        state.active -= 1;
        state.leaked += 1;
        metrics::LEAKED_THREADS
            .with_label_values(&[LeakKind::Disk.label()])
            .inc();
        true
    }
}

/// Records the end of a task, also in a panic.
struct DiskTaskGuard(ReadHeartbeat);

impl Drop for DiskTaskGuard {
    fn drop(&mut self) {
        let mut task = self.0.lock_task();
        task.has_ended = true;
        let mut state = self.0.health.lock_state();
        if task.is_leaked {
            state.leaked -= 1;
            metrics::LEAKED_THREADS
                .with_label_values(&[LeakKind::Disk.label()])
                .dec();
        } else {
            state.active -= 1;
        }
        drop((state, task));
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
                "the library's folder responds again"
            );
        }
    }
}

impl FolderState {
    fn is_stalled(&self, stall_timeout: Duration, now: Instant) -> bool {
        self.active + self.leaked > 0 && now.duration_since(self.last_heartbeat) >= stall_timeout
    }

    fn admit_read(&mut self, stall_timeout: Duration, now: Instant) -> ReadAdmission {
        if !self.is_stalled(stall_timeout, now) {
            return ReadAdmission::Allowed;
        }
        match self.probing_since {
            // Requests wait for the first probe; during later probes they fail at once.
            Some(since) if self.backoff.attempts() <= 1 && now < since + stall_timeout => {
                return ReadAdmission::WaitUntil(since + stall_timeout);
            }
            _ => {}
        }
        if now < self.next_probe {
            return ReadAdmission::Unavailable;
        }
        self.probing_since = Some(now);
        self.next_probe = now + stall_timeout + self.backoff.next_delay();
        if !std::mem::replace(&mut self.is_reported, true) {
            tracing::warn!(
                library = self.library,
                "a library's folder is not responding; its events are deferred"
            );
        }
        ReadAdmission::Allowed
    }
}

#[cfg(test)]
mod tests;
