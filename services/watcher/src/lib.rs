//! Folders → events: watches libraries, keeps the catalog, publishes changes, and applies outcomes.
//! The only user of inotify, notify and SQLite.
//!
//! One thread, the keeper, owns the catalog and makes every decision ([`keeper`]). The tasks only
//! carry: events to JetStream, outcomes from it, requests and their replies, the status.
//!
//! In the order of the data flow: [`notify`] → [`inbox`] → [`keeper`] → [`library`] → [`catalog`] →
//! [`tasks`]; [`lease`] decides which watcher works on a library.

mod busy_files;
mod catalog;
mod clock;
mod content_check;
mod content_checks;
mod disk;
mod hint;
mod ignore_files;
mod inbox;
mod keeper;
mod lease;
mod library;
mod metrics;
mod notify;
mod paths;
mod rules;
mod settings;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::Bus;
use lookalike_proto::LibraryName;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use inbox::PublishedStatus;
pub use notify::filesystem::unreported_filesystem;
pub use settings::Settings;

use catalog::Catalog;
use content_checks::ContentChecks;
use inbox::{Inbox, KeeperSignal};
use keeper::Keeper;
use lease::holder::LeaseCandidate;
use library::id::LibraryId;
use tasks::WatcherTasks;

/// The catalog, in the data folder.
const CATALOG_FILE: &str = "catalog.sqlite";

/// How long the watcher's tasks, and then its thread, may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Whether a watcher with this data folder watched the library `library` at `root` before.
pub fn has_watched_root(data_dir: &Path, library: &LibraryName, root: &Path) -> bool {
    Catalog::has_library_root(&data_dir.join(CATALOG_FILE), library, root)
}

/// Why a watcher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    #[error("cannot create the data folder {path}: {source}")]
    DataFolder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A running watcher: the thread of the keeper, and the tasks that exchange messages with other roles.
pub struct Watcher {
    inbox: Arc<Inbox>,
    content_checks: Arc<ContentChecks>,
    keeper_thread: std::thread::JoinHandle<()>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// The keeper's thread owns the sender.
    published: watch::Receiver<PublishedStatus>,
}

impl Watcher {
    /// Opens the catalog in `data_dir`, and starts to watch and scan the libraries' folders and to
    /// publish events. The folders must exist and must not overlap.
    ///
    /// # Errors
    /// When the catalog cannot be opened; another watcher may use it.
    pub fn start(
        settings: &Settings,
        libraries: Vec<(LibraryName, PathBuf)>,
        data_dir: &Path,
        bus: &Bus,
    ) -> Result<Self, Error> {
        metrics::register_metrics();
        std::fs::create_dir_all(data_dir).map_err(|source| Error::DataFolder {
            path: data_dir.to_owned(),
            source,
        })?;
        let file = data_dir.join(CATALOG_FILE);
        let mut catalog = Catalog::open(&file)?;
        let inbox = Arc::new(Inbox::new(settings.max_hints, settings.settle_interval));
        let outbox_filled = Arc::new(Notify::new());
        let (publisher, published) = watch::channel(PublishedStatus::new());
        let holder = lease_holder(catalog.catalog_id()?, &file);
        let keeper = Keeper::new(
            settings.clone(),
            catalog,
            libraries.clone(),
            inbox.clone(),
            outbox_filled.clone(),
            publisher,
        )?;
        let content_checks = keeper.content_checks();
        let watcher_tasks = WatcherTasks {
            bus: bus.clone(),
            inbox: inbox.clone(),
            shutdown: CancellationToken::new(),
            settings: settings.clone(),
            lease_valid_until: Arc::new(Mutex::new(Instant::now())),
        };
        let keeper_thread = std::thread::Builder::new()
            .name("watcher keeper".into())
            .spawn(move || keeper.run())
            .map_err(Error::Thread)?;
        let (checks, results) = (content_checks.clone(), inbox.clone());
        std::thread::Builder::new()
            .name("watcher checks".into())
            .spawn(move || checks.run_checks(results))
            .map_err(Error::Thread)?;
        let tasks = TaskTracker::new();
        tasks.spawn(watcher_tasks.clone().relay_outbox(outbox_filled));
        tasks.spawn(watcher_tasks.clone().check_overdue_events());
        tasks.spawn(watcher_tasks.clone().publish_status(published.clone()));
        for (index, (library, _)) in libraries.into_iter().enumerate() {
            let id = LibraryId::new(index);
            let candidate = LeaseCandidate::new(id, library, holder.clone());
            tasks.spawn(watcher_tasks.clone().run_lease_candidate(candidate));
        }
        tasks.close();
        Ok(Self {
            inbox,
            content_checks,
            keeper_thread,
            tasks,
            shutdown: watcher_tasks.shutdown,
            published,
        })
    }

    /// Waits until the keeper's thread has ended unexpectedly.
    pub async fn wait_for_failure(&self) {
        wait_for_thread_end(self.published.clone()).await;
    }

    /// Returns the status of the libraries, now and at every change.
    pub fn subscribe_status(&self) -> watch::Receiver<PublishedStatus> {
        self.published.clone()
    }

    /// Finishes what is in progress and closes the catalog.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // Its thread is not awaited: it may be reading from a file system that does not respond.
        self.content_checks.stop();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the watcher's tasks do not stop; exiting without them");
        }
        self.inbox.push_signal(KeeperSignal::Stop);
        let ended = wait_for_thread_end(self.published.clone());
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!(
                "the watcher waits for a file system that does not respond; exiting without it"
            );
        } else if self.keeper_thread.join().is_err() {
            tracing::error!("the watcher's thread panicked; the next start scans everything");
        }
    }
}

/// Waits until the keeper's thread drops the sender, which it does however it ends.
async fn wait_for_thread_end(mut published: watch::Receiver<PublishedStatus>) {
    while published.changed().await.is_ok() {}
}

/// Identifies this watcher as the holder of leases: by the machine and by the file of its catalog,
/// which no other process can have open. A copy of the catalog is another holder.
fn lease_holder(catalog_id: u32, file: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (device, inode) = std::fs::metadata(file).map_or((0, 0), |m| (m.dev(), m.ino()));
    format!("{}/{catalog_id:08x}/{device:x}/{inode:x}", machine.trim())
}
