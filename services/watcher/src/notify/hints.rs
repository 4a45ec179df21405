//! The system's reports of changes, as hints. The only user of notify.
//!
//! The callback never blocks and never looks at the disk: it sorts, and leaves the rest to the
//! keeper. What notify is known to lose (files in a folder that was just made, anything after
//! an overflow) the keeper makes up for by scanning.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::inbox::{Hint, HintKind, Inbox};

/// Whether each folder is watched by itself. Elsewhere the root's watch reports all below it.
pub const WATCHES_SINGLE_FOLDERS: bool = cfg!(target_os = "linux");

/// The running watches of one library's folders; dropping it ends them.
pub struct NotifyWatcher {
    watcher: RecommendedWatcher,
}

/// Why a folder is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchError {
    /// The system allows no more watches.
    SystemLimit,
    /// No folder lies there (any more).
    NotFound,
    /// What the system says.
    Refused(String),
}

impl NotifyWatcher {
    /// Watches nothing yet. Hints will name paths below `root`.
    ///
    /// # Errors
    /// When the system can't report changes, or to no more programs.
    pub fn new(library: usize, root: &Path, inbox: &Arc<Inbox>) -> Result<Self, WatchError> {
        let (inbox, below) = (inbox.clone(), root.to_owned());
        let sort = move |event: notify::Result<Event>| match event {
            Ok(event) => send_hints(library, &below, &event, &inbox),
            Err(error) => {
                tracing::warn!(%error, "the system's reports of changes failed, comparing the folder");
                inbox.report_overflow(library);
            }
        };
        // What links lead to is indexed where it lies.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(sort, config).map_err(classify_error)?;
        Ok(Self { watcher })
    }

    /// Watches a folder (not what lies in the folders below it, where that is possible).
    ///
    /// # Errors
    /// When the system can't.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), WatchError> {
        let mode = if WATCHES_SINGLE_FOLDERS {
            RecursiveMode::NonRecursive
        } else {
            RecursiveMode::Recursive
        };
        self.watcher.watch(folder, mode).map_err(classify_error)
    }

    /// Watches a folder no more. One that was not watched is no fault: the system ends watches
    /// of folders that go.
    pub fn remove_folder(&mut self, folder: &Path) {
        let _ = self.watcher.unwatch(folder);
    }
}

fn classify_error(error: notify::Error) -> WatchError {
    match &error.kind {
        ErrorKind::MaxFilesWatch => WatchError::SystemLimit,
        ErrorKind::PathNotFound => WatchError::NotFound,
        ErrorKind::Io(source) if crate::disk::is_not_found(source) => WatchError::NotFound,
        _ => WatchError::Refused(error.to_string()),
    }
}
fn send_hints(library: usize, root: &Path, event: &Event, inbox: &Inbox) {
    if event.need_rescan() {
        inbox.report_overflow(library);
        return;
    }
    let kind = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => HintKind::Ready,
        // The watch of a folder that was moved says so with nothing to track it by.
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) if event.tracker().is_none() => {
            HintKind::MovedItself
        }
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            HintKind::Gone
        }
        // Its two halves are reported as From and To as well.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) | EventKind::Access(_) => return,
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {
            HintKind::Changed
        }
    };
    for path in &event.paths {
        if let Ok(below) = path.strip_prefix(root) {
            let path = below.as_os_str().as_bytes().to_vec();
            inbox.push_hint(Hint {
                library,
                path,
                kind,
            });
        }
    }
}
