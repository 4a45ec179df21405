//! The lookalike program under test.
//!
//! [`up`] runs `lookalike up` with its servers. [`rest`] decides from the reported counts whether work is
//! in flight.

pub mod rest;
pub mod up;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lookalike_test_support::process::product_command;

/// Returns the program to test: `chosen`, or else `lookalike` in the folder of this program.
///
/// # Errors
/// If it is missing or cannot run, so that no measurement starts in vain.
pub fn find_program(chosen: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match chosen {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()?.with_file_name("lookalike"),
    };
    let program = program.canonicalize().with_context(|| {
        format!(
            "cannot find {}; choose a lookalike program with --program",
            program.display()
        )
    })?;
    let version = product_command(&program).arg("--version").output();
    let version = version.with_context(|| format!("cannot run {}", program.display()))?;
    anyhow::ensure!(
        version.status.success(),
        "{} is no lookalike program: with --version, it exited with {}",
        program.display(),
        version.status
    );
    Ok(program)
}
