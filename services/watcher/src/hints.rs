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
pub const FOLDER_BY_FOLDER: bool = cfg!(target_os = "linux");

/// The running watches of one library's folders; dropping it ends them.
pub struct Watch {
    watcher: RecommendedWatcher,
}

/// Why a folder is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The system allows no more watches.
    Limit,
    /// No folder lies there (any more).
    Gone,
    /// What the system says.
    Other(String),
}

impl Watch {
    /// Watches nothing yet. Hints will name paths below `root`.
    ///
    /// # Errors
    /// When the system can't report changes, or to no more programs.
    pub fn new(library: usize, root: &Path, inbox: &Arc<Inbox>) -> Result<Self, Refusal> {
        let (inbox, below) = (inbox.clone(), root.to_owned());
        let sort = move |event: notify::Result<Event>| match event {
            Ok(event) => sort(library, &below, &event, &inbox),
            Err(error) => {
                tracing::warn!(%error, "the system's reports of changes failed, comparing the folder");
                inbox.overflow(library);
            }
        };
        // What links lead to is indexed where it lies.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(sort, config).map_err(refusal)?;
        Ok(Self { watcher })
    }

    /// Watches a folder (not what lies in the folders below it, where that is possible).
    ///
    /// # Errors
    /// When the system can't.
    pub fn add(&mut self, folder: &Path) -> Result<(), Refusal> {
        let mode = if FOLDER_BY_FOLDER {
            RecursiveMode::NonRecursive
        } else {
            RecursiveMode::Recursive
        };
        self.watcher.watch(folder, mode).map_err(refusal)
    }

    /// Watches a folder no more. One that was not watched is no fault: the system ends watches
    /// of folders that go.
    pub fn remove(&mut self, folder: &Path) {
        let _ = self.watcher.unwatch(folder);
    }
}

fn refusal(error: notify::Error) -> Refusal {
    match &error.kind {
        ErrorKind::MaxFilesWatch => Refusal::Limit,
        ErrorKind::PathNotFound => Refusal::Gone,
        ErrorKind::Io(source) if crate::disk::is_gone(source) => Refusal::Gone,
        _ => Refusal::Other(error.to_string()),
    }
}
fn sort(library: usize, root: &Path, event: &Event, inbox: &Inbox) {
    if event.need_rescan() {
        inbox.overflow(library);
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
            inbox.hint(Hint {
                library,
                path,
                kind,
            });
        }
    }
}
