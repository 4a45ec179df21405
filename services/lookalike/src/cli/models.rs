//! The arguments of `models`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use lookalike_client::ServiceArgs;
use lookalike_client::audit::AuditRunArgs;
use lookalike_client::duration_arg::parse_nonzero_duration;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
    /// Used when there is no subcommand.
    #[command(flatten)]
    pub list: ModelsListArgs,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List models, one per line (the default of `models`)
    #[command(after_help = "Examples:\n  \
        lookalike models list\n  \
        lookalike models list --measure --device cpu    also measure their speed here")]
    List(ModelsListArgs),
    /// Download a model, or its missing files, into the cache folder
    ///
    /// Every byte is verified against a checksum: ours where the list says `pinned`, otherwise the
    /// one that the hub announced at the first fetch, which is stored next to the weights. An
    /// interrupted download resumes.
    #[command(after_help = "Examples:\n  \
        lookalike models fetch dinov2-s14\n  \
        lookalike models fetch dinov2-s14 --offline     only verify the files on disk")]
    Fetch(ModelsFetchArgs),
    /// Roll over to another model while searches continue
    ///
    /// Embeds every picture again into a second collection while the first one serves. Then it
    /// compares the two models on your own pictures and asks you. If you agree, the second
    /// collection takes over at once; the first one is kept for a rollback. All roles follow
    /// automatically. If this command is interrupted, run it again to resume.
    #[command(after_help = "Examples:\n  \
        lookalike models use dinov2-s14         roll over, after you see the difference\n  \
        lookalike models use ~/models/mine      a model in a folder\n  \
        lookalike models use --rollback         back to the previous model\n  \
        lookalike models use --drop-old         delete the collections that are not in service\n\n\
        Exit codes: 0 done, or the copy is ready but there is no terminal to ask on (--yes\n\
        continues); 1 it failed, was stopped, or the final audit left differences; 2 wrong use or\n\
        settings, or --drop-old without --yes where there is no terminal.")]
    Use(Box<ModelsUseArgs>),
}

/// The arguments of `models list`.
#[derive(Debug, Args)]
pub struct ModelsListArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Measure for a few seconds each how many images per second the available models process on
    /// this machine, and store the result
    #[arg(long)]
    pub measure: bool,
    /// With --measure: auto, cpu, vulkan:N, cuda:N, or several separated by commas
    #[arg(long, value_name = "DEVICE", requires = "measure")]
    pub device: Option<String>,
}

/// The arguments of `models fetch`.
#[derive(Debug, Args)]
pub struct ModelsFetchArgs {
    /// The model's name, as `models list` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Download nothing, only verify the files on disk
    #[arg(long)]
    pub offline: bool,
    /// Replace damaged files, and download what the hub has now
    ///
    /// This replaces the checksums of the first fetch, except for models whose checksums are part of
    /// lookalike (`pinned` in `models list`). Vectors of different weights are not comparable: an index made with the old ones is
    /// refused afterwards.
    #[arg(long)]
    pub renew: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `models use`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("action").required(true).args(["model", "rollback", "drop_old"]))]
pub struct ModelsUseArgs {
    /// The model by name, as `models list` shows it, or a folder with its description and weights
    #[arg(value_name = "NAME|FOLDER")]
    pub model: Option<String>,
    /// Put the previous collection back in service
    #[arg(long)]
    pub rollback: bool,
    /// Delete every collection of this index that is not in service
    #[arg(long)]
    pub drop_old: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Number of pictures to compare the two models on
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub sample: u16,
    /// Where to write the pictures on which the models differ most (default: models-use.html in
    /// the data folder)
    #[arg(long, value_name = "FILE.html")]
    pub sheet: Option<PathBuf>,
    /// How long to wait for the roles to follow, and for files resent by the audit (45s, 10m, 2h)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_nonzero_duration)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Data folder of the running `lookalike up`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// NATS server (default: that of the running `lookalike up`)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (default: that of the running `lookalike up`)
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// auto, cpu, vulkan:N, cuda:N, or several separated by commas (GPUs are features of the build)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Download nothing: use what is in the cache folder
    #[arg(long)]
    pub offline: bool,
}

impl ModelsUseArgs {
    /// The audit that completes a rollover.
    pub fn to_audit_args(&self) -> AuditRunArgs {
        AuditRunArgs {
            libraries: Vec::new(),
            repair: true,
            deep: false,
            no_wait: false,
            timeout: self.timeout,
            json: self.json,
        }
    }
}

impl ModelsArgs {
    pub fn service_args(&self) -> Option<&ServiceArgs> {
        match &self.command {
            None => Some(&self.list.service),
            Some(ModelsCommand::List(args)) => Some(&args.service),
            Some(ModelsCommand::Fetch(_) | ModelsCommand::Use(_)) => None,
        }
    }
}
