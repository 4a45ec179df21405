//! The lookalike program under test.
//!
//! [`up`] runs `lookalike up` with its servers. [`rest`] decides from the reported counts whether work is
//! in flight.

pub mod rest;
pub mod up;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_test_support::process::product_command;

/// Time in which a program must print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

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
    let mut command = product_command(&program);
    command.arg("--version").stdin(Stdio::null());
    let version = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut version = version.with_context(|| format!("cannot run {}", program.display()))?;
    let deadline = Instant::now() + VERSION_TIMEOUT;
    while version.try_wait()?.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Kills a program that still runs.
    let _ = version.kill();
    let output = version.wait_with_output()?;
    anyhow::ensure!(
        output.stdout.starts_with(b"lookalike "),
        "{} is no lookalike program: with --version, it does not print a version of lookalike",
        program.display()
    );
    Ok(program)
}
