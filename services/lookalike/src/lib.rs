//! The program `lookalike`: add a picture to a folder, and searches find it by what it looks like.
//!
//! This crate puts the roles together: command line, settings, start and shutdown.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod app;
mod cli;
mod commands;
mod connect;
mod doctor;
mod libraries;
mod model;
mod rollover;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use lookalike_chassis::descriptors;
use lookalike_chassis::stdio::{self, OutputError};
use lookalike_client::{
    compare, duplicates, exit_code, facets, failures, format_error, mcp, remove, search, status,
    terminal, upload, watch_events, why,
};

use app::{AppRole, run_app};
use cli::{Cli, CliCommand};
use settings::Settings;

/// How long blocking threads may delay the exit, for example while they wait for a slow disk.
const BLOCKING_THREADS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the program. Exit code 0: done; 1: failed; 2: wrong use or settings.
pub fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => configure_and_run(&cli),
        Err(error) if error.use_stderr() => {
            // Fails if standard error accepts no text; the exit code remains.
            let _ = error.print();
            return ExitCode::from(2);
        }
        Err(help) => write_help(&help),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let message = terminal::escape_lines(&format_error(&error));
            stdio::eprint_line(&format!("lookalike: {message}"));
            exit_code(&error)
        }
    }
}

/// Writes the help or the version that was asked for.
fn write_help(help: &clap::Error) -> Result<()> {
    help.print().map_err(OutputError::from)?;
    Ok(stdio::write_text("")?)
}

/// Whether a command ended because its output's reader has gone (`| head`). It ends silently then,
/// with exit code 0. Unlike the signal SIGPIPE, the error spares sockets that a peer closes.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<OutputError>()
        .is_some_and(OutputError::is_closed_pipe)
}

fn configure_and_run(cli: &Cli) -> Result<()> {
    if let CliCommand::Completions { shell } = &cli.command {
        return Ok(stdio::write_text(&cli::format_completions(*shell))?);
    }
    if let CliCommand::Man(args) = &cli.command {
        return commands::man::run_man(args);
    }
    if let CliCommand::Config(args) = &cli.command {
        return commands::config::run_config(cli, args);
    }
    let resolved = settings::resolve_settings(cli)?;
    if cli.print_config {
        return Ok(stdio::write_text(&resolved.annotated_toml)?);
    }
    descriptors::raise_limit();
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
            commands::search::run_search(&settings, args).await
        }
        CliCommand::Failures(args) => {
            failures::run_failures(&settings.connect_service()?, args).await
        }
        CliCommand::Why(args) => why::run_why(&settings.connect_service()?, args).await,
        CliCommand::Duplicates(args) => {
            duplicates::run_duplicates(&settings.connect_service()?, args).await
        }
        CliCommand::Compare(args) => compare::run_compare(&settings.connect_service()?, args).await,
        CliCommand::Confirm(args) => commands::confirm::run_confirm(&settings, args).await,
        CliCommand::Audit(args) => commands::audit::run_audit(&settings, args).await,
        CliCommand::Keys(args) => commands::keys::run_keys(&settings, args),
        CliCommand::Models(args) => commands::models::run_models(&settings, args).await,
        CliCommand::Doctor(args) => doctor::run_doctor(&settings, args).await,
        CliCommand::Facets(args) => facets::run_facets(&settings.connect_service()?, args).await,
        CliCommand::WatchEvents(args) => {
            watch_events::run_watch_events(&settings.connect_service()?, args).await
        }
        CliCommand::Mcp(_) => mcp::run_mcp(settings.connect_service()?).await,
        CliCommand::Export(args) => commands::export::run_export(&settings, args).await,
        CliCommand::Upload(args) => upload::run_upload(&settings.connect_service()?, args).await,
        CliCommand::Remove(args) => remove::run_remove(&settings.connect_service()?, args).await,
        CliCommand::Config(_) | CliCommand::Man(_) | CliCommand::Completions { .. } => Ok(()),
    }
}
