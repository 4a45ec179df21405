//! The roles that a process can run.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppRole {
    /// `up`: watcher, embedder and service, and the servers that are not given.
    All,
    Watcher,
    Embedder,
    Service,
}

impl AppRole {
    pub(super) fn has_watcher(self) -> bool {
        matches!(self, Self::All | Self::Watcher)
    }

    pub(super) fn has_service(self) -> bool {
        matches!(self, Self::All | Self::Service)
    }
}
