//! Folders → events: watches libraries, keeps the catalog, publishes what changed, and learns
//! from outcomes what became of it. The only user of notify and SQLite.
//!
//! One thread, the keeper, owns the catalog and decides ([`keeper`]); the tasks in this file
//! only carry: events to JetStream, outcomes from it, questions and their answers, the status.

mod catalog;
mod disk;
mod hints;
mod inbox;
mod keeper;
mod metrics;
mod rules;
mod settings;
mod settle;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookalike_bus::Bus;
use lookalike_proto::Library;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use inbox::Shown;
pub use settings::Settings;

use catalog::Catalog;
use hints::Watch;
use inbox::{Inbox, Note};
use keeper::Keeper;

/// What keeps a watcher from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog can't be used.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The data folder can't be made.
    #[error("can't make the data folder {path}: {source}")]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The keeper's thread can't be started.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
}

/// A running watcher.
pub struct Watcher {
    inbox: Arc<Inbox>,
    keeper: std::thread::JoinHandle<()>,
    watches: Vec<std::thread::Thread>,
    tasks: TaskTracker,
    leave: CancellationToken,
    shown: watch::Receiver<Shown>,
}

impl Watcher {
    /// Opens the catalog in `data_dir`, begins to watch and compare the libraries' folders, and
    /// to publish. The folders must exist and not lie in each other.
    ///
    /// # Errors
    /// When the catalog can't be opened (another watcher may have it).
    pub fn start(
        settings: &Settings,
        libraries: Vec<(Library, PathBuf)>,
        data_dir: &Path,
        bus: &Bus,
    ) -> Result<Self, Error> {
        metrics::register();
        std::fs::create_dir_all(data_dir).map_err(|source| Error::DataFolder {
            path: data_dir.to_owned(),
            source,
        })?;
        let catalog = Catalog::open(&data_dir.join("catalog.sqlite"))?;
        let inbox = Arc::new(Inbox::new(settings.max_hints));
        let outbox_filled = Arc::new(Notify::new());
        let (show, shown) = watch::channel(Shown::new());
        let mut positions = Vec::new();
        for (library, _) in &libraries {
            let key = catalog.library(library)?;
            positions.push(catalog.root(key)?.outcomes_read);
        }
        let keeper = Keeper::new(
            settings.clone(),
            catalog,
            libraries.clone(),
            inbox.clone(),
            outbox_filled.clone(),
            show,
        )?;
        let leave = CancellationToken::new();
        let tasks = TaskTracker::new();
        let around = tasks::Around {
            bus: bus.clone(),
            inbox: inbox.clone(),
            leave: leave.clone(),
            settings: settings.clone(),
        };
        // Arming a watch walks the whole tree, so each library has a thread for it; the keeper
        // compares meanwhile, and once more when the watch stands, so that nothing falls between.
        let mut watches = Vec::new();
        for (index, (library, root)) in libraries.iter().enumerate() {
            watches.push(arm(index, library, root, &inbox, &leave)?);
        }
        let keeper = std::thread::Builder::new()
            .name("watcher keeper".into())
            .spawn(move || keeper.run())
            .map_err(Error::Thread)?;
        tasks.spawn(around.clone().relay(outbox_filled));
        tasks.spawn(around.clone().look_for_overdue());
        tasks.spawn(around.clone().tell_status(shown.clone()));
        for (index, (library, _)) in libraries.into_iter().enumerate() {
            let after = positions[index].clone();
            tasks.spawn(around.clone().read_outcomes(index, library.clone(), after));
            tasks.spawn(around.clone().answer_questions(index, library));
        }
        tasks.close();
        Ok(Self {
            inbox,
            keeper,
            watches,
            tasks,
            leave,
            shown,
        })
    }

    /// What the libraries are like, now and at every change.
    pub fn status(&self) -> watch::Receiver<Shown> {
        self.shown.clone()
    }

    /// Finishes what is under way and closes the catalog.
    pub async fn stop(self) {
        self.leave.cancel();
        self.watches.iter().for_each(std::thread::Thread::unpark);
        self.tasks.wait().await;
        self.inbox.note(Note::Stop);
        let joined = tokio::task::spawn_blocking(move || self.keeper.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the watcher's thread ended badly; the next start compares everything");
        }
    }
}

/// How often a thread looks whether the folder it watches still is the root.
const LOOK_AT_ROOT: Duration = Duration::from_secs(5);

/// How often it is tried again to watch what could not be watched.
const ARM_AGAIN: Duration = Duration::from_secs(30);

/// Starts the thread that holds a library's watch. It ends when it is unparked after `leave`;
/// nobody need wait for that, because it holds nothing else.
fn arm(
    index: usize,
    library: &Library,
    root: &Path,
    inbox: &Arc<Inbox>,
    leave: &CancellationToken,
) -> Result<std::thread::Thread, Error> {
    let (root, inbox, leave) = (root.to_owned(), inbox.clone(), leave.clone());
    let thread = std::thread::Builder::new()
        .name(format!("watch {library}"))
        .spawn(move || {
            let mut held: Option<Watch> = None;
            let mut last_fault = None;
            let mut next_try = Instant::now();
            let mut last_there = None;
            // Where a watch can't be armed, it is tried again: a limit may be raised, a mount
            // may come back. The folder is polled meanwhile.
            while !leave.is_cancelled() {
                let there = disk::Identity::of(&root);
                if there != last_there {
                    // A watch follows its folder, not the path: now another one lies there.
                    held = None;
                    next_try = Instant::now();
                    last_there = there;
                }
                if held.is_none() && next_try <= Instant::now() {
                    next_try = Instant::now() + ARM_AGAIN;
                    match Watch::arm(index, &root, &inbox) {
                        Ok(watch) => {
                            held = Some(watch);
                            last_fault = None;
                            for reason in ["watch_limit", "watch_failed"] {
                                inbox.note(Note::Degraded(index, reason, None));
                            }
                            inbox.note(Note::Rescan(index, "the watch stands now"));
                        }
                        Err(fault) if Some(&fault) != last_fault.as_ref() => {
                            let detail = Some(fault.detail.clone());
                            inbox.note(Note::Degraded(index, fault.reason, detail));
                            inbox.note(Note::Rescan(index, "changes can't be reported"));
                            last_fault = Some(fault);
                        }
                        Err(_) => {}
                    }
                }
                std::thread::park_timeout(LOOK_AT_ROOT);
            }
        })
        .map_err(Error::Thread)?;
    Ok(thread.thread().clone())
}
