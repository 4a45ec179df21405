//! Compares the committed sample pictures with what the painter makes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

mod samples;

/// Returns the folder that contains the sample pictures.
fn images_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
