//! Libraries: the state of each one, and the steps that observe, scan and clean it.
//!
//! A [`Library`] changes only itself, the catalog and the queues of a [`Tick`]. Steps that concern
//! several libraries, such as moves between them, are methods of
//! [`Libraries`](libraries::Libraries).

mod folder_rules;
mod inspect;
pub mod libraries;
mod mass_delete_guard;
mod missing_files;
mod moves;
mod observe;
mod removals;
mod requests;
mod root;
mod root_check;
mod scan_folder;
mod scan_run;
mod sidecars;
mod spelling;
mod status;
mod throughput;
mod unreadable;
mod unreadable_places;
mod watching;

mod file_history;
pub mod id;
pub mod rows;
pub mod scan_queue;
pub mod settling;
pub mod tick;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookalike_proto::LibraryName;
use rand::Rng as _;

use crate::catalog::{self, Catalog, LibraryKey};
use crate::ignore_files::{IgnoreFileCache, IgnoreRules};
use crate::inbox::Inbox;
use crate::lease::state::LeaseState;
use crate::notify::polling::WatchSchedule;
use crate::notify::watch_table::WatchBudget;
use crate::settings::Settings;
use id::LibraryId;
use mass_delete_guard::MassDeleteGuard;
use root::LibraryRoot;
use throughput::Throughput;
use tick::Tick;
use unreadable_places::UnreadablePlaces;

type Result<T> = std::result::Result<T, catalog::Error>;

/// One library, as the keeper sees it.
pub struct Library {
    pub id: LibraryId,
    pub name: LibraryName,
    pub key: LibraryKey,
    pub root: LibraryRoot,
    /// Another library that the root's links lead to now, or into, or above which they lead.
    overlapping: Option<LibraryName>,
    pub lease_state: LeaseState,
    /// When the library was activated, in nanoseconds since 1970.
    pub active_since_ns: i64,
    /// Why the index may lag behind the folder: by reason, a detail and since when (nanoseconds).
    degraded: BTreeMap<&'static str, (String, i64)>,
    /// A full scan ended, also one that found no root, since the library was activated.
    pub scanned_once: bool,
    /// A full scan compared everything since the library was activated and its root was present.
    pub is_fully_scanned: bool,
    /// The places that the system does not let the watcher read.
    pub unreadable: UnreadablePlaces,
    /// The entries of a folder could not all be listed since the last full scan began.
    missed_entries: bool,
    /// How many paths were observed, besides those that a scan found unchanged.
    observation_count: u64,
    next_rescan: Instant,
    pub throughput: Throughput,
    pub watch_schedule: WatchSchedule,
    pub mass_delete_guard: MassDeleteGuard,
    ignore_files: IgnoreFileCache,
    /// The last folder whose rules were computed in this tick, and the rules; `None`: the folder is
    /// not entered.
    folder_rules: Option<(Vec<u8>, Option<IgnoreRules>)>,
}

impl Library {
    /// Creates a library that does nothing until it is activated.
    pub fn new(
        id: LibraryId,
        name: LibraryName,
        root: &Path,
        catalog: &mut Catalog,
        inbox: &Arc<Inbox>,
        budget: &Arc<WatchBudget>,
        settings: &Settings,
    ) -> Result<Self> {
        let key = catalog.library_key(&name)?;
        let mut root = LibraryRoot::new(root);
        // A path whose links cannot be resolved now is no other root. Links that lead to another
        // folder than before are verified first: they may lead to an empty mount point.
        let is_linked = root.path() != root.given_path();
        if root.path().exists() && !(is_linked && catalog.root_path(key)?.is_some()) {
            record_root_path(&name, key, &root, catalog)?;
        }
        root.identity = catalog.library_record(key)?.root_identity;
        let now = Instant::now();
        Ok(Self {
            id,
            name,
            key,
            lease_state: LeaseState::Unknown,
            active_since_ns: 0,
            degraded: BTreeMap::new(),
            scanned_once: false,
            is_fully_scanned: false,
            unreadable: UnreadablePlaces::new(now),
            missed_entries: false,
            observation_count: 0,
            next_rescan: now + settings.rescan_interval,
            throughput: Throughput::default(),
            watch_schedule: WatchSchedule::new(id, root.path(), inbox, budget, now),
            root,
            overlapping: None,
            mass_delete_guard: MassDeleteGuard::default(),
            ignore_files: IgnoreFileCache::default(),
            folder_rules: None,
        })
    }

    /// Whether this watcher works on the library now.
    pub fn is_active(&self) -> bool {
        self.lease_state == LeaseState::Active
    }

    /// Whether another watcher holds the library, as far as is known.
    pub fn is_standby(&self) -> bool {
        self.lease_state == LeaseState::Standby
    }

    pub fn full_path(&self, path: &[u8]) -> PathBuf {
        self.root.full_path(path)
    }

    /// Drops what is cached for one tick.
    pub fn clear_tick_caches(&mut self) {
        self.root.clear_verified_folder();
        self.folder_rules = None;
    }

    /// When the next full scan is planned because of its interval.
    pub fn next_rescan(&self) -> Instant {
        self.next_rescan
    }

    /// Plans a full scan if the library is active and none is planned.
    pub fn plan_full_scan(&mut self, reason: &str, tick: &mut Tick<'_>) {
        let interval = self.rescan_interval(tick.settings);
        // Jitter: many libraries must not be scanned at the same time.
        let jitter = rand::thread_rng().gen_range(0.8..1.2);
        self.next_rescan = tick.now.mono + interval.mul_f64(jitter);
        if self.is_active() && tick.scans.plan_full_scan(self.id, tick.now) {
            tracing::debug!(library = %self.name, reason, "scanning the library");
        }
    }

    /// The interval between full scans: short if nothing else would notice a change.
    fn rescan_interval(&self, settings: &Settings) -> Duration {
        let needs_polling =
            |reason: &&'static str| matches!(*reason, "watch_polled" | "root_missing");
        if self.degraded.keys().any(needs_polling) {
            settings.poll_interval
        } else {
            settings.rescan_interval
        }
    }
}

/// Stores where the root is. A root at another path is another folder that a user chose.
fn record_root_path(
    library: &LibraryName,
    key: LibraryKey,
    root: &LibraryRoot,
    catalog: &mut Catalog,
) -> Result<()> {
    if catalog.set_root_path(key, root.path())? {
        let root = root.path().display();
        tracing::info!(%library, %root, "the library has another root folder now");
    }
    Ok(())
}
