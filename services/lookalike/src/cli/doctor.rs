//! The arguments of `doctor`.

use std::time::Duration;

use clap::Args;
use lookalike_client::duration_arg::parse_nonzero_duration;

use super::role::RoleArgs;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub role: RoleArgs,
    /// Longest time of one check (500ms, 10s)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_nonzero_duration)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
