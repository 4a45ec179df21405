//! `lookalike-loadtest`: makes pictures and trouble, and later load, for lookalike, and measures it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lookalike_loadtest::{chaos, generate, quality};

/// Makes pictures, load and measurements for lookalike.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(generate::Arguments),
    Chaos(chaos::Arguments),
    Quality(quality::Arguments),
}

fn main() -> ExitCode {
    // Wrong use ends here with exit code 2 and a line that says what was wrong.
    let done = match CommandLine::parse().command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Quality(arguments) => quality::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
