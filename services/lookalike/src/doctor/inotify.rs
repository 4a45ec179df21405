//! The limits of inotify: watched folders and instances of this account.

use super::finding::{Finding, count_of};
use super::installation::Installation;
use super::processes::{count_inotify, is_own_process, process_ids};

/// Each of these limits holds; the second one is that of the user namespace.
const WATCH_LIMITS: [&str; 2] = [
    "/proc/sys/fs/inotify/max_user_watches",
    "/proc/sys/user/max_inotify_watches",
];
const INSTANCE_LIMITS: [&str; 2] = [
    "/proc/sys/fs/inotify/max_user_instances",
    "/proc/sys/user/max_inotify_instances",
];

/// What this account uses of inotify.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct InotifyUsage {
    instances: u64,
    watches: u64,
    /// Of the running lookalike, whose watches are not needed twice.
    own_watches: u64,
}

/// `folders`: how many folders lookalike watches.
pub(super) fn check_inotify(installation: &Installation, folders: u64) -> Vec<Finding> {
    let (Some(max_watches), Some(max_instances)) =
        (read_limit(WATCH_LIMITS), read_limit(INSTANCE_LIMITS))
    else {
        return vec![Finding::ok("inotify", "this system does not use inotify")];
    };
    let own_pid = installation.running.as_ref().map(|running| running.pid);
    let mut usage = InotifyUsage::default();
    for pid in process_ids().into_iter().filter(|pid| is_own_process(*pid)) {
        let (instances, watches) = count_inotify(pid);
        usage.instances += instances;
        usage.watches += watches;
        if Some(pid) == own_pid {
            usage.own_watches += watches;
        }
    }
    vec![
        judge_watches(usage, folders, max_watches),
        judge_instances(usage, own_pid.is_some(), max_instances),
    ]
}

fn read_limit(files: [&str; 2]) -> Option<u64> {
    let limits = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.min()
}

fn judge_watches(usage: InotifyUsage, folders: u64, limit: u64) -> Finding {
    const CHECK: &str = "inotify";
    let others = usage.watches.saturating_sub(usage.own_watches);
    let needed = others + folders;
    let message = format!(
        "{} to watch; this account uses {} of {limit} watches",
        count_of(folders, "folder"),
        usage.watches
    );
    let raised = (needed * 2).next_power_of_two().max(1 << 20);
    let remedy = format!("sudo sysctl -w fs.inotify.max_user_watches={raised}");
    if needed > limit {
        let message = format!(
            "{message}: {} will only be polled",
            count_of((needed - limit).min(folders), "folder")
        );
        return Finding::failure(CHECK, message, remedy);
    }
    if needed.saturating_mul(10) > limit.saturating_mul(9) {
        return Finding::warning(CHECK, message, remedy);
    }
    Finding::ok(CHECK, message)
}

fn judge_instances(usage: InotifyUsage, is_running: bool, limit: u64) -> Finding {
    const CHECK: &str = "inotify";
    let message = format!(
        "this account uses {} of {limit} inotify instances",
        usage.instances
    );
    let raised = (limit * 2).max(1024);
    let remedy = format!("sudo sysctl -w fs.inotify.max_user_instances={raised}");
    match usage.instances {
        used if used >= limit && !is_running => Finding::failure(CHECK, message, remedy),
        used if used + 2 > limit => Finding::warning(CHECK, message, remedy),
        _ => Finding::ok(CHECK, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingStatus;

    #[test]
    fn own_watches_are_needed_once() {
        let usage = InotifyUsage {
            instances: 3,
            watches: 1000,
            own_watches: 900,
        };
        let judge = |folders, limit| judge_watches(usage, folders, limit);
        assert_eq!(judge(900, 8192).status, FindingStatus::Ok);
        assert_eq!(judge(900, 1000).status, FindingStatus::Warning);
        let failure = judge(1000, 1024);
        assert_eq!(failure.status, FindingStatus::Failure);
        assert!(failure.message.ends_with("76 folders will only be polled"));
        let remedy = failure.remedy.unwrap();
        assert_eq!(remedy, "sudo sysctl -w fs.inotify.max_user_watches=1048576");
    }

    #[test]
    fn the_last_instances_are_a_warning() {
        let judge = |instances, is_running| {
            let usage = InotifyUsage {
                instances,
                ..InotifyUsage::default()
            };
            judge_instances(usage, is_running, 128).status
        };
        assert_eq!(judge(3, false), FindingStatus::Ok);
        assert_eq!(judge(127, false), FindingStatus::Warning);
        assert_eq!(judge(128, false), FindingStatus::Failure);
        assert_eq!(judge(128, true), FindingStatus::Warning);
    }
}
