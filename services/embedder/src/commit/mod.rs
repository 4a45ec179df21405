//! Commit: writes rows to Milvus, then stores the outcomes, then acknowledges the events.

pub mod committer;
pub mod job;
pub mod verify_on_disk;
