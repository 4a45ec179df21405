//! Determines the settings: defaults of the command < file < environment < flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lookalike_chassis::settings::{Layers, SettingValue};
use lookalike_client::usage_error;

use super::schema::Settings;
use crate::cli::{Cli, CliCommand, DoctorArgs, ModelsArgs, ModelsCommand, RoleArgs, RoleName};
use crate::libraries::{expand_home, parse_library_argument};

const SETTINGS_FILE_NAME: &str = "lookalike.toml";

pub struct ResolvedSettings {
    pub settings: Settings,
    /// All values with their sources, for `--print-config`.
    pub annotated_toml: String,
    /// The same values one by one.
    pub values: Vec<SettingValue>,
}

/// Determines the settings for a command.
///
/// # Errors
/// If a layer has an unknown key or an invalid value; the error names the layer.
pub fn resolve_settings(cli: &Cli) -> Result<ResolvedSettings> {
    let mut layers = Layers::new(command_defaults(&cli.command));
    if let Some(file) = find_settings_file(cli.config.as_deref()) {
        layers = layers.with_file(&file).map_err(usage_error)?;
    }
    layers = apply_environment(layers)?;
    for (key, value, flag) in flag_values(cli) {
        layers = layers.with_flag(key, value, flag).map_err(usage_error)?;
    }
    if is_offline(&cli.command) {
        layers = layers
            .with_flag("offline", true, "--offline")
            .map_err(usage_error)?;
    }
    if let Some(role) = role_args(&cli.command) {
        layers = apply_folders(layers, &role.folders)?;
        layers = apply_permissions(layers, role)?;
    }
    Ok(ResolvedSettings {
        settings: layers.settings().clone(),
        annotated_toml: annotate_settings(&layers),
        values: layers.list_settings(),
    })
}

fn role_args(command: &CliCommand) -> Option<&RoleArgs> {
    match command {
        CliCommand::Up(role)
        | CliCommand::Watch(role)
        | CliCommand::Embed(role)
        | CliCommand::Serve(role) => Some(role),
        CliCommand::Doctor(args) => Some(&args.role),
        _ => None,
    }
}

/// The defaults of a command, which differ in log filter, address and servers.
fn command_defaults(command: &CliCommand) -> Settings {
    let mut defaults = Settings::default();
    // Without a URL, `up` starts the servers; the other commands look for those of a running `up`.
    let has_nats_default = match command {
        CliCommand::Up(_)
        | CliCommand::Doctor(_)
        | CliCommand::Audit(_)
        | CliCommand::Confirm(_)
        | CliCommand::Models(ModelsArgs {
            command: Some(ModelsCommand::Use(_)),
            ..
        }) => false,
        CliCommand::Config(args) => args.role() != RoleName::Up,
        _ => true,
    };
    if matches!(command, CliCommand::Export(_)) {
        defaults.milvus.url = String::new();
    }
    if !has_nats_default {
        defaults.nats.url = String::new();
        if !matches!(command, CliCommand::Confirm(_)) {
            defaults.milvus.url = String::new();
        }
    }
    let role = match command {
        CliCommand::Up(_) => Some(RoleName::Up),
        CliCommand::Watch(_) => Some(RoleName::Watch),
        CliCommand::Embed(_) => Some(RoleName::Embed),
        CliCommand::Config(args) => Some(args.role()),
        _ => None,
    };
    match role {
        // Log lines must not bury the few lines that `up` prints.
        Some(RoleName::Up) => defaults.log.filter = "warn".into(),
        Some(RoleName::Watch) => defaults.http.listen = "127.0.0.1:8081".into(),
        Some(RoleName::Embed) => defaults.http.listen = "127.0.0.1:8082".into(),
        Some(RoleName::Serve) | None => {}
    }
    defaults
}

fn apply_environment(mut layers: Layers<Settings>) -> Result<Layers<Settings>> {
    // The variables of the hub's own tools.
    for (key, variable) in [("models.hub", "HF_ENDPOINT"), ("models.token", "HF_TOKEN")] {
        if let Some(value) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
            layers = layers
                .with_flag(key, value, &format!("environment {variable}"))
                .map_err(usage_error)?;
        }
    }
    // Variables that are not UTF-8 are not ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    layers
        .with_environment("LOOKALIKE", variables)
        .map_err(usage_error)
}

/// The settings that flags of the command set: key, value and flag.
fn flag_values(cli: &Cli) -> Vec<(&'static str, String, &'static str)> {
    let service = cli.command.service_args();
    let mut values = vec![
        ("log.filter", cli.log.as_ref(), "--log"),
        ("url", service.and_then(|s| s.url.as_ref()), "--url"),
        (
            "data_dir",
            service.and_then(|s| s.data_dir.as_ref()),
            "--data-dir",
        ),
    ];
    match &cli.command {
        CliCommand::Up(role)
        | CliCommand::Watch(role)
        | CliCommand::Embed(role)
        | CliCommand::Serve(role)
        | CliCommand::Doctor(DoctorArgs { role, .. }) => values.extend([
            ("data_dir", role.data_dir.as_ref(), "--data-dir"),
            ("http.listen", role.listen.as_ref(), "--listen"),
            ("nats.url", role.nats_url.as_ref(), "--nats-url"),
            ("milvus.url", role.milvus_url.as_ref(), "--milvus-url"),
            ("vision.model", role.model.as_ref(), "--model"),
            ("vision.device", role.device.as_ref(), "--device"),
        ]),
        CliCommand::Audit(args) => values.extend([
            ("data_dir", args.data_dir.as_ref(), "--data-dir"),
            ("nats.url", args.nats_url.as_ref(), "--nats-url"),
            ("milvus.url", args.milvus_url.as_ref(), "--milvus-url"),
            ("vision.model", args.model.as_ref(), "--model"),
        ]),
        CliCommand::Models(ModelsArgs {
            command: Some(ModelsCommand::Use(args)),
            ..
        }) => values.extend([
            ("data_dir", args.data_dir.as_ref(), "--data-dir"),
            ("nats.url", args.nats_url.as_ref(), "--nats-url"),
            ("milvus.url", args.milvus_url.as_ref(), "--milvus-url"),
            ("vision.device", args.device.as_ref(), "--device"),
        ]),
        CliCommand::Keys(args) => {
            values.push(("data_dir", args.data_dir.as_ref(), "--data-dir"));
        }
        CliCommand::Export(args) => {
            values.push(("milvus.url", args.milvus_url.as_ref(), "--milvus-url"));
        }
        CliCommand::Confirm(args) => {
            values.push(("nats.url", args.nats_url.as_ref(), "--nats-url"));
        }
        _ => {}
    }
    let values = values.into_iter();
    values
        .filter_map(|(key, value, flag)| Some((key, value?.clone(), flag)))
        .collect()
}

fn is_offline(command: &CliCommand) -> bool {
    match command {
        CliCommand::Models(ModelsArgs {
            command: Some(ModelsCommand::Use(args)),
            ..
        }) => args.offline,
        _ => role_args(command).is_some_and(|role| role.offline),
    }
}

/// Adds the folders of the command line to the libraries.
fn apply_folders(mut layers: Layers<Settings>, folders: &[String]) -> Result<Layers<Settings>> {
    let mut roots: BTreeMap<String, PathBuf> = BTreeMap::new();
    for argument in folders {
        let (name, folder) = parse_library_argument(argument)?;
        let root = expand_home(&folder);
        let root = root.canonicalize().unwrap_or(root);
        let earlier = roots.insert(name.to_string(), root.clone());
        if earlier.is_some_and(|earlier| earlier != root) {
            return Err(usage_error(anyhow!(
                "two of the folders would be named {name}: give one of them another name, for \
                 example other={folder}"
            )));
        }
        // A table keeps what it permits.
        let key = match layers.settings().libraries.get(name.as_str()) {
            Some(known) if known.uploads || known.deletions || known.folder.is_empty() => {
                format!("libraries.{name}.folder")
            }
            _ => format!("libraries.{name}"),
        };
        layers = layers
            .with_flag(&key, folder, argument)
            .map_err(usage_error)?;
    }
    Ok(layers)
}

/// Adds the libraries that flags permit the API to change.
fn apply_permissions(mut layers: Layers<Settings>, role: &RoleArgs) -> Result<Layers<Settings>> {
    for (key, names, flag) in [
        ("uploads.allow", &role.allow_uploads, "--allow-uploads"),
        (
            "uploads.allow_deletions",
            &role.allow_deletions,
            "--allow-deletions",
        ),
    ] {
        if !names.is_empty() {
            layers = layers
                .with_flag(key, names.clone(), flag)
                .map_err(usage_error)?;
        }
    }
    Ok(layers)
}

fn annotate_settings(layers: &Layers<Settings>) -> String {
    let toml = layers.to_annotated_toml();
    if layers.settings().servers.cache_dir.is_some() {
        return toml;
    }
    // A setting without a value is missing from the layers.
    let line = format!(
        "{:<48} # not set: lookalike in the platform's cache folder",
        "# cache_dir = \"…\""
    );
    toml.replace("\n[servers]\n", &format!("\n[servers]\n{line}\n"))
}

/// Returns the settings file of a command: the given one, or the first that exists.
pub fn find_settings_file(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(given) = given {
        return Some(given.to_owned());
    }
    let here = PathBuf::from(SETTINGS_FILE_NAME);
    let configured = dirs::config_dir().map(|dir| dir.join("lookalike").join(SETTINGS_FILE_NAME));
    [Some(here), configured]
        .into_iter()
        .flatten()
        .find(|file| file.is_file())
}
