//! `lookalike-loadtest`: makes pictures and trouble, and later load, for lookalike, and measures it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lookalike_loadtest::{chaos, generate, quality};

/// Makes pictures, load and measurements for lookalike.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct CommandLine {
    #[command(subcommand)]
    command: LoadtestCommand,
}

#[derive(Debug, Subcommand)]
enum LoadtestCommand {
    Generate(generate::GenerateArguments),
    Chaos(chaos::ChaosArguments),
    Quality(quality::QualityArguments),
}

fn main() -> ExitCode {
    // Wrong use ends here with exit code 2 and a line that says what was wrong.
    let result = match CommandLine::parse().command {
        LoadtestCommand::Generate(arguments) => generate::run(&arguments),
        LoadtestCommand::Chaos(arguments) => chaos::run(&arguments),
        LoadtestCommand::Quality(arguments) => quality::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
