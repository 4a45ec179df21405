//! Command line of `chaos`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Change files while parts of lookalike are killed, frozen and cut off; then prove the index.
///
/// Starts a lookalike of its own: `up` for the servers, a watcher, two embedders and the service,
/// each a process, each behind wires that can be cut. For the given time it copies, edits, moves
/// and deletes files in two libraries while it kills, pauses and cuts at random, several at once,
/// all decided by the seed. Then it heals everything, waits until lookalike says that nothing is
/// under way, and compares by itself: every picture on disk must be in the index under its path
/// with the hash of its bytes, every other file must be listed with a reason, and nothing else.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest chaos --program target/release/lookalike
  lookalike-loadtest chaos --seconds 180 --files 5000 --seed 1 --seeds 10 --json

Exit codes: 0 the index equals the folders, 1 it does not, or something else failed, 2 wrong use.")]
pub struct ChaosArguments {
    /// How long things go wrong, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub seconds: u64,

    /// Decides what happens.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// How many seeds to run, one after the other, from --seed on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// About how many files there are.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=200_000))]
    pub files: u32,

    /// The lookalike to try [default: `lookalike` beside this program].
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,

    /// Where to work; a new folder in it is used [default: the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Keep the folder with files, data and logs, also when all went well.
    #[arg(long)]
    pub keep: bool,

    /// Run a second watcher over the same folders, which stands by.
    #[arg(long)]
    pub standby: bool,

    /// How long after the last fault the index may take to equal the folders, in seconds.
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub convergence_seconds: u64,

    /// Print the reports as JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

impl Default for ChaosArguments {
    fn default() -> Self {
        Self {
            seconds: 60,
            seed: 1,
            seeds: 1,
            files: 1000,
            program: None,
            dir: None,
            keep: false,
            standby: false,
            convergence_seconds: 300,
            json: false,
        }
    }
}

impl ChaosArguments {
    pub(super) fn trouble_duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
