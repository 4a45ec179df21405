//! Linux' reports of changes, as hints. The only user of inotify.
//!
//! A thread reads the reports, names their paths, and passes them to the keeper's inbox. It never
//! waits and never reads the disk. Reports of opens and reads are not requested: lookalike's own
//! reads must cause no work. The keeper makes up by scanning for what inotify does not report: files
//! in a folder that was just created, and everything after an overflow.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask, Watches};

use super::watch_error::WatchError;
use crate::hint::{Hint, HintKind};
use crate::inbox::Inbox;
use crate::library::id::LibraryId;
use crate::paths::join_path;

/// Whether each folder needs its own watch. Elsewhere the root's watch covers everything below it.
pub const WATCHES_SINGLE_FOLDERS: bool = true;

/// What is reported of a watched folder.
const MASK: WatchMask = WatchMask::ATTRIB
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR)
    .union(WatchMask::EXCL_UNLINK);

/// While reports arrive closely, the thread lets them gather for so long: the system merges equal
/// ones, and each wake-up costs more than a report. The system's queue (16,384 reports by default)
/// must not overflow meanwhile.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// Reports arrive closely if so little time is between two wake-ups.
const CLOSE_TIME: Duration = Duration::from_millis(50);

const BUFFER_BYTES: usize = 64 << 10;

/// The system's watches of one library's folders. Dropping it ends them.
pub struct SystemWatcher {
    root: PathBuf,
    system_watches: Watches,
    folders: Arc<Mutex<WatchedFolders>>,
    /// Closing it ends the thread.
    _stop: UnixStream,
}

/// The watched folders, as paths below the root.
#[derive(Default)]
struct WatchedFolders {
    paths: HashMap<i32, Vec<u8>>,
    descriptors: HashMap<Vec<u8>, WatchDescriptor>,
}

impl WatchedFolders {
    fn insert(&mut self, path: Vec<u8>, descriptor: WatchDescriptor) {
        let id = descriptor.get_watch_descriptor_id();
        // The system has one watch for each folder, whatever its path was.
        if let Some(previous) = self.paths.insert(id, path.clone())
            && previous != path
        {
            self.descriptors.remove(&previous);
        }
        self.descriptors.insert(path, descriptor);
    }

    fn remove(&mut self, path: &[u8]) -> Option<WatchDescriptor> {
        let descriptor = self.descriptors.remove(path)?;
        self.paths.remove(&descriptor.get_watch_descriptor_id());
        Some(descriptor)
    }

    /// Forgets a watch that the system has ended.
    fn remove_ended(&mut self, id: i32) {
        if let Some(path) = self.paths.remove(&id)
            && let Some(descriptor) = self.descriptors.get(&path)
            && descriptor.get_watch_descriptor_id() == id
        {
            self.descriptors.remove(&path);
        }
    }
}

impl SystemWatcher {
    /// Creates a watcher of no folders. Its hints name paths below `root`.
    pub fn new(library: LibraryId, root: &Path, inbox: &Arc<Inbox>) -> Result<Self, WatchError> {
        let inotify = Inotify::init().map_err(classify_instance_error)?;
        let (stop, stopped) = UnixStream::pair().map_err(classify_instance_error)?;
        let system_watches = inotify.watches();
        let folders = Arc::new(Mutex::new(WatchedFolders::default()));
        let reader = ReportReader {
            library,
            inotify,
            folders: folders.clone(),
            inbox: inbox.clone(),
            stopped,
        };
        std::thread::Builder::new()
            .name("watcher reports".into())
            .spawn(move || reader.read_reports())
            .map_err(classify_instance_error)?;
        Ok(Self {
            root: root.to_owned(),
            system_watches,
            folders,
            _stop: stop,
        })
    }

    /// Watches a folder, without the folders below it.
    pub fn add_folder(&mut self, path: &[u8]) -> Result<(), WatchError> {
        let full_path = match path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(OsStr::from_bytes(path)),
        };
        // The thread must know the path before it names a report of it.
        let mut folders = lock_folders(&self.folders);
        let descriptor = self.system_watches.add(full_path, MASK);
        folders.insert(path.to_vec(), descriptor.map_err(classify_watch_error)?);
        Ok(())
    }

    /// Ends the watch of a folder. A missing watch is no error: the system ends the watches of
    /// deleted folders.
    pub fn remove_folder(&mut self, path: &[u8]) {
        let descriptor = lock_folders(&self.folders).remove(path);
        if let Some(descriptor) = descriptor {
            let _ = self.system_watches.remove(descriptor);
        }
    }
}

fn lock_folders(folders: &Mutex<WatchedFolders>) -> MutexGuard<'_, WatchedFolders> {
    folders.lock().expect("no holder panics")
}

fn classify_instance_error(error: io::Error) -> WatchError {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => WatchError::InstanceLimit,
        _ => WatchError::Refused(error.to_string()),
    }
}

fn classify_watch_error(error: io::Error) -> WatchError {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => WatchError::SystemLimit,
        _ => WatchError::from_access_error(&error, error.to_string()),
    }
}

/// The thread that reads reports.
struct ReportReader {
    library: LibraryId,
    inotify: Inotify,
    folders: Arc<Mutex<WatchedFolders>>,
    inbox: Arc<Inbox>,
    stopped: UnixStream,
}

impl ReportReader {
    /// Reads reports until the watcher is dropped.
    fn read_reports(mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut last_at = None;
        while self.wait_for_reports() {
            let is_close = |at: Instant| at.elapsed() < CLOSE_TIME;
            if last_at.is_some_and(is_close) {
                std::thread::sleep(GATHERING_TIME);
            }
            last_at = Some(Instant::now());
            if let Err(error) = self.send_hints(&mut buffer) {
                tracing::warn!(%error, "the system failed to report changes; scanning the library");
                self.inbox.report_overflow(self.library);
            }
        }
    }

    /// Waits until reports can be read; false if the watcher was dropped.
    fn wait_for_reports(&self) -> bool {
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut entries = [
            entry(self.inotify.as_raw_fd()),
            entry(self.stopped.as_raw_fd()),
        ];
        // SAFETY: the pointer and the length are those of the array, and both files are open.
        let count = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) };
        if count < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            // Without memory for the call, the next one may succeed.
            std::thread::sleep(Duration::from_secs(1));
        }
        entries[1].revents == 0
    }

    /// Sends the hints of all reports that can be read now.
    fn send_hints(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let events = match self.inotify.read_events(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                events => events?,
            };
            let mut hints = Vec::new();
            let mut folders = lock_folders(&self.folders);
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    self.inbox.report_overflow(self.library);
                    continue;
                }
                hints.extend(describe_event(self.library, &event, &folders));
                if event.mask.contains(EventMask::IGNORED) {
                    folders.remove_ended(event.wd.get_watch_descriptor_id());
                }
            }
            drop(folders);
            for hint in hints {
                self.inbox.push_hint(hint);
            }
        }
    }
}

/// Returns the hint of a report; `None` if there is nothing to look at.
fn describe_event(
    library: LibraryId,
    event: &Event<&OsStr>,
    folders: &WatchedFolders,
) -> Option<Hint> {
    let contains = |mask: EventMask| event.mask.intersects(mask);
    let kind = if contains(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
        HintKind::Ready
    } else if contains(EventMask::DELETE | EventMask::DELETE_SELF | EventMask::MOVED_FROM) {
        HintKind::Gone
    } else if contains(EventMask::MOVE_SELF) {
        HintKind::MovedItself
    } else if contains(
        EventMask::CREATE | EventMask::MODIFY | EventMask::ATTRIB | EventMask::UNMOUNT,
    ) {
        HintKind::Changed
    } else {
        return None;
    };
    let folder = folders.paths.get(&event.wd.get_watch_descriptor_id())?;
    let path = match event.name {
        Some(name) => join_path(folder, name.as_bytes()),
        None => folder.clone(),
    };
    Some(Hint {
        library,
        path,
        kind,
    })
}
