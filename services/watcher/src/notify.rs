//! Reports of the operating system: hints, the watch table, and polling where nothing is reported.

pub mod filesystem;
pub mod hints;
pub mod polling;
pub mod watch_table;
