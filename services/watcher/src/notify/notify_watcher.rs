//! The system's reports of changes, as hints. The only user of notify.
//!
//! The callback never blocks and never reads the disk: it classifies reports and passes them to the
//! keeper. The keeper makes up by scanning for what notify is known to lose: files in a folder that
//! was just created, and everything after an overflow.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::watch_error::WatchError;
use crate::hint::{Hint, HintKind};
use crate::inbox::Inbox;
use crate::library::id::LibraryId;

/// Whether each folder needs its own watch, as with inotify. Elsewhere the root's watch covers
/// everything below it.
pub const WATCHES_SINGLE_FOLDERS: bool = cfg!(target_os = "linux");

/// The system's watches of one library's folders. Dropping it ends them.
pub struct SystemWatcher {
    root: PathBuf,
    watcher: RecommendedWatcher,
}

impl SystemWatcher {
    /// Creates a watcher of no folders. Its hints name paths below `root`.
    pub fn new(library: LibraryId, root: &Path, inbox: &Arc<Inbox>) -> Result<Self, WatchError> {
        let (inbox, below) = (inbox.clone(), root.to_owned());
        let on_event = move |event: notify::Result<Event>| match event {
            Ok(event) => send_hints(library, &below, &event, &inbox),
            Err(error) => {
                tracing::warn!(%error, "the system failed to report changes; scanning the library");
                inbox.report_overflow(library);
            }
        };
        // The targets of links are indexed at their own paths.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher =
            RecommendedWatcher::new(on_event, config).map_err(|error| match &error.kind {
                // From `inotify_init`, which needs a descriptor, too.
                ErrorKind::Io(source) if source.raw_os_error() == Some(libc::EMFILE) => {
                    WatchError::InstanceLimit
                }
                _ => classify_error(error),
            })?;
        Ok(Self {
            root: root.to_owned(),
            watcher,
        })
    }

    /// Watches a folder, and everything below it unless [`WATCHES_SINGLE_FOLDERS`].
    pub fn add_folder(&mut self, path: &[u8]) -> Result<(), WatchError> {
        let mode = match WATCHES_SINGLE_FOLDERS {
            true => RecursiveMode::NonRecursive,
            false => RecursiveMode::Recursive,
        };
        let watched = self.watcher.watch(&self.full_path(path), mode);
        watched.map_err(classify_error)
    }

    /// Ends the watch of a folder. A missing watch is no error: the system ends the watches of
    /// deleted folders.
    pub fn remove_folder(&mut self, path: &[u8]) {
        let full_path = self.full_path(path);
        let _ = self.watcher.unwatch(&full_path);
    }

    fn full_path(&self, path: &[u8]) -> PathBuf {
        match path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(OsStr::from_bytes(path)),
        }
    }
}

fn classify_error(error: notify::Error) -> WatchError {
    match &error.kind {
        ErrorKind::MaxFilesWatch => WatchError::SystemLimit,
        ErrorKind::PathNotFound => WatchError::NoAccess,
        ErrorKind::Io(source) => WatchError::from_access_error(source, error.to_string()),
        _ => WatchError::Refused(error.to_string()),
    }
}

fn send_hints(library: LibraryId, root: &Path, event: &Event, inbox: &Inbox) {
    if event.need_rescan() {
        inbox.report_overflow(library);
        return;
    }
    let kind = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => HintKind::Ready,
        // The watch of a moved folder itself reports the move without a tracker.
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) if event.tracker().is_none() => {
            HintKind::MovedItself
        }
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            HintKind::Gone
        }
        // Both halves are also reported on their own, as From and To.
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
