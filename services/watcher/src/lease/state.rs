//! The state of a library's lease, as this watcher sees it.

/// Role of this watcher for one library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Which watcher holds the lease is not known yet.
    Unknown,
    /// Another watcher holds the lease.
    Standby,
    /// This watcher holds the lease, and imports rows of the index.
    Recovering,
    /// This watcher holds the lease, and works on the library.
    Active,
}
