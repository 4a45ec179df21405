//! Reports of the operating system: hints, the watch table, and polling where nothing is reported.

pub mod filesystem;
#[cfg(target_os = "linux")]
pub mod inotify_watcher;
#[cfg(not(target_os = "linux"))]
pub mod notify_watcher;
pub mod polling;
pub mod watch_error;
pub mod watch_table;

#[cfg(target_os = "linux")]
pub use inotify_watcher::{SystemWatcher, WATCHES_SINGLE_FOLDERS};
#[cfg(not(target_os = "linux"))]
pub use notify_watcher::{SystemWatcher, WATCHES_SINGLE_FOLDERS};
