//! Reports of the operating system: hints, the watch table, and polling where nothing is reported.

pub mod filesystem;
pub mod notify_watcher;
pub mod polling;
pub mod watch_error;
pub mod watch_table;

pub use notify_watcher::{SystemWatcher, WATCHES_SINGLE_FOLDERS};
