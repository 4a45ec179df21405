//! All settings in one struct, each crate's section in it, and how they are chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lookalike_chassis::settings::Layers;
use lookalike_chassis::telemetry;
use serde::{Deserialize, Serialize};

use crate::cli::{Cli, CliCommand, ModelsCommand, RoleArgs};
use crate::failure::Failure;
use crate::libraries;

/// Everything that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where everything that is kept lies; empty: `lookalike` in the platform's data folder.
    pub data_dir: String,
    /// Download nothing.
    pub offline: bool,
    /// Where commands find a running service; empty: where `lookalike up` says it runs.
    pub url: String,
    /// Libraries by name, with their root folders.
    pub libraries: BTreeMap<String, String>,
    /// Logs.
    pub log: telemetry::Settings,
    /// NATS; for `up`, an empty url starts a server.
    pub nats: lookalike_bus::Settings,
    /// Milvus; for `up`, an empty url starts a server.
    pub milvus: lookalike_index::Settings,
    /// Model, device, limits of decoding.
    pub vision: lookalike_vision::Settings,
    /// The watcher.
    pub watch: lookalike_watcher::Settings,
    /// The embedder.
    pub embed: lookalike_embedder::Settings,
    /// The audit.
    pub audit: lookalike_embedder::audit::Settings,
    /// The API and the page.
    pub http: lookalike_search::Settings,
    /// Fetching models.
    pub models: crate::models::Settings,
    /// The servers that `up` starts.
    pub servers: lookalike_servers::Settings,
}

/// The settings, and every one of them with its origin.
pub struct ResolvedSettings {
    /// Settled.
    pub settings: Settings,
    /// For `--print-config`.
    pub described: String,
}

/// Lays defaults, file, environment and flags on top of each other.
///
/// # Errors
/// Wrong settings, one line.
pub fn resolve_settings(cli: &Cli) -> Result<ResolvedSettings, Failure> {
    let mut defaults = Settings::default();
    let mut none = RoleArgs::default();
    if let CliCommand::Audit(args) = &cli.command {
        defaults.nats.url = String::new();
        defaults.milvus.url = String::new();
        none = args.to_role_args();
    }
    if let CliCommand::Models(args) = &cli.command
        && let Some(ModelsCommand::Use(args)) = &args.command
    {
        defaults.nats.url = String::new();
        defaults.milvus.url = String::new();
        none = args.to_role_args();
    }
    let role = match &cli.command {
        CliCommand::Up(role) => {
            // Nothing but what matters stands between the lines of `up`.
            defaults.log.filter = "warn".into();
            defaults.nats.url = String::new();
            defaults.milvus.url = String::new();
            role
        }
        CliCommand::Watch(role) => {
            defaults.http.listen = "127.0.0.1:8081".into();
            role
        }
        CliCommand::Embed(role) => {
            defaults.http.listen = "127.0.0.1:8082".into();
            role
        }
        CliCommand::Serve(role) => role,
        CliCommand::Confirm(_) => {
            defaults.nats.url = String::new();
            &none
        }
        _ => &none,
    };
    let service = cli.command.service_args();
    let data_dir = role
        .data_dir
        .as_ref()
        .or(service.and_then(|service| service.data_dir.as_ref()));
    let url = service.and_then(|service| service.url.as_ref());
    let mut layers = Layers::new(defaults);
    if let Some(file) = settings_file(cli.config.as_deref()) {
        layers = layers.with_file(&file).map_err(Failure::usage)?;
    }
    // What the hub's own tools go by.
    for (key, variable) in [("models.hub", "HF_ENDPOINT"), ("models.token", "HF_TOKEN")] {
        if let Some(value) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
            layers = layers
                .with_flag(key, value, &format!("environment {variable}"))
                .map_err(Failure::usage)?;
        }
    }
    // Variables that are no UTF-8 can't be ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    layers = layers
        .with_environment("LOOKALIKE", variables)
        .map_err(Failure::usage)?;
    let nats_url = match &cli.command {
        CliCommand::Confirm(args) => args.nats_url.as_ref(),
        _ => role.nats_url.as_ref(),
    };
    for (key, value, flag) in [
        ("data_dir", data_dir, "--data-dir"),
        ("url", url, "--url"),
        ("http.listen", role.listen.as_ref(), "--listen"),
        ("nats.url", nats_url, "--nats-url"),
        ("milvus.url", role.milvus_url.as_ref(), "--milvus-url"),
        ("vision.model", role.model.as_ref(), "--model"),
        ("vision.device", role.device.as_ref(), "--device"),
        ("log.filter", cli.log.as_ref(), "--log"),
    ] {
        if let Some(value) = value {
            layers = layers
                .with_flag(key, value.as_str(), flag)
                .map_err(Failure::usage)?;
        }
    }
    if role.offline {
        layers = layers
            .with_flag("offline", true, "--offline")
            .map_err(Failure::usage)?;
    }
    let mut given: BTreeMap<String, PathBuf> = BTreeMap::new();
    for argument in &role.folders {
        let (name, folder) = libraries::parse_library_argument(argument)?;
        let root = libraries::expand_home(&folder);
        let root = root.canonicalize().unwrap_or(root);
        let earlier = given.insert(name.to_string(), root.clone());
        if earlier.is_some_and(|earlier| earlier != root) {
            return Err(Failure::usage(format!(
                "two of the folders would be library {name}: give one of them another name, as in \
                 other={folder}"
            )));
        }
        let key = format!("libraries.{name}");
        layers = layers
            .with_flag(&key, folder, argument)
            .map_err(Failure::usage)?;
    }
    let mut described = layers.to_annotated_toml();
    if layers.settings().servers.cache_dir.is_none() {
        // What has no value is not among the values.
        let line = format!(
            "{:<48} # not set: lookalike in the platform's cache folder",
            "# cache_dir = \"…\""
        );
        described = described.replace("\n[servers]\n", &format!("\n[servers]\n{line}\n"));
    }
    Ok(ResolvedSettings {
        settings: layers.settings().clone(),
        described,
    })
}

impl Settings {
    /// The data folder.
    ///
    /// # Errors
    /// When none is set and the platform has none.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        if !self.data_dir.is_empty() {
            return Ok(libraries::expand_home(&self.data_dir));
        }
        dirs::data_dir()
            .map(|dir| dir.join("lookalike"))
            .ok_or_else(|| {
                Failure::usage("this system names no data folder: give one with --data-dir")
            })
    }
}

fn settings_file(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let here = PathBuf::from("lookalike.toml");
    let configured = dirs::config_dir().map(|dir| dir.join("lookalike").join("lookalike.toml"));
    [Some(here), configured]
        .into_iter()
        .flatten()
        .find(|file| file.is_file())
}
