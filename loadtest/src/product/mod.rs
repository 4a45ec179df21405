//! The product under trial as a program: found, started, and told when it has nothing left to do.
//!
//! [`process`] runs one command, [`up`] runs all of lookalike over servers of its own, and [`remaining`]
//! reads from its counts whether it is done.

pub mod process;
pub mod rest;
pub mod up;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The program to try: the one that is named, or else `lookalike` beside this program.
///
/// # Errors
/// When there is none.
pub fn find_program(chosen: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match chosen {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()?.with_file_name("lookalike"),
    };
    program
        .canonicalize()
        .with_context(|| format!("{}: name a lookalike with --program", program.display()))
}
