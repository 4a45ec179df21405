//! Embed: from an event to the change of its row; contents are looked up before they are embedded.

pub mod content_cache;
pub mod decode;
pub mod leaked_threads;
pub mod prepare;
