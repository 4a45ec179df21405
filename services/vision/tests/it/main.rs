//! Tests of the public API: files → images → vectors.
//!
//! Tests with photos and broken files that are not in the repository are skipped with a message if
//! those are missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alignment;
mod appearance;
mod bombs;
mod collections;
mod damage;
mod drawn;
#[cfg(feature = "network")]
mod engine;
mod memory;
mod shared;
