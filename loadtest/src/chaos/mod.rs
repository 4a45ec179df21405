//! `chaos`: a real lookalike over real servers, while files change and parts of it are killed,
//! frozen and cut off at random; then everything is healed, and the index must equal the folders.
//!
//! The seed decides the plan ([`plan`]): what is done to the folders ([`operations`], with a model
//! of them in [`paint_tree`]) and what goes wrong ([`faults`]). [`disk`] and [`system`] do it, through
//! the [`proxy`] and [`process`](crate::product::process) of each role; [`probe`] asks meanwhile what users ask, and
//! [`compare`] proves the end. All of it from outside: processes, files and HTTP.
//!
//! The servers are those that `lookalike up` starts over an empty library; it also starts them
//! again when they are killed. Losing the event stream can't be provoked from here.

pub mod arguments;
pub mod observe;
pub mod plan;
pub mod report;
mod run;
pub mod system;

pub use arguments::ChaosArguments;
pub use report::ChaosReport;

use crate::product;

/// Runs every seed and prints the reports; the first failure does not end it.
///
/// # Errors
/// When a seed failed, or a run could not be made.
pub fn run(arguments: &ChaosArguments) -> anyhow::Result<()> {
    // One thread, this one, starts all processes: they die with it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let program = product::find_program(arguments.program.as_deref())?;
    let mut failed_seeds = Vec::new();
    let mut converged = Vec::new();
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds)?) {
        let report = runtime.block_on(run::run(arguments, &program, seed))?;
        if arguments.json {
            println!("{}", report.to_json());
        } else {
            println!("{}", report.to_text());
        }
        converged.extend(report.time_to_rest.zip(report.time_to_equal));
        if !report.is_success() {
            failed_seeds.push(seed);
        }
        if report.interrupted {
            anyhow::bail!("stopped at seed {seed}");
        }
    }
    if arguments.seeds > 1 {
        let slowest = converged.iter().map(|(rest, equal)| *rest + *equal).max();
        eprintln!(
            "{} seeds, {} failed {failed_seeds:?}; the slowest converged in {:.1} s",
            arguments.seeds,
            failed_seeds.len(),
            slowest.unwrap_or_default().as_secs_f64()
        );
    }
    anyhow::ensure!(failed_seeds.is_empty(), "failed: seeds {failed_seeds:?}");
    Ok(())
}

/// Runs one seed and gives its report.
///
/// # Errors
/// When the run could not be made.
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
