//! Folders → events: watches libraries, keeps the catalog, publishes what changed, and learns
//! from outcomes what became of it. The only user of notify and SQLite.
//!
//! One thread, the keeper, owns the catalog and decides ([`keeper_thread`]); the tasks in this file
//! only carry: events to JetStream, outcomes from it, questions and their answers, the status.

mod catalog;
mod disk;
mod ignore_files;
mod inbox;
mod keeper;
mod lease;
mod library;
mod metrics;
mod notify;
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
pub use settings::Settings;

use catalog::Catalog;
use inbox::{Inbox, KeeperRequest};
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
    keeper_thread: std::thread::JoinHandle<()>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    published: watch::Receiver<PublishedStatus>,
}

impl Watcher {
    /// Opens the catalog in `data_dir`, begins to watch and compare the libraries' folders, and
    /// to publish. The folders must exist and not lie in each other.
    ///
    /// # Errors
    /// When the catalog can't be opened (another watcher may have it).
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
        let file = data_dir.join("catalog.sqlite");
        let catalog = Catalog::open(&file)?;
        let inbox = Arc::new(Inbox::new(settings.max_hints));
        let outbox_filled = Arc::new(Notify::new());
        let (show, shown) = watch::channel(PublishedStatus::new());
        let holder = lease_holder(catalog.catalog_id()?, &file);
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
        let around = tasks::WatcherTasks {
            bus: bus.clone(),
            inbox: inbox.clone(),
            shutdown: leave.clone(),
            settings: settings.clone(),
            lease_valid_until: Arc::new(Mutex::new(Instant::now())),
        };
        let keeper = std::thread::Builder::new()
            .name("watcher keeper".into())
            .spawn(move || keeper.run())
            .map_err(Error::Thread)?;
        tasks.spawn(around.clone().relay_outbox(outbox_filled));
        tasks.spawn(around.clone().check_overdue_events());
        tasks.spawn(around.clone().publish_status(shown.clone()));
        for (index, (library, _)) in libraries.into_iter().enumerate() {
            tasks.spawn(
                around
                    .clone()
                    .hold_lease_forever(index, library, holder.clone()),
            );
        }
        tasks.close();
        Ok(Self {
            inbox,
            keeper_thread: keeper,
            tasks,
            shutdown: leave,
            published: shown,
        })
    }

    /// Waits until the keeper's thread has ended by itself, which it never should.
    pub async fn wait_for_failure(&self) {
        // The thread owns the sender.
        let mut shown = self.published.clone();
        while shown.changed().await.is_ok() {}
    }

    /// What the libraries are like, now and at every change.
    pub fn subscribe_status(&self) -> watch::Receiver<PublishedStatus> {
        self.published.clone()
    }

    /// Finishes what is under way and closes the catalog.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the watcher's tasks do not end, leaving without them");
        }
        self.inbox.push_request(KeeperRequest::Stop);
        // The thread drops the sender at its end, whatever that is.
        let mut shown = self.published.clone();
        let ended = async { while shown.changed().await.is_ok() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!(
                "the watcher waits for a file system that does not answer, leaving without it"
            );
        } else if self.keeper_thread.join().is_err() {
            tracing::error!("the watcher's thread ended badly; the next start compares everything");
        }
    }
}

/// How long the watcher's tasks and its thread have to end, each.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What a catalog's leases are held by: the machine and the very file of the catalog, which no
/// other process can have open. A copy of it is another holder.
fn lease_holder(catalog: u32, file: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (device, inode) = std::fs::metadata(file).map_or((0, 0), |m| (m.dev(), m.ino()));
    format!("{}/{catalog:08x}/{device:x}/{inode:x}", machine.trim())
}
