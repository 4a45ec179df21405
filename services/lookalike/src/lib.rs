//! lookalike: drop a picture into a folder; a moment later it can be found by what it looks like.
//!
//! This crate puts the roles together: command line, settings, start, drain.

mod audit;
mod cli;
mod client;
mod failure;
mod failures;
mod libraries;
mod model;
mod models;
mod named;
mod progress;
mod roles;
mod search;
mod settings;
mod shown;
mod switch;
mod up;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, CliCommand};
use failure::Failure;
use lookalike_chassis::say;

/// Configures, builds, runs, drains. Exit code 0: done; 1: it failed; 2: wrong use or settings.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run_command(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::eprint_line(&format!(
                "lookalike: {}",
                shown::escape_lines(&failure.to_string())
            ));
            failure.code()
        }
    }
}

/// Commands that print end quietly when nobody reads on (`| head`), as others do. Roles do not:
/// a socket that is closed on the other side must not end them.
fn restore_default_sigpipe(command: &CliCommand) {
    let is_role = matches!(
        command,
        CliCommand::Up(_) | CliCommand::Watch(_) | CliCommand::Embed(_) | CliCommand::Serve(_)
    );
    if !is_role {
        // SAFETY: a plain system call, before any thread is started.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

fn run_command(cli: Cli) -> Result<(), Failure> {
    restore_default_sigpipe(&cli.command);
    if let CliCommand::Completions { shell } = &cli.command {
        cli::print_completions(*shell);
        return Ok(());
    }
    let chosen = settings::resolve_settings(&cli)?;
    if cli.print_config {
        print!("{}", chosen.described);
        return Ok(());
    }
    let settings = chosen.settings;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("can't start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        match cli.command {
            CliCommand::Up(_) => up::run_up(settings).await,
            CliCommand::Watch(_) => roles::run_watcher(settings).await,
            CliCommand::Embed(_) => roles::run_embedder(settings).await,
            CliCommand::Serve(_) => roles::run_service(settings).await,
            CliCommand::Status(status) => client::run_status(&settings, &status).await,
            CliCommand::Search(search) => search::run_search(&settings, &search).await,
            CliCommand::Failures(args) => failures::run_failures(&settings, &args).await,
            CliCommand::Why(file) => why::run_why(&settings, &file).await,
            CliCommand::Confirm(confirm) => client::run_confirm(&settings, &confirm).await,
            CliCommand::Audit(args) => audit::run_audit(&settings, &args).await,
            CliCommand::Models(args) => models::run_models(&settings, &args).await,
            CliCommand::Completions { .. } => Ok(()),
        }
    });
    // A thread that waits for a slow disk must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
