//! What the keeper does so that changes are reported: each folder is watched right before it is
//! listed, what can't be watched is compared often, and so is what may change unseen. And which
//! folders are entered at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::FolderIdentity;
use crate::ignore_files::IgnoreRules;
use crate::inbox::Inbox;
use crate::keeper::{Keeper, Now};
use crate::library::observe::split_path;
use crate::library::scan_queue::{Scan, ScanScope};
use crate::metrics;
use crate::notify::filesystem;
use crate::notify::watch_table::{WatchBudget, WatchShortage, WatchTable};
use crate::rules;

/// How often it is looked whether the root still is the folder that it was: nothing tells when
/// something is mounted over it.
const ROOT_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a watch is trusted. Of one that ended with an unmounting nothing tells, and the same
/// folder may be mounted again.
const WATCH_RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);

/// Of one library.
pub(crate) struct WatchSchedule {
    pub(crate) watches: WatchTable,
    next_poll: Instant,
    next_renewal: Instant,
    /// The root folder when it was last looked at, which happens again then.
    last_root: Option<Option<FolderIdentity>>,
    next_root_check: Instant,
    /// File systems that may change unseen, and a folder that lies on each.
    unreported_filesystems: BTreeMap<&'static str, Vec<u8>>,
    /// What was said of folders that are not watched.
    reported_shortage: Option<(usize, WatchShortage)>,
}

impl WatchSchedule {
    pub(crate) fn new(
        library: usize,
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
}

impl Keeper {
    /// Watches a folder that is about to be listed, and notes what file system it lies on.
    pub(crate) fn watch_folder(&mut self, scan: &mut Scan, path: &[u8], now: Now) {
        let full = self.full_path(scan.library, path);
        let Some(there) = FolderIdentity::from_path(&full) else {
            return; // Listing it will tell.
        };
        let retry = self.settings.poll_interval / 2;
        let watching = &mut self.libraries[scan.library].watch_schedule;
        watching.watches.add_watch(path, there, now.mono, retry);
        let system = scan
            .filesystems_by_device
            .entry(there.device)
            .or_insert_with(|| filesystem::unreported_filesystem(&full).ok().flatten());
        if let Some(system) = *system
            && !scan.unreported_filesystems.contains_key(system)
        {
            scan.unreported_filesystems.insert(system, path.to_vec());
            if !watching.unreported_filesystems.contains_key(system) {
                watching
                    .unreported_filesystems
                    .insert(system, path.to_vec());
                self.report_unreported_filesystems(scan.library, now);
            }
        }
    }

    pub(crate) fn report_unreported_filesystems(&mut self, library: usize, now: Now) {
        let mut places = Vec::new();
        for (system, path) in &self.libraries[library]
            .watch_schedule
            .unreported_filesystems
        {
            places.push(match String::from_utf8_lossy(path) {
                path if path.is_empty() => format!("The library lies on {system}"),
                path => format!("{path} lies on {system}"),
            });
        }
        if places.is_empty() {
            return self.clear_degraded(library, "watch_polled");
        }
        let detail = format!(
            "{}, where not all changes are reported; the library is compared every \
             watch.poll_interval.",
            places.join(", ")
        );
        self.set_degraded(library, "watch_polled", detail, now);
    }

    /// The whole library was compared: what was not met is not there.
    pub(crate) fn end_watch_round(&mut self, scan: &mut Scan, now: Now) {
        let watching = &mut self.libraries[scan.library].watch_schedule;
        watching.watches.end_round(scan.watch_round);
        watching.unreported_filesystems = std::mem::take(&mut scan.unreported_filesystems);
        self.report_unreported_filesystems(scan.library, now);
    }

    /// Whether a scan of folders without a watch leaves out a folder that it met: that one
    /// reports by itself, or has no watch either and is one of those to be compared.
    pub(crate) fn is_polled_separately(&self, scan: &Scan, path: &[u8]) -> bool {
        scan.scope == ScanScope::Unwatched
            && self.libraries[scan.library]
                .watch_schedule
                .watches
                .has_folder(path)
    }

    /// What has to be done every now and then.
    pub(crate) fn maintain_watches(&mut self, now: Now) {
        for library in 0..self.libraries.len() {
            if !self.is_active(library) {
                continue;
            }
            let held = &mut self.libraries[library];
            let watching = &mut held.watch_schedule;
            if watching.next_root_check <= now.mono {
                watching.next_root_check = now.mono + ROOT_CHECK_INTERVAL;
                let there = FolderIdentity::from_path(&held.root);
                if watching
                    .last_root
                    .replace(there)
                    .is_some_and(|seen| seen != there)
                {
                    self.plan_full_scan(library, "the root folder is another one", now);
                }
            }
            let watching = &mut self.libraries[library].watch_schedule;
            if watching.next_renewal <= now.mono {
                watching.next_renewal = now.mono + WATCH_RENEWAL_INTERVAL;
                watching.watches.mark_stale(b"");
            }
            if watching.watches.has_unwatched() && watching.next_poll <= now.mono {
                watching.next_poll = now.mono + self.settings.poll_interval;
                self.scans.plan_unwatched_scan(library, now);
            }
            self.report_watch_shortage(library, now);
        }
    }

    pub(crate) fn report_watch_shortage(&mut self, library: usize, now: Now) {
        let held = &mut self.libraries[library];
        let (name, watching) = ([held.name.as_str()], &mut held.watch_schedule);
        let lacking = watching.watches.watch_shortage();
        let lacking = lacking.map(|(folders, lack)| (folders, lack.clone()));
        let count = |folders: usize| i64::try_from(folders).unwrap_or(i64::MAX);
        let (watched, unwatched) = watching.watches.folder_counts();
        metrics::WATCHED_FOLDERS
            .with_label_values(&name)
            .set(count(watched));
        metrics::UNWATCHED_FOLDERS
            .with_label_values(&name)
            .set(count(unwatched));
        if lacking == watching.reported_shortage {
            return;
        }
        watching.reported_shortage.clone_from(&lacking);
        let (reason, detail) = match lacking {
            None => {
                self.clear_degraded(library, "watch_limit");
                return self.clear_degraded(library, "watch_failed");
            }
            Some((folders, lack)) => describe_shortage(folders, &lack),
        };
        let other = match reason {
            "watch_limit" => "watch_failed",
            _ => "watch_limit",
        };
        self.clear_degraded(library, other);
        self.set_degraded(library, reason, detail, now);
    }

    /// The rules that hold in a folder, or `None` if it is not entered: it, or one above it, is
    /// hidden or ignored. Asked of the disk once a turn.
    pub(crate) fn rules_if_entered(
        &mut self,
        library: usize,
        folder: &[u8],
        now: Now,
    ) -> Option<IgnoreRules> {
        if let Some((held, entered, rules)) = &self.folder_rules
            && (*held, &entered[..]) == (library, folder)
        {
            return rules.clone();
        }
        let rules = self.compute_folder_rules(library, folder, now);
        self.folder_rules = Some((library, folder.to_vec(), rules.clone()));
        rules
    }

    pub(crate) fn compute_folder_rules(
        &mut self,
        library: usize,
        folder: &[u8],
        now: Now,
    ) -> Option<IgnoreRules> {
        let mut rules = self.read_folder_rules(library, b"", &IgnoreRules::default(), false, now);
        if folder.is_empty() {
            return Some(rules);
        }
        for end in 1..=folder.len() {
            if end < folder.len() && folder[end] != b'/' {
                continue;
            }
            let path = &folder[..end];
            if !rules::is_entered_folder(split_path(path).1)
                || rules.find_ignoring_rule(path, true).is_some()
            {
                return None;
            }
            rules = self.read_folder_rules(library, path, &rules, false, now);
        }
        Some(rules)
    }

    /// The rules that hold in a folder, given those of the folder above. Where its own file has
    /// changed, all below is compared, unless that is `under_way`.
    pub(crate) fn read_folder_rules(
        &mut self,
        library: usize,
        folder: &[u8],
        above: &IgnoreRules,
        under_way: bool,
        now: Now,
    ) -> IgnoreRules {
        let root = &self.libraries[library].root;
        let (rules, changed, read) = self
            .ignore_files
            .rules_for_folder(library, root, folder, above);
        if let Err(error) = read {
            self.report_unreadable(
                library,
                &crate::catalog::join_path(folder, crate::ignore_files::IGNORE_FILE_NAME),
                &error,
                now,
            );
        }
        if changed && !under_way {
            self.plan_scan_below(library, folder, now);
        }
        rules
    }

    /// Compares all at and below a folder: the rules that hold there have changed.
    pub(crate) fn plan_scan_below(&mut self, library: usize, folder: &[u8], now: Now) {
        self.folder_rules = None;
        if folder.is_empty() {
            self.plan_full_scan(library, "ignore rules changed", now);
        } else {
            self.scans
                .plan_folder_scan(library, folder, self.settings.settle, now);
        }
    }
}

fn describe_shortage(folders: usize, lack: &WatchShortage) -> (&'static str, String) {
    let these = if folders == 1 {
        "1 folder is".to_owned()
    } else {
        format!("{folders} folders are")
    };
    let instead = "compared every watch.poll_interval instead";
    match lack {
        WatchShortage::Budget => (
            "watch_limit",
            format!(
                "{these} not watched but {instead}, because watch.max_watches allows no more; raise it, or set it to 0."
            ),
        ),
        WatchShortage::SystemLimit => (
            "watch_limit",
            format!(
                "{these} not watched but {instead}, because the system allows no more watches; \
                 raise its limit, for example by `sysctl fs.inotify.max_user_watches=1048576`."
            ),
        ),
        WatchShortage::Refused(said) => (
            "watch_failed",
            format!(
                "{these} not watched but {instead}, because the system can't report changes ({said})."
            ),
        ),
    }
}
