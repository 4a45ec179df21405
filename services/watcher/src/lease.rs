//! The library lease. Only one watcher works on a library at a time; the others are on standby: they
//! read nothing and report nothing, and begin with a full scan when they get the lease.
//!
//! A watcher whose catalog may be incomplete (a new catalog, or one that was on standby) first
//! imports the rows of the index, so that images keep their ids.

pub mod holder;
pub mod state;

mod transitions;
