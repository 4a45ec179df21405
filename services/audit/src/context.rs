//! State that all steps of an audit share.

use std::collections::HashSet;
use std::sync::Mutex;

use lookalike_index::Index;
use lookalike_proto::LibraryName;

use crate::settings::Settings;
use crate::watcher_client::WatcherClient;

/// Scope and steps of one audit.
#[derive(Debug, Clone, Default)]
pub struct AuditOptions {
    /// Audits only these libraries; if empty, every library with a watcher.
    pub libraries: Vec<LibraryName>,
    /// Repairs the differences found.
    pub repair: bool,
    /// Also reads and hashes every file whose folder is accessible on this machine.
    pub deep: bool,
    /// First requests the watchers to compare their folders with their catalogs.
    pub scan: bool,
}

/// Current step of an audit, for progress output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditStage {
    /// The watchers scan this many folders.
    Scanning(usize),
    /// Number of images compared so far, and the expected total.
    Comparing(u64, u64),
}

/// Connections and limits of an auditor, and its memory of earlier audits.
pub(crate) struct AuditContext {
    pub(crate) watchers: WatcherClient,
    pub(crate) index: Index,
    pub(crate) settings: Settings,
    /// Ids with duplicate rows that were resent. If an id still has duplicates in the next audit,
    /// its rows are deleted before it is resent.
    pub(crate) resent_duplicates: Mutex<HashSet<String>>,
}
