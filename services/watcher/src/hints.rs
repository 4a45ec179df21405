//! The system's reports of changes, as hints. The only user of notify.
//!
//! The callback never blocks and never looks at the disk: it sorts, and leaves the rest to the
//! keeper. What notify is known to lose (files in a folder that was just made, anything after
//! an overflow) the keeper makes up for by scanning.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::inbox::{Hint, HintKind, Inbox, Note};

/// A running watch of one library's folder; dropping it ends it.
pub struct Watch {
    _watcher: RecommendedWatcher,
}

/// Why changes can't be reported; the folder is compared more often then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From the fixed list of reasons.
    pub reason: &'static str,
    /// One sentence that says what to do.
    pub detail: String,
}

impl Watch {
    /// Watches `root` and everything below it. Hints name paths below `root`.
    ///
    /// # Errors
    /// When the system can't watch all of it, most often because it allows too few watches.
    pub fn arm(library: usize, root: &Path, inbox: &Arc<Inbox>) -> Result<Self, Fault> {
        let (inbox, below) = (inbox.clone(), root.to_owned());
        let sort = move |event: notify::Result<Event>| match event {
            Ok(event) => sort(library, &below, &event, &inbox),
            Err(error) => {
                tracing::warn!(%error, "the system's reports of changes failed, comparing the folder");
                let fault = fault(error);
                if fault.reason == "watch_limit" {
                    // Folders that came since are not watched, and nothing tells when they could be.
                    inbox.note(Note::Degraded(library, fault.reason, Some(fault.detail)));
                }
                inbox.overflow(library);
            }
        };
        // What links lead to is indexed where it lies.
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(sort, config).map_err(fault)?;
        watcher
            .watch(root, RecursiveMode::Recursive)
            .map_err(fault)?;
        Ok(Self { _watcher: watcher })
    }
}

fn fault(error: notify::Error) -> Fault {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => Fault {
            reason: "watch_limit",
            detail: "The system allows too few watches; raise fs.inotify.max_user_watches. \
                     Until then the folder is compared every watch.poll_interval."
                .into(),
        },
        _ => Fault {
            reason: "watch_failed",
            detail: format!(
                "The system can't report changes ({error}); the folder is compared every \
                 watch.poll_interval instead."
            ),
        },
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
