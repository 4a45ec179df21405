//! `lookalike-loadtest`: makes pictures and faults for lookalike, and measures it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lookalike_chassis::stdio::{self, OutputError};
use lookalike_loadtest::{bench, chaos, generate, quality};

/// Makes pictures and faults for lookalike, and measures its quality and speed.
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
    Bench(bench::BenchArguments),
}

fn main() -> ExitCode {
    // Wrong usage exits here with code 2 and a message.
    let result = match CommandLine::parse().command {
        LoadtestCommand::Generate(arguments) => generate::run(&arguments),
        LoadtestCommand::Chaos(arguments) => chaos::run(&arguments),
        LoadtestCommand::Quality(arguments) => quality::run(&arguments),
        LoadtestCommand::Bench(arguments) => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has gone (`| head`).
        Err(error)
            if error
                .downcast_ref::<OutputError>()
                .is_some_and(OutputError::is_closed_pipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            stdio::eprint_line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
