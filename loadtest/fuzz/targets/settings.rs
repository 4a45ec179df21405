//! Reads arbitrary text as settings file, variables and flags. They must be accepted, or rejected with
//! one line, and the output of `--print-config` for accepted settings must be a settings file again.
//!
//! The input is a settings file, a line `--- variables`, lines `NAME=VALUE`, a line `--- flags` and lines
//! `key=value`. The sections are compiled from the crates' own files, and the struct around them replaces
//! that of `lookalike`: depending on these crates would build the whole product, networks included.

#![no_main]
#![allow(dead_code, reason = "only the shapes of the sections are used")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lookalike_chassis::settings::Layers;
use lookalike_chassis::telemetry;
use serde::{Deserialize, Serialize};

#[path = "../../../services/audit/src/settings.rs"]
mod audit;
#[path = "../../../services/embedder/src/settings.rs"]
mod embedder;
#[path = "../../../services/index/src/settings.rs"]
mod index;
#[path = "../../../services/models/src/settings.rs"]
mod models;
#[path = "../../../services/search/src/settings.rs"]
mod search;
#[path = "../../../services/servers/src/settings.rs"]
mod servers;
#[path = "../../../services/watcher/src/settings.rs"]
mod watcher;

/// Replaces the error of `lookalike-index`, which its settings use.
#[derive(Debug)]
enum Error {
    Settings { reason: String },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    data_dir: String,
    offline: bool,
    url: String,
    libraries: BTreeMap<String, String>,
    log: telemetry::Settings,
    nats: lookalike_bus::Settings,
    milvus: index::Settings,
    vision: lookalike_vision::Settings,
    watch: watcher::Settings,
    embed: embedder::Settings,
    audit: audit::Settings,
    http: search::Settings,
    models: models::Settings,
    servers: servers::Settings,
}

/// Settings files are read by path; in memory if the system has a memory file system.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared_memory = PathBuf::from("/dev/shm");
    let folder = if shared_memory.is_dir() {
        shared_memory
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("lookalike-fuzz-{}.toml", std::process::id()))
});

fn read_layers(text: &str) -> Result<Layers<Settings>, String> {
    let (file, rest) = text.split_once("--- variables\n").unwrap_or((text, ""));
    let (variables, flags) = rest.split_once("--- flags\n").unwrap_or((rest, ""));
    let pairs = |lines: &str| -> Vec<(String, String)> {
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        lines.lines().filter_map(pair).collect()
    };
    std::fs::write(&*FILE, file).map_err(|error| error.to_string())?;
    let mut layers = Layers::new(Settings::default())
        .with_file(&FILE)
        .map_err(single_line)?
        .with_environment("LOOKALIKE", pairs(variables))
        .map_err(single_line)?;
    for (key, value) in pairs(flags) {
        layers = layers
            .with_flag(&key, value, "--flag")
            .map_err(single_line)?;
    }
    Ok(layers)
}

/// Checks that the message is one line.
fn single_line(error: lookalike_chassis::settings::Error) -> String {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
    line
}

fuzz_target!(|text: &str| {
    if let Ok(layers) = read_layers(text) {
        let printed = layers.to_annotated_toml();
        let reread: Settings = toml::from_str(&printed)
            .unwrap_or_else(|error| panic!("not a settings file: {error}\n{printed}"));
        // Hidden credentials are not printed; everything else is the same.
        if !printed.contains("(hidden)") {
            // Compares values, because "79s" and "1m 19s" are equal.
            assert_eq!(to_toml(&reread), to_toml(layers.settings()));
        }
        let _ = layers.settings().vision.decode_threads();
        let _ = lookalike_vision::Limits::from(&layers.settings().vision);
    }
});

fn to_toml(settings: &Settings) -> toml::Value {
    toml::Value::try_from(settings).expect("our settings serialize")
}
