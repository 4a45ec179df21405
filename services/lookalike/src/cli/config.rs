//! The arguments of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: Option<ConfigCommand>,
    /// Used when there is no subcommand.
    #[command(flatten)]
    pub show: ConfigShowArgs,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting with its value and where it comes from (the default of `config`)
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ConfigShowArgs),
    /// Print the value of one setting
    #[command(after_help = "Examples:\n  \
        lookalike config get http.listen\n  \
        lookalike config get watch.poll_interval --json")]
    Get(ConfigGetArgs),
    /// Check a settings file without using it
    ///
    /// Reports unknown keys with the nearest known one, values of the wrong type, and values that
    /// the roles would refuse. Environment variables and flags are left out.
    #[command(after_help = "Examples:\n  \
        lookalike config check                     the file that lookalike would read here\n  \
        lookalike config check new/lookalike.toml  another file\n\n\
        Exit codes: 0 valid, 2 not valid.")]
    Check(ConfigCheckArgs),
    /// Print a settings file with every setting, its default and its description as comments
    #[command(after_help = "Examples:\n  \
        lookalike config default > lookalike.toml  a file to start with")]
    Default,
    /// Explain settings: description, default, and environment variable
    #[command(after_help = "Examples:\n  \
        lookalike config docs                      all settings\n  \
        lookalike config docs watch                a section\n  \
        lookalike config docs http.listen          one setting")]
    Docs(ConfigDocsArgs),
}

const SHOW_EXAMPLES: &str = "Examples:\n  \
    lookalike config                           the settings of `lookalike up`\n  \
    lookalike config show --role embed         those of `lookalike embed`\n  \
    lookalike config --changed                 only those that are not defaults\n  \
    lookalike config --json";

/// The examples in the help of `config`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike config --changed                 settings that are not defaults, and their sources\n  \
    lookalike config get http.listen           one value\n  \
    lookalike config check lookalike.toml      check a file\n  \
    lookalike config docs watch                what the settings of a section mean\n  \
    lookalike config default > lookalike.toml  a file to start with";

/// The arguments of `config show`.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// The command whose settings to show; commands differ in a few defaults
    #[arg(long, value_name = "ROLE", default_value = "up")]
    pub role: RoleName,
    /// Only settings that are not defaults
    #[arg(long)]
    pub changed: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `config get`.
#[derive(Debug, Args)]
pub struct ConfigGetArgs {
    /// The setting, such as nats.url
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The command whose setting to print
    #[arg(long, value_name = "ROLE", default_value = "up")]
    pub role: RoleName,
    /// Print JSON with the source of the value
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `config check`.
#[derive(Debug, Args)]
pub struct ConfigCheckArgs {
    /// The file (default: the one that lookalike would read)
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// The arguments of `config docs`.
#[derive(Debug, Args)]
pub struct ConfigDocsArgs {
    /// A setting or a section (default: all)
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A command that runs roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    Up,
    Watch,
    Embed,
    Serve,
}

impl ConfigArgs {
    /// The command whose defaults apply.
    pub fn role(&self) -> RoleName {
        match &self.command {
            None => self.show.role,
            Some(ConfigCommand::Show(args)) => args.role,
            Some(ConfigCommand::Get(args)) => args.role,
            Some(ConfigCommand::Check(_) | ConfigCommand::Default | ConfigCommand::Docs(_)) => {
                RoleName::Up
            }
        }
    }
}
