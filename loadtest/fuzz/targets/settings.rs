//! Any text as settings file, variables and flags: they are taken or refused with one line, and
//! what `--print-config` shows of settings that were taken is a settings file again.
//!
//! The input is a settings file; below a line `--- variables` come `NAME=VALUE` lines, and below
//! a line `--- flags` come `key=value` lines. The sections are the crates' own; the struct around
//! them stands for the one of `lookalike`, which would bring the whole product with it.

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
#[path = "../../../services/search/src/settings.rs"]
mod search;
#[path = "../../../services/servers/src/settings.rs"]
mod servers;
#[path = "../../../services/watcher/src/settings.rs"]
mod watcher;

/// As `lookalike-index` has it.
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
    servers: servers::Settings,
}

/// Files are read by path, so there must be one; in memory where the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("lookalike-fuzz-{}.toml", std::process::id()))
});

fn layers(text: &str) -> Result<Layers<Settings>, String> {
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
        .file(&FILE)
        .map_err(one_line)?
        .environment("LOOKALIKE", pairs(variables))
        .map_err(one_line)?;
    for (key, value) in pairs(flags) {
        layers = layers.flag(&key, value, "--flag").map_err(one_line)?;
    }
    Ok(layers)
}

/// Whoever set something wrong is told so on one line.
fn one_line(error: lookalike_chassis::settings::Error) -> String {
    let line = error.to_string();
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
    line
}

fuzz_target!(|text: &str| {
    if let Ok(layers) = layers(text) {
        let shown = layers.describe();
        let again: Settings = toml::from_str(&shown)
            .unwrap_or_else(|error| panic!("no settings file: {error}\n{shown}"));
        // As far as nothing is hidden in it, it says the same.
        if !shown.contains("(hidden)") {
            // "79s" and "1m 19s" are the same.
            assert_eq!(value(&again), value(layers.settled()));
        }
        let _ = layers.settled().vision.decode_threads();
        let _ = lookalike_vision::Limits::from(&layers.settled().vision);
    }
});

/// The settings as a file would have them.
fn value(settings: &Settings) -> toml::Value {
    toml::Value::try_from(settings).expect("our own")
}
