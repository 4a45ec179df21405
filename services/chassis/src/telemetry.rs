//! Logs: to standard error, as lines for people or as JSON for collectors.

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Filter in the syntax of `RUST_LOG`: `info`, `warn,lookalike_watcher=debug`, …
    pub filter: String,
    /// `format_size` or `json`.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for a person.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: "info,async_nats=warn".into(),
            format: LogFormat::Text,
        }
    }
}

/// A filter that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.filter {filter:?} can't be read: {source}; examples: info, warn,lookalike_watcher=debug"
)]
pub struct InvalidFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends every log line through `writer`, from now on, for the whole process.
///
/// # Errors
/// When the filter can't be read. A second call changes nothing.
pub fn start_logging<W>(settings: &Settings, writer: W) -> Result<(), InvalidFilter>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.filter).map_err(|source| InvalidFilter {
        filter: settings.filter.clone(),
        source,
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer).with_ansi(false);
    let _ = match settings.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    Ok(())
}
