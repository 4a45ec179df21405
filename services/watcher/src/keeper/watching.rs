//! What the keeper does so that changes are reported: each folder is watched right before it is
//! listed, what can't be watched is compared often, and so is what may change unseen. And which
//! folders are entered at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::observe::split;
use super::scans::{Extent, Scan};
use super::{Keeper, Now};
use crate::disk::Identity;
use crate::filesystem;
use crate::ignore_files::Rules;
use crate::inbox::Inbox;
use crate::metrics;
use crate::rules;
use crate::watches::{Budget, Lack, Watches};

/// How often it is looked whether the root still is the folder that it was: nothing tells when
/// something is mounted over it.
const LOOK_AT_ROOT: Duration = Duration::from_secs(5);

/// How long a watch is trusted. Of one that ended with an unmounting nothing tells, and the same
/// folder may be mounted again.
const ARM_ANEW: Duration = Duration::from_secs(3600);

/// Of one library.
pub(super) struct Watching {
    pub(super) watches: Watches,
    next_poll: Instant,
    next_doubt: Instant,
    /// The root folder when it was last looked at, which happens again then.
    root: Option<Option<Identity>>,
    next_look: Instant,
    /// File systems that may change unseen, and a folder that lies on each.
    unseen_systems: BTreeMap<&'static str, Vec<u8>>,
    /// What was said of folders that are not watched.
    told: Option<(usize, Lack)>,
}

impl Watching {
    pub(super) fn new(
        library: usize,
        root: &Path,
        inbox: &Arc<Inbox>,
        budget: &Arc<Budget>,
        now: Instant,
    ) -> Self {
        Self {
            watches: Watches::new(library, root, inbox.clone(), budget.clone()),
            next_poll: now,
            next_doubt: now + ARM_ANEW,
            root: None,
            next_look: now,
            unseen_systems: BTreeMap::new(),
            told: None,
        }
    }
}

impl Keeper {
    /// Watches a folder that is about to be listed, and notes what file system it lies on.
    pub(super) fn watch_folder(&mut self, scan: &mut Scan, path: &[u8], now: Now) {
        let full = self.full_path(scan.library, path);
        let Some(there) = Identity::of(&full) else {
            return; // Listing it will tell.
        };
        let retry = self.settings.poll_interval / 2;
        let watching = &mut self.libraries[scan.library].watching;
        watching.watches.arm(path, there, now.mono, retry);
        let system = scan
            .devices
            .entry(there.device)
            .or_insert_with(|| filesystem::unseen(&full).ok().flatten());
        if let Some(system) = *system
            && !scan.unseen_systems.contains_key(system)
        {
            scan.unseen_systems.insert(system, path.to_vec());
            if !watching.unseen_systems.contains_key(system) {
                watching.unseen_systems.insert(system, path.to_vec());
                self.tell_unseen_systems(scan.library, now);
            }
        }
    }

    fn tell_unseen_systems(&mut self, library: usize, now: Now) {
        let mut places = Vec::new();
        for (system, path) in &self.libraries[library].watching.unseen_systems {
            places.push(match String::from_utf8_lossy(path) {
                path if path.is_empty() => format!("The library lies on {system}"),
                path => format!("{path} lies on {system}"),
            });
        }
        if places.is_empty() {
            return self.recover(library, "watch_polled");
        }
        let detail = format!(
            "{}, where not all changes are reported; the library is compared every \
             watch.poll_interval.",
            places.join(", ")
        );
        self.degrade(library, "watch_polled", detail, now);
    }

    /// The whole library was compared: what was not met is not there.
    pub(super) fn end_round(&mut self, scan: &mut Scan, now: Now) {
        let watching = &mut self.libraries[scan.library].watching;
        watching.watches.end_round(scan.round);
        watching.unseen_systems = std::mem::take(&mut scan.unseen_systems);
        self.tell_unseen_systems(scan.library, now);
    }

    /// Whether a scan of folders without a watch leaves out a folder that it met: that one
    /// reports by itself, or has no watch either and is one of those to be compared.
    pub(super) fn is_polled_by_itself(&self, scan: &Scan, path: &[u8]) -> bool {
        scan.extent == Extent::Unwatched
            && self.libraries[scan.library].watching.watches.knows(path)
    }

    /// What has to be done every now and then.
    pub(super) fn look_after_watches(&mut self, now: Now) {
        for library in 0..self.libraries.len() {
            if !self.is_active(library) {
                continue;
            }
            let held = &mut self.libraries[library];
            let watching = &mut held.watching;
            if watching.next_look <= now.mono {
                watching.next_look = now.mono + LOOK_AT_ROOT;
                let there = Identity::of(&held.root);
                if watching
                    .root
                    .replace(there)
                    .is_some_and(|seen| seen != there)
                {
                    self.plan_whole_scan(library, "the root folder is another one", now);
                }
            }
            let watching = &mut self.libraries[library].watching;
            if watching.next_doubt <= now.mono {
                watching.next_doubt = now.mono + ARM_ANEW;
                watching.watches.doubt(b"");
            }
            if watching.watches.are_lacking() && watching.next_poll <= now.mono {
                watching.next_poll = now.mono + self.settings.poll_interval;
                self.scans.plan_unwatched(library, now);
            }
            self.tell_lacking(library, now);
        }
    }

    fn tell_lacking(&mut self, library: usize, now: Now) {
        let held = &mut self.libraries[library];
        let (name, watching) = ([held.name.as_str()], &mut held.watching);
        let lacking = watching.watches.lacking();
        let lacking = lacking.map(|(folders, lack)| (folders, lack.clone()));
        let count = |folders: usize| i64::try_from(folders).unwrap_or(i64::MAX);
        let (watched, unwatched) = watching.watches.counts();
        metrics::WATCHED_FOLDERS
            .with_label_values(&name)
            .set(count(watched));
        metrics::UNWATCHED_FOLDERS
            .with_label_values(&name)
            .set(count(unwatched));
        if lacking == watching.told {
            return;
        }
        watching.told.clone_from(&lacking);
        let (reason, detail) = match lacking {
            None => {
                self.recover(library, "watch_limit");
                return self.recover(library, "watch_failed");
            }
            Some((folders, lack)) => lack_told(folders, &lack),
        };
        let other = match reason {
            "watch_limit" => "watch_failed",
            _ => "watch_limit",
        };
        self.recover(library, other);
        self.degrade(library, reason, detail, now);
    }

    /// The rules that hold in a folder, or `None` if it is not entered: it, or one above it, is
    /// hidden or ignored. Asked of the disk once a turn.
    pub(super) fn enters(&mut self, library: usize, folder: &[u8], now: Now) -> Option<Rules> {
        if let Some((held, entered, rules)) = &self.entered
            && (*held, &entered[..]) == (library, folder)
        {
            return rules.clone();
        }
        let rules = self.rules_down_to(library, folder, now);
        self.entered = Some((library, folder.to_vec(), rules.clone()));
        rules
    }

    fn rules_down_to(&mut self, library: usize, folder: &[u8], now: Now) -> Option<Rules> {
        let mut rules = self.rules_in(library, b"", &Rules::default(), false, now);
        if folder.is_empty() {
            return Some(rules);
        }
        for end in 1..=folder.len() {
            if end < folder.len() && folder[end] != b'/' {
                continue;
            }
            let path = &folder[..end];
            if !rules::enters(split(path).1) || rules.ignores(path, true).is_some() {
                return None;
            }
            rules = self.rules_in(library, path, &rules, false, now);
        }
        Some(rules)
    }

    /// The rules that hold in a folder, given those of the folder above. Where its own file has
    /// changed, all below is compared, unless that is `under_way`.
    pub(super) fn rules_in(
        &mut self,
        library: usize,
        folder: &[u8],
        above: &Rules,
        under_way: bool,
        now: Now,
    ) -> Rules {
        let root = &self.libraries[library].root;
        let (rules, changed, read) = self.ignore_files.enter(library, root, folder, above);
        if let Err(error) = read {
            self.unreadable(
                library,
                &crate::catalog::join(folder, crate::ignore_files::NAME),
                &error,
                now,
            );
        }
        if changed && !under_way {
            self.compare_below(library, folder, now);
        }
        rules
    }

    /// Compares all at and below a folder: the rules that hold there have changed.
    pub(super) fn compare_below(&mut self, library: usize, folder: &[u8], now: Now) {
        self.entered = None;
        if folder.is_empty() {
            self.plan_whole_scan(library, "ignore rules changed", now);
        } else {
            self.scans
                .plan_folder(library, folder, self.settings.settle, now);
        }
    }
}

fn lack_told(folders: usize, lack: &Lack) -> (&'static str, String) {
    let these = if folders == 1 {
        "1 folder is".to_owned()
    } else {
        format!("{folders} folders are")
    };
    let instead = "compared every watch.poll_interval instead";
    match lack {
        Lack::Budget => (
            "watch_limit",
            format!(
                "{these} not watched but {instead}, because watch.max_watches allows no more; raise it, or set it to 0."
            ),
        ),
        Lack::Limit => (
            "watch_limit",
            format!(
                "{these} not watched but {instead}, because the system allows no more watches; \
                 raise its limit, for example by `sysctl fs.inotify.max_user_watches=1048576`."
            ),
        ),
        Lack::Refused(said) => (
            "watch_failed",
            format!(
                "{these} not watched but {instead}, because the system can't report changes ({said})."
            ),
        ),
    }
}
