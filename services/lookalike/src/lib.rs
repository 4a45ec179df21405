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

use cli::{Cli, Command};
use failure::Failure;
use lookalike_chassis::say;

/// Configures, builds, runs, drains. Exit code 0: done; 1: it failed; 2: wrong use or settings.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::err(&format!(
                "lookalike: {}",
                shown::lines(&failure.to_string())
            ));
            failure.code()
        }
    }
}

/// Commands that print end quietly when nobody reads on (`| head`), as others do. Roles do not:
/// a socket that is closed on the other side must not end them.
fn end_with_the_pipe(command: &Command) {
    let is_role = matches!(
        command,
        Command::Up(_) | Command::Watch(_) | Command::Embed(_) | Command::Serve(_)
    );
    if !is_role {
        // SAFETY: a plain system call, before any thread is started.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    end_with_the_pipe(&cli.command);
    if let Command::Completions { shell } = &cli.command {
        cli::print_completions(*shell);
        return Ok(());
    }
    let chosen = settings::choose(&cli)?;
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
            Command::Up(_) => up::run(settings).await,
            Command::Watch(_) => roles::watch(settings).await,
            Command::Embed(_) => roles::embed(settings).await,
            Command::Serve(_) => roles::serve(settings).await,
            Command::Status(status) => client::status(&settings, &status).await,
            Command::Search(search) => search::search(&settings, &search).await,
            Command::Failures(args) => failures::failures(&settings, &args).await,
            Command::Why(file) => why::why(&settings, &file).await,
            Command::Confirm(confirm) => client::confirm(&settings, &confirm).await,
            Command::Audit(args) => audit::audit(&settings, &args).await,
            Command::Models(args) => models::models(&settings, &args).await,
            Command::Completions { .. } => Ok(()),
        }
    });
    // A thread that waits for a slow disk must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
