//! Command line of `bench`, and the run of one subcommand.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use lookalike_chassis::stdio;

use super::affinity::restrict_cores;
use super::changes::{ChangesArguments, measure_changes};
use super::decode::{DecodeArguments, measure_decode};
use super::index::arguments::IndexArguments;
use super::index::measure::measure_index;
use super::ingest::{IngestArguments, measure_ingest};
use super::network::{NetworkArguments, measure_networks};
use super::options::BenchOptions;
use super::peers::install::{self, PeersArguments};
use super::report::BenchReport;
use super::search::arguments::SearchArguments;
use super::search::remote::measure_remote;
use super::search::scenario::measure_scenario;
use crate::paths::existing_file;

/// Measure the performance targets and compare lookalike with other programs.
///
/// Each subcommand prints its rows of the table of targets: what was measured, its bar (what a release must reach) and
/// its aim. Ratios come from alternating measurements on the same machine, files, weights and threads. Rows that cannot
/// be measured on this machine are listed with the reason.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    Network(NetworkArguments),
    Decode(DecodeArguments),
    Ingest(IngestArguments),
    Search(Box<SearchArguments>),
    Changes(ChangesArguments),
    Index(IndexArguments),
    All(AllArguments),
    Peers(PeersArguments),
}

/// Measure all of it: network, decode, ingest, search, changes and index.
///
/// The full measurement takes about an hour, the quick one about ten minutes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench all --photos ~/Pictures --threads 2 --out report
  lookalike-loadtest bench all --quick

Exit codes: 0 measured, 1 failed, or searches failed or were wrong, 2 wrong usage.")]
struct AllArguments {
    /// An older lookalike program to compare indexing with.
    #[arg(long, value_name = "PATH", value_parser = existing_file())]
    older_program: Option<std::path::PathBuf>,

    #[command(flatten)]
    options: BenchOptions,
}

impl BenchCommand {
    fn options(&self) -> BenchOptions {
        match self {
            Self::Network(arguments) => arguments.options.clone(),
            Self::Decode(arguments) => arguments.options.clone(),
            Self::Ingest(arguments) => arguments.options.clone(),
            Self::Search(arguments) => arguments.options.clone(),
            Self::Changes(arguments) => arguments.options.clone(),
            Self::Index(arguments) => arguments.options.clone(),
            Self::All(arguments) => arguments.options.clone(),
            Self::Peers(_) => BenchOptions::default(),
        }
    }
}

/// Runs a subcommand and delivers its report.
pub fn run(arguments: &BenchArguments) -> anyhow::Result<()> {
    if let BenchCommand::Peers(arguments) = &arguments.command {
        return install::run(arguments);
    }
    let options = arguments.command.options();
    if options.threads.is_some() {
        restrict_cores(options.thread_count())?;
    }
    // The main thread starts all processes, because they die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let stop = AtomicBool::new(false);
    let (report, problems) = runtime.block_on(async {
        tokio::select! {
            measured = measure(&arguments.command, &options, &stop) => measured,
            () = wait_for_second_interrupt(&stop) => Err(anyhow::anyhow!("stopped early")),
        }
    })?;
    options.deliver(&report)?;
    anyhow::ensure!(
        problems == 0,
        "{problems} searches failed, were dropped or had a wrong answer"
    );
    Ok(())
}

/// Sets `stop` at the first Ctrl-C, which ends the measurement in order, and returns at the second one.
async fn wait_for_second_interrupt(stop: &AtomicBool) {
    let _ = tokio::signal::ctrl_c().await;
    stdio::eprint_line("stopping; press Ctrl-C again to stop at once");
    stop.store(true, Ordering::Relaxed);
    let _ = tokio::signal::ctrl_c().await;
}

/// Returns the report of a subcommand, and the number of searches that failed or were wrong.
async fn measure(
    command: &BenchCommand,
    options: &BenchOptions,
    stop: &AtomicBool,
) -> anyhow::Result<(BenchReport, u64)> {
    if let BenchCommand::Search(arguments) = command
        && let Some(url) = &arguments.url
    {
        return measure_remote(arguments, url, stop).await;
    }
    let mut work_dir = options.create_work_dir()?;
    let measured = measure_locally(command, work_dir.path(), stop).await;
    if measured.is_err() {
        // Its logs contain the reason.
        work_dir.keep();
    }
    measured
}

/// Measures with processes of its own in the folder `dir`.
async fn measure_locally(
    command: &BenchCommand,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<(BenchReport, u64)> {
    let report = match command {
        BenchCommand::Search(arguments) => return measure_scenario(arguments, dir, stop).await,
        BenchCommand::All(arguments) => return measure_all(arguments, dir, stop).await,
        BenchCommand::Network(arguments) => measure_networks(arguments, dir, stop).await?,
        BenchCommand::Decode(arguments) => measure_decode(arguments, dir, stop)?,
        BenchCommand::Ingest(arguments) => measure_ingest(arguments, dir, stop).await?,
        BenchCommand::Changes(arguments) => measure_changes(arguments, dir, stop).await?,
        BenchCommand::Index(arguments) => measure_index(arguments, dir, stop).await?,
        BenchCommand::Peers(_) => BenchReport::default(),
    };
    Ok((report, 0))
}

/// Runs all subcommands. The rows of one that fails get the reason.
async fn measure_all(
    arguments: &AllArguments,
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<(BenchReport, u64)> {
    const COMMANDS: [&str; 6] = ["network", "decode", "ingest", "search", "changes", "index"];
    let options = &arguments.options;
    let mut all = BenchReport::new("all", options.quick);
    let mut problems = 0;
    for name in COMMANDS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stdio::eprint_line(&format!("== {name}"));
        let command = match name {
            "network" => BenchCommand::Network(NetworkArguments::with_options(options)),
            "decode" => BenchCommand::Decode(DecodeArguments::with_options(options)),
            "ingest" => BenchCommand::Ingest(IngestArguments {
                older_program: arguments.older_program.clone(),
                ..IngestArguments::with_options(options)
            }),
            "search" => BenchCommand::Search(Box::new(SearchArguments::with_options(options))),
            "changes" => BenchCommand::Changes(ChangesArguments {
                options: options.clone(),
            }),
            _ => BenchCommand::Index(IndexArguments::with_options(options)),
        };
        let part_dir = dir.join(name);
        std::fs::create_dir_all(&part_dir)?;
        // The futures of the parts are large.
        match Box::pin(measure_locally(&command, &part_dir, stop)).await {
            Ok((report, failed)) => {
                problems += failed;
                all.append(report);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                stdio::eprint_line(&format!("{name}: {reason}"));
                all.complete_rows(&[name], &reason);
            }
        }
        let _ = std::fs::remove_dir_all(&part_dir);
    }
    all.complete_rows(&COMMANDS, "the run was interrupted");
    Ok((all, problems))
}
