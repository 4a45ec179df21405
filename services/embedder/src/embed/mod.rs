//! Embed: determines what an event changes. Known content is reused; new content is decoded and
//! embedded.

pub mod content_cache;
pub mod decode;
pub mod index_lookup;
pub mod leaked_threads;
pub mod outside_attributes;
pub mod prepare;
