//! When a library's watches are renewed, its root is checked, and its unwatched folders are polled.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::watch_table::{UnwatchedReason, WatchBudget, WatchTable};
use crate::disk::FolderIdentity;
use crate::inbox::Inbox;
use crate::library::id::LibraryId;

/// How often the root's identity is checked, because nothing reports that another file system was
/// mounted over it.
const ROOT_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a watch is trusted. Nothing reports the end of a watch through unmounting, and the same
/// folder may be mounted again.
const WATCH_RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);

/// The watches of one library, and the times of their maintenance.
pub struct WatchSchedule {
    pub watches: WatchTable,
    next_poll: Instant,
    next_renewal: Instant,
    /// The root folder at the last check; `None` before the first.
    last_root: Option<Option<FolderIdentity>>,
    next_root_check: Instant,
    /// File systems that may change without reports, and a folder on each.
    pub unreported_filesystems: BTreeMap<&'static str, Vec<u8>>,
    /// The shortage of watches that was reported last.
    reported_shortage: Option<(usize, UnwatchedReason)>,
}

impl WatchSchedule {
    pub fn new(
        library: LibraryId,
        root: &Path,
        inbox: &Arc<Inbox>,
        budget: &Arc<WatchBudget>,
        now: Instant,
    ) -> Self {
        Self {
            watches: WatchTable::new(library, root, inbox.clone(), budget.clone()),
            next_poll: now,
            next_renewal: now + WATCH_RENEWAL_INTERVAL,
            last_root: None,
            next_root_check: now,
            unreported_filesystems: BTreeMap::new(),
            reported_shortage: None,
        }
    }

    /// Checks the root if that is due; true if another folder is there than at the last check.
    pub fn has_root_changed(&mut self, root: &Path, now: Instant) -> bool {
        if self.next_root_check > now {
            return false;
        }
        self.next_root_check = now + ROOT_CHECK_INTERVAL;
        let current = FolderIdentity::from_path(root);
        self.last_root
            .replace(current)
            .is_some_and(|last| last != current)
    }

    /// Marks all watches as stale if that is due.
    pub fn renew_watches(&mut self, now: Instant) {
        if self.next_renewal <= now {
            self.next_renewal = now + WATCH_RENEWAL_INTERVAL;
            self.watches.mark_stale(b"");
        }
    }

    /// Whether folders without a watch must be polled now.
    pub fn is_poll_due(&mut self, poll_interval: Duration, now: Instant) -> bool {
        let is_due = self.watches.has_unwatched() && self.next_poll <= now;
        if is_due {
            self.next_poll = now + poll_interval;
        }
        is_due
    }

    /// Returns the current shortage of watches if it differs from the last one returned.
    pub fn take_changed_shortage(&mut self) -> Option<Option<(usize, UnwatchedReason)>> {
        let shortage = self.watches.watch_shortage();
        let shortage = shortage.map(|(folders, shortage)| (folders, shortage.clone()));
        if shortage == self.reported_shortage {
            return None;
        }
        self.reported_shortage.clone_from(&shortage);
        Some(shortage)
    }
}

/// Returns the degraded reason and the detail of a shortage of watches.
pub fn describe_shortage(folders: usize, shortage: &UnwatchedReason) -> (&'static str, String) {
    let folders = if folders == 1 {
        "1 folder is".to_owned()
    } else {
        format!("{folders} folders are")
    };
    let instead = "compared every watch.poll_interval instead";
    match shortage {
        UnwatchedReason::Budget => (
            "watch_limit",
            format!(
                "{folders} not watched but {instead}, because watch.max_watches allows no more; \
                 raise it, or set it to 0."
            ),
        ),
        UnwatchedReason::SystemLimit => (
            "watch_limit",
            format!(
                "{folders} not watched but {instead}, because the system allows no more watches; \
                 raise its limit, for example by `sysctl fs.inotify.max_user_watches=1048576`."
            ),
        ),
        UnwatchedReason::InstanceLimit => (
            "watch_limit",
            format!(
                "{folders} not watched but {instead}, because other programs of this user use all \
                 inotify instances (or this process all file descriptors); raise the limit, for \
                 example by `sysctl fs.inotify.max_user_instances=1024`."
            ),
        ),
        UnwatchedReason::Refused(message) => (
            "watch_failed",
            format!(
                "{folders} not watched but {instead}, because the system cannot report changes \
                 ({message})."
            ),
        ),
    }
}
