//! A library's folder, which may hang: a mount whose server is away lets a thread wait for ever.
//!
//! Everything that touches the disk goes through [`Folder::enter`]. Each library has a few readers
//! of its own, so that one that hangs takes no thread from another one. Once everything under way
//! in a folder has given no sign for a moment, what would enter is put off at once, and only now
//! and then somebody tries; a sign of life from anybody opens the folder again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_chassis::Backoff;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics;
use crate::settings::Settings;
use crate::strays::Errand;

/// The folder can't be read now: try again later. Says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away(pub String);

/// One library's folder.
pub struct Folder {
    root: PathBuf,
    readers: Arc<Semaphore>,
    /// How long one system call may take before nobody waits for it any more.
    timeout: Duration,
    pulse: Arc<Pulse>,
}

/// The signs of life of a folder.
struct Pulse {
    stall: Duration,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    library: String,
    /// Errands under way, and those that nobody waits for any more.
    under_way: usize,
    strays: usize,
    last_sign: Instant,
    /// Somebody tries a stalled folder since then.
    trying_since: Option<Instant>,
    next_try: Instant,
    backoff: Backoff,
    is_told: bool,
}

/// Whether an errand may begin.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Go,
    /// Somebody tries: a sign, or nothing until then, decides.
    WaitUntil(Instant),
    Away,
}

impl Folder {
    /// A folder in which everything is well.
    pub fn new(library: &str, root: PathBuf, settings: &Settings) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            root,
            readers: Arc::new(Semaphore::new(settings.library_readers.max(1))),
            timeout: settings.read_timeout,
            pulse: Arc::new(Pulse {
                stall: settings.read_stall,
                state: Mutex::new(State {
                    library: library.to_owned(),
                    under_way: 0,
                    strays: 0,
                    last_sign: now,
                    trying_since: None,
                    next_try: now,
                    backoff: Backoff::new(Duration::from_secs(1), settings.read_timeout),
                    is_told: false,
                }),
                changed: Notify::new(),
            }),
        })
    }

    /// Waits for a turn to read.
    ///
    /// # Errors
    /// When the folder hangs.
    pub async fn enter(self: &Arc<Self>) -> Result<Pass, Away> {
        let turn = self.readers.clone().acquire_owned();
        tokio::pin!(turn);
        loop {
            let changed = self.pulse.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let admission = self
                .pulse
                .lock()
                .admission(self.pulse.stall, Instant::now());
            let until = match admission {
                Admission::Away => return Err(self.away()),
                Admission::WaitUntil(until) => {
                    tokio::select! {
                        () = &mut changed => {}
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                    continue;
                }
                Admission::Go => Instant::now() + self.pulse.stall,
            };
            tokio::select! {
                biased;
                reader = &mut turn => {
                    return Ok(Pass {
                        folder: self.clone(),
                        reader: reader.expect("this semaphore is never closed"),
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
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Path, &Sign) -> T + Send + 'static,
    ) -> Result<T, Away> {
        self.enter().await?.run(work).await
    }

    fn away(&self) -> Away {
        Away("the library's folder does not answer: does its mount hang?".to_owned())
    }
}

/// A turn to read in a folder.
pub struct Pass {
    folder: Arc<Folder>,
    reader: OwnedSemaphorePermit,
}

impl Pass {
    /// As [`Folder::run`]. Who hangs keeps the turn: at most so many threads of a library do.
    ///
    /// # Errors
    /// When the folder hangs.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Path, &Sign) -> T + Send + 'static,
    ) -> Result<T, Away> {
        let Self { folder, reader } = self;
        let sign = Sign::begin(&folder.pulse);
        let (root, own) = (folder.root.clone(), sign.clone());
        let mut thread = tokio::task::spawn_blocking(move || {
            // In this order, also in a panic: the end is noted, then the turn given on.
            let _reader = reader;
            let ending = Ending(own);
            work(&root, &ending.0)
        });
        loop {
            let deadline = sign.last() + folder.timeout;
            match tokio::time::timeout_at(deadline.into(), &mut thread).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                Err(_) if sign.give_up_before(Instant::now(), folder.timeout) => {
                    return Err(folder.away());
                }
                Err(_) => {}
            }
        }
    }
}

/// Tells that an errand goes on: from its thread, after every call of the system.
#[derive(Clone)]
pub struct Sign {
    pulse: Arc<Pulse>,
    own: Arc<Mutex<Own>>,
}

struct Own {
    last: Instant,
    has_ended: bool,
    is_stray: bool,
}

impl Sign {
    fn begin(pulse: &Arc<Pulse>) -> Self {
        let now = Instant::now();
        let mut state = pulse.lock();
        if state.under_way + state.strays == 0 {
            // The silence before was peace.
            state.last_sign = now;
        }
        state.under_way += 1;
        drop(state);
        Self {
            pulse: pulse.clone(),
            own: Arc::new(Mutex::new(Own {
                last: now,
                has_ended: false,
                is_stray: false,
            })),
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Something came back from the disk.
    pub fn give(&self) {
        let now = Instant::now();
        self.own().last = now;
        self.pulse.sign(now);
    }

    fn last(&self) -> Instant {
        self.own().last
    }

    /// Gives the errand up if it has given no sign for so long.
    fn give_up_before(&self, now: Instant, timeout: Duration) -> bool {
        let mut own = self.own();
        if own.has_ended || now.duration_since(own.last) < timeout {
            return false;
        }
        // Both locks at once, own first: an end at this moment is counted before or after.
        let mut state = self.pulse.lock();
        own.is_stray = true;
        state.under_way -= 1;
        state.strays += 1;
        metrics::STRAYS
            .with_label_values(&[Errand::Disk.label()])
            .inc();
        true
    }
}

/// Notes an errand's end, however it ends.
struct Ending(Sign);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut own = self.0.own();
        own.has_ended = true;
        let mut state = self.0.pulse.lock();
        if own.is_stray {
            state.strays -= 1;
            metrics::STRAYS
                .with_label_values(&[Errand::Disk.label()])
                .dec();
        } else {
            state.under_way -= 1;
        }
        drop((state, own));
        self.0.pulse.sign(Instant::now());
    }
}

impl Pulse {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn sign(&self, now: Instant) {
        let mut state = self.lock();
        state.last_sign = now;
        if state.trying_since.take().is_some() {
            state.backoff.reset();
            state.next_try = now;
            self.changed.notify_waiters();
        }
        if std::mem::take(&mut state.is_told) {
            tracing::info!(
                library = state.library,
                "the library's folder answers again"
            );
        }
    }
}

impl State {
    fn is_stalled(&self, stall: Duration, now: Instant) -> bool {
        self.under_way + self.strays > 0 && now.duration_since(self.last_sign) >= stall
    }

    fn admission(&mut self, stall: Duration, now: Instant) -> Admission {
        if !self.is_stalled(stall, now) {
            return Admission::Go;
        }
        match self.trying_since {
            // The first try is waited for; after that, who comes is put off.
            Some(since) if self.backoff.tries() <= 1 && now < since + stall => {
                return Admission::WaitUntil(since + stall);
            }
            _ => {}
        }
        if now < self.next_try {
            return Admission::Away;
        }
        self.trying_since = Some(now);
        self.next_try = now + stall + self.backoff.next_wait();
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                library = self.library,
                "a library's folder does not answer; what concerns it is put off meanwhile"
            );
        }
        Admission::Go
    }
}

#[cfg(test)]
mod tests;
