//! Command line of `chaos`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::paths::{existing_file, existing_folder};

/// Change files while processes of lookalike are killed, frozen and disconnected, then verify the index.
///
/// Starts its own lookalike: `up` for the servers, a watcher, two embedders and the service, each a process with
/// its own proxy to every server. For the given time it copies, edits, moves and deletes files in two
/// libraries. Meanwhile it kills and pauses processes and disturbs connections, several at once. The seed
/// decides everything. Then it ends all faults, waits until lookalike reports that no file is in flight, and
/// compares. Every picture on disk must be in the index with its path and the hash of its bytes, every other
/// file must be listed with a reason, and the index must contain nothing else.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest chaos --program target/release/lookalike
  lookalike-loadtest chaos --seconds 180 --files 5000 --seed 1 --seeds 10 --json

Exit codes: 0 the index matches the folders, 1 it does not or the run failed, 2 wrong usage.")]
pub struct ChaosArguments {
    /// How long faults are injected, in seconds.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub seconds: u64,

    /// Seed of the operations and faults.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// How many seeds to run, one after the other, starting with --seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// Approximate number of files.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=200_000))]
    pub files: u32,

    /// The lookalike program to test [default: `lookalike` in the folder of this program].
    #[arg(long, value_name = "PATH", value_parser = existing_file())]
    pub program: Option<PathBuf>,

    /// Folder to work in; a new subfolder is created [default: the system's temporary folder].
    #[arg(long, value_name = "DIR", value_parser = existing_folder())]
    pub dir: Option<PathBuf>,

    /// Keep the folder with files, data and logs even after success.
    #[arg(long)]
    pub keep: bool,

    /// Run a second watcher of the same folders as a standby.
    #[arg(long)]
    pub standby: bool,

    /// How long the index may take to match the folders after the last fault, in seconds.
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub convergence_seconds: u64,

    /// Print the reports as JSON, one per line.
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
    pub(super) fn fault_duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
