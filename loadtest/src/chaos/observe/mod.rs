//! What a run observes: it probes the service, records what it sees, and compares the index with
//! the folders at the end.

pub mod compare;
pub mod probe;
pub mod recorder;
