//! The crate through its public door: files → pictures → vectors.
//!
//! Tests over photos and broken files outside the repository skip, visibly, where those are not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bombs;
mod collections;
mod drawn;
mod engine;
mod memory;
mod shared;
