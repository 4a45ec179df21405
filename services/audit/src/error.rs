//! Reasons for which an audit cannot be finished.

use lookalike_bus::Error as BusError;
use lookalike_index::Error as IndexError;
use lookalike_proto::LibraryName;

/// Why an audit did not finish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no watcher serves library {0}: is the watcher running, and is the name right? `lookalike status` lists all libraries"
    )]
    NotWatched(LibraryName),
    #[error("no watcher is running: start `lookalike up` or `lookalike watch`")]
    NothingWatched,
    #[error("cannot reach the watcher of library {library}: {source}")]
    Watcher {
        library: LibraryName,
        source: BusError,
    },
    #[error("the watcher of library {library} refuses: {reason}")]
    Refused {
        library: LibraryName,
        reason: String,
    },
    /// The watchers did not finish their scans within `audit.scan_timeout`.
    #[error(
        "the watcher of library {0} is still comparing its folder with its catalog: try again later, or raise audit.scan_timeout"
    )]
    ScanTimeout(LibraryName),
    #[error("cannot audit the index now: {0}")]
    Index(#[from] IndexError),
}
