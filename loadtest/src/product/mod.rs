//! The lookalike program under test.
//!
//! [`up`] runs `lookalike up` with its servers. [`rest`] decides from the reported counts whether work is
//! in flight.

pub mod rest;
pub mod up;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Returns the program to test: `chosen`, or else `lookalike` in the folder of this program.
pub fn find_program(chosen: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match chosen {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()?.with_file_name("lookalike"),
    };
    program.canonicalize().with_context(|| {
        format!(
            "cannot find {}; choose a lookalike program with --program",
            program.display()
        )
    })
}
