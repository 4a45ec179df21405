//! What `/proc` reports of other processes: who listens on a port, and who watches folders.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A process, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessName {
    pub(super) pid: u32,
    pub(super) name: String,
}

impl std::fmt::Display for ProcessName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Returns the process that listens on a TCP port, if this account may see it.
pub(super) fn find_listener(port: u16) -> Option<ProcessName> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|i| format!("socket:[{i}]")).collect();
    process_ids().into_iter().find_map(|pid| {
        let holds = open_descriptors(pid).iter().any(|descriptor| {
            let target = fs::read_link(descriptor).unwrap_or_default();
            links.iter().any(|link| target.as_os_str() == link.as_str())
        });
        holds.then(|| ProcessName {
            pid,
            name: process_name(pid),
        })
    })
}

/// The inodes of the sockets that listen on `port`, in a table such as `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_listener = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
            is_listener.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

pub(super) fn process_ids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn open_descriptors(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => "a program".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns whether a process belongs to the account of this one. Limits of inotify are per account.
pub(super) fn is_own_process(pid: u32) -> bool {
    let owner = |path: String| fs::metadata(path).map(|metadata| metadata.uid()).ok();
    let own = owner("/proc/self".to_owned());
    own.is_some() && owner(format!("/proc/{pid}")) == own
}

/// Counts the inotify instances of a process, and their watches.
pub(super) fn count_inotify(pid: u32) -> (u64, u64) {
    let (mut instances, mut watches) = (0, 0);
    for descriptor in open_descriptors(pid) {
        let target = fs::read_link(&descriptor).unwrap_or_default();
        if target != Path::new("anon_inode:inotify") {
            continue;
        }
        instances += 1;
        let number = descriptor.file_name().unwrap_or_default().to_string_lossy();
        let information = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
        let information = information.unwrap_or_default();
        let lines = information
            .lines()
            .filter(|line| line.starts_with("inotify "));
        watches += lines.count() as u64;
    }
    (instances, watches)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let process = find_listener(port).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(!process.name.is_empty());
        drop(listener);
        // A child that another test has forked holds it until its program starts.
        let begun = std::time::Instant::now();
        while let Some(process) = find_listener(port) {
            assert!(begun.elapsed().as_secs() < 60, "{process:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n   \
             1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n   \
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(listening_inodes(table, 8080), ["111"]);
    }
}
