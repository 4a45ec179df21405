//! Tests of the commands `generate` and `bench`, and of the dashboard, which must match the code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

mod bench;
mod command;
mod dashboard;

/// Returns the root of the repository.
fn checkout_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
