//! `keys`: creates, lists and revokes the API keys of an installation.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use lookalike_chassis::stdio;
use lookalike_client::{terminal, usage_error};
use lookalike_proto::LibraryName;
use lookalike_search::{KeyFile, KeyFileError, NewKey, Scope, StoredKey};
use serde_json::json;

use crate::settings::Settings;

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Data folder of the service
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it: the only time that it is shown
    #[command(after_help = "Examples:\n  \
        lookalike keys add phone                        search, and view pictures\n  \
        lookalike keys add shop --library shoes         the same, in one library only\n  \
        lookalike keys add upload --scope ingest        start scans\n  \
        lookalike keys add ops --scope admin            everything\n  \
        curl -H \"Authorization: Bearer KEY\" http://HOST:8080/v1/stats")]
    Add {
        /// What the key is for
        #[arg(value_name = "NAME")]
        name: String,
        /// What the key permits; repeat it for several
        #[arg(long = "scope", value_name = "SCOPE", default_value = "search")]
        scopes: Vec<ScopeArg>,
        /// The only library that the key permits to see; repeat it for several [default: all]
        ///
        /// To requests with the key, other libraries do not exist. Saved searches cover all
        /// libraries, so such a key cannot use them. A name that the settings do not list is accepted
        /// with a warning, because services with other settings may share the key file.
        #[arg(long = "library", value_name = "NAME")]
        libraries: Vec<LibraryName>,
    },
    /// List the keys, without their secrets
    #[command(after_help = "Examples:\n  \
        lookalike keys list\n  \
        lookalike keys list --json | jq '.keys[].name'")]
    List,
    /// Revoke a key; the service refuses it within two seconds
    #[command(after_help = "Examples:\n  \
        lookalike keys revoke phone\n  \
        lookalike keys revoke 3fa94c1e      by its id, if several have the name")]
    Revoke {
        /// The id of the key, or its name
        #[arg(value_name = "ID|NAME")]
        key: String,
    },
}

/// A scope on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ScopeArg {
    /// Search, and read everything
    Search,
    /// Also start scans
    Ingest,
    /// Everything
    Admin,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Search => Self::Search,
            ScopeArg::Ingest => Self::Ingest,
            ScopeArg::Admin => Self::Admin,
        }
    }
}

pub fn run_keys(settings: &Settings, args: &KeysArgs) -> Result<()> {
    let path = settings.keys_file()?;
    let mut file = KeyFile::read(&path).map_err(wrong_use)?;
    match &args.command {
        KeysCommand::Add {
            name,
            scopes,
            libraries,
        } => {
            let scopes: Vec<Scope> = scopes.iter().copied().map(Scope::from).collect();
            let new = file.add(name, &scopes, libraries).map_err(wrong_use)?;
            warn_of_unknown(libraries, settings);
            write_new_key(&new, &path, args.json)
        }
        KeysCommand::List if args.json => {
            let keys: Vec<_> = file.keys().iter().map(to_json).collect();
            Ok(terminal::write_json(&json!({ "keys": keys }))?)
        }
        KeysCommand::List => {
            let table = terminal::fit_table(&format_keys(file.keys()), terminal::stdout_width());
            Ok(stdio::write_text(&table)?)
        }
        KeysCommand::Revoke { key } => {
            let revoked = file.revoke(key).map_err(wrong_use)?;
            if args.json {
                return Ok(terminal::write_json(&to_json(&revoked))?);
            }
            let line = format!("revoked {} ({})\n", revoked.id, revoked.name);
            Ok(stdio::write_text(&terminal::escape_lines(&line))?)
        }
    }
}

/// Reports libraries that the settings of this command do not list: a misspelt name permits nothing.
fn warn_of_unknown(libraries: &[LibraryName], settings: &Settings) {
    let is_unknown = |name: &&LibraryName| !settings.libraries.contains_key(name.as_str());
    for name in libraries.iter().filter(is_unknown) {
        let known: Vec<&str> = settings.libraries.keys().map(String::as_str).collect();
        let known = match known.is_empty() {
            true => "they list none".to_owned(),
            false => format!("they list {}", known.join(", ")),
        };
        stdio::eprint_line(&format!(
            "warning: the settings of this command list no library {name} ({known}); the key sees \
             nothing there unless the service has a library of this name"
        ));
    }
}

/// Names, scopes and damaged files are the user's to fix.
fn wrong_use(error: KeyFileError) -> anyhow::Error {
    match error {
        KeyFileError::Read { .. } | KeyFileError::Write { .. } => error.into(),
        error => usage_error(anyhow::Error::new(error)),
    }
}

fn write_new_key(new: &NewKey, path: &std::path::Path, as_json: bool) -> Result<()> {
    if as_json {
        let mut value = to_json(&new.stored);
        value["key"] = new.key.clone().into();
        return Ok(terminal::write_json(&value)?);
    }
    stdio::write_text(&format!("{}\n", new.key))?;
    // On standard error, so that a script can capture the key alone.
    stdio::eprint_line(&terminal::escape_lines(&format!(
        "This key is shown only once; {} stores its hash. Send it as `Authorization: Bearer KEY`, \
         or set LOOKALIKE_API_KEY for this command line.",
        path.display()
    )));
    Ok(())
}

fn to_json(key: &StoredKey) -> serde_json::Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "libraries": library_names(key),
        "created_at": key.created_at,
    })
}

/// Returns the names of the only libraries that a key permits to see; `None` if it permits all.
fn library_names(key: &StoredKey) -> Option<Vec<&str>> {
    let libraries = key.libraries.as_ref()?;
    Some(libraries.iter().map(LibraryName::as_str).collect())
}

fn describe_libraries(key: &StoredKey) -> String {
    match library_names(key) {
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => names.join(", "),
        None => "all".to_owned(),
    }
}

fn format_keys(keys: &[StoredKey]) -> String {
    if keys.is_empty() {
        return "There are no keys. `lookalike keys add NAME` creates one.\n".to_owned();
    }
    let libraries: Vec<String> = keys.iter().map(describe_libraries).collect();
    let lengths = libraries.iter().map(String::len);
    let width = lengths.max().unwrap_or(0).max("LIBRARIES".len()) + 2;
    let mut text = format!(
        "{:<10}{:<22}{:<24}{:<width$}NAME\n",
        "ID", "CREATED", "SCOPES", "LIBRARIES"
    );
    for (key, libraries) in keys.iter().zip(&libraries) {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        text += &format!(
            "{:<10}{:<22}{:<24}{libraries:<width$}{}\n",
            key.id,
            key.created_at,
            scopes.join(", "),
            terminal::escape_line(&key.name)
        );
    }
    text
}

impl Settings {
    /// The file of the API keys.
    pub fn keys_file(&self) -> Result<PathBuf> {
        match self.http.keys_file.as_str() {
            "" => Ok(self.data_dir()?.join(KeyFile::FILE_NAME)),
            file => Ok(crate::libraries::expand_home(file)),
        }
    }
}
