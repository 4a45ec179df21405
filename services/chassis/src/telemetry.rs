//! Logging, as text for people or as JSON for log collectors.

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// The settings of section `log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A filter in the syntax of `RUST_LOG`: `info`, `warn,lookalike_watcher=debug`, …
    pub filter: String,
    /// `text` for people, or `json`: one object per line.
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
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

/// A filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot parse log.filter {filter:?}: {source}; examples: info, warn,lookalike_watcher=debug"
)]
pub struct InvalidFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

impl Settings {
    /// # Errors
    /// The filter cannot be parsed.
    pub fn check_values(&self) -> Result<(), InvalidFilter> {
        parse_filter(&self.filter).map(|_| ())
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    EnvFilter::try_new(filter).map_err(|source| InvalidFilter {
        filter: filter.to_owned(),
        source,
    })
}

/// Sends the log lines of the whole process to `writer`. A second call has no effect.
///
/// # Errors
/// The filter cannot be parsed.
pub fn start_logging<W>(settings: &Settings, writer: W) -> Result<(), InvalidFilter>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = parse_filter(&settings.filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer).with_ansi(false);
    let _ = match settings.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    Ok(())
}
