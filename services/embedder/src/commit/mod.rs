//! Commit: rows to Milvus, then outcomes to JetStream, then acknowledgements.

pub mod committer;
pub mod verify_on_disk;
