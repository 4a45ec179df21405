//! The program `lookalike`: add a picture to a folder, and searches find it by what it looks like.
//!
//! This crate puts the roles together: command line, settings, start and shutdown.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod app;
mod cli;
mod commands;
mod connect;
mod libraries;
mod model;
mod rollover;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use lookalike_chassis::stdio;
use lookalike_client::{exit_code, failures, format_error, search, status, terminal, why};

use app::{AppRole, run_app};
use cli::{Cli, CliCommand};
use settings::Settings;

/// How long blocking threads may delay the exit, for example while they wait for a slow disk.
const BLOCKING_THREADS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the program. Exit code 0: done; 1: failed; 2: wrong use or settings.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    restore_default_sigpipe(&cli.command);
    match configure_and_run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = terminal::escape_lines(&format_error(&error));
            stdio::eprint_line(&format!("lookalike: {message}"));
            exit_code(&error)
        }
    }
}

/// Lets commands that print end silently when their output is closed (`| head`). Roles ignore
/// SIGPIPE, because a socket that the peer closes must not end them.
fn restore_default_sigpipe(command: &CliCommand) {
    if !command.is_role() {
        // SAFETY: `signal` with SIG_DFL has no preconditions, and no other thread runs yet.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

fn configure_and_run(cli: &Cli) -> Result<()> {
    if let CliCommand::Completions { shell } = &cli.command {
        cli::print_completions(*shell);
        return Ok(());
    }
    let resolved = settings::resolve_settings(cli)?;
    if cli.print_config {
        print!("{}", resolved.annotated_toml);
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(run_command(&cli.command, resolved.settings));
    runtime.shutdown_timeout(BLOCKING_THREADS_TIMEOUT);
    result
}

async fn run_command(command: &CliCommand, settings: Settings) -> Result<()> {
    match command {
        CliCommand::Up(_) => run_app(AppRole::All, settings).await,
        CliCommand::Watch(_) => run_app(AppRole::Watcher, settings).await,
        CliCommand::Embed(_) => run_app(AppRole::Embedder, settings).await,
        CliCommand::Serve(_) => run_app(AppRole::Service, settings).await,
        CliCommand::Status(args) => status::run_status(&settings.connect_service()?, args).await,
        CliCommand::Search(args) => {
            search::check_query(args)?;
            search::run_search(&settings.connect_service()?, args).await
        }
        CliCommand::Failures(args) => {
            failures::run_failures(&settings.connect_service()?, args).await
        }
        CliCommand::Why(args) => why::run_why(&settings.connect_service()?, args).await,
        CliCommand::Confirm(args) => commands::confirm::run_confirm(&settings, args).await,
        CliCommand::Audit(args) => commands::audit::run_audit(&settings, args).await,
        CliCommand::Models(args) => commands::models::run_models(&settings, args).await,
        CliCommand::Completions { .. } => Ok(()),
    }
}
