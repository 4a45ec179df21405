//! What is committed beside the code and must keep up with it: the sample pictures and the dashboard.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

mod command;
mod dashboard;

/// The root of the checkout.
fn checkout_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
