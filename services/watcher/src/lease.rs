//! The library lease: which watcher works on a library.

pub mod holder;
pub mod role_state;
