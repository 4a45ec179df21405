//! `chaos`: runs lookalike with real servers while files change and processes are killed, frozen and
//! disconnected at random. Then all faults end, and the index must match the folders.
//!
//! [`plan`] draws operations and faults from the seed. [`system`] runs the processes and applies the
//! plan. [`observe`] sends requests meanwhile and compares the index with the folders at the end.
//! [`report`] prints the result. The test sees lookalike from outside only: processes, files and HTTP.
//!
//! `lookalike up`, with an empty library, starts the servers and restarts them when they are killed.
//! This test cannot cause the loss of the event stream.

pub mod arguments;
pub mod observe;
pub mod plan;
pub mod report;
mod run;
pub mod system;

pub use arguments::ChaosArguments;
pub use report::ChaosReport;

use lookalike_chassis::stdio;

use crate::product;

/// Runs every seed and prints the reports. A failed seed does not stop the others.
pub fn run(arguments: &ChaosArguments) -> anyhow::Result<()> {
    // This thread starts all processes, because they die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = product::find_program(arguments.program.as_deref())?;
    let mut failed_seeds = Vec::new();
    let mut converged = Vec::new();
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds)?) {
        let report = runtime.block_on(run::run(arguments, &program, seed))?;
        if arguments.json {
            stdio::write_line(&report.to_json().to_string())?;
        } else {
            stdio::write_line(&report.to_text())?;
        }
        converged.extend(report.time_to_rest.zip(report.time_to_equal));
        if !report.is_success() {
            failed_seeds.push(seed);
        }
        if report.interrupted {
            anyhow::bail!("stopped early at seed {seed}");
        }
    }
    if arguments.seeds > 1 {
        let slowest = converged.iter().map(|(rest, equal)| *rest + *equal).max();
        stdio::eprint_line(&format!(
            "{} seeds, {} failed {failed_seeds:?}; the slowest converged in {:.1} s",
            arguments.seeds,
            failed_seeds.len(),
            slowest.unwrap_or_default().as_secs_f64()
        ));
    }
    anyhow::ensure!(failed_seeds.is_empty(), "failed: seeds {failed_seeds:?}");
    Ok(())
}

/// Runs one seed and returns its report.
pub fn run_seed(arguments: &ChaosArguments) -> anyhow::Result<ChaosReport> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run::run(
        arguments,
        &product::find_program(arguments.program.as_deref())?,
        arguments.seed,
    ))
}
