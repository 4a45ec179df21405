//! The arguments of `audit`.

use std::time::Duration;

use clap::Args;

use crate::duration_arg::parse_duration;

#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    pub run: AuditRunArgs,
    /// Data folder of the running `lookalike up`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// NATS server (default: that of the running `lookalike up`)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (default: that of the running `lookalike up`)
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// The model that the index was made with, by name or folder (default: the one recorded in
    /// the index)
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,
}

/// What to audit and for how long.
#[derive(Debug, Args)]
pub struct AuditRunArgs {
    /// Only these libraries
    #[arg(value_name = "LIBRARY")]
    pub libraries: Vec<String>,
    /// Repair differences: resend files, delete rows that no watcher catalogues
    #[arg(long)]
    pub repair: bool,
    /// Also read and hash every file, where its folder is reachable from this machine
    #[arg(long)]
    pub deep: bool,
    /// Do not wait until resent files are indexed
    #[arg(long, requires = "repair")]
    pub no_wait: bool,
    /// How long to wait for resent files (45s, 10m, 2h); the rest is indexed without waiting
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        requires = "repair",
        value_parser = parse_duration
    )]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
