//! `watch-events`: prints what happens to the index, until Ctrl-C.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use lookalike_chassis::{Backoff, stdio};
use serde_json::Value;

use crate::duration_arg::parse_nonzero_duration;
use crate::event_stream::{EventParser, StreamedEvent};
use crate::service::{ServiceArgs, ServiceClient, is_transient};
use crate::terminal::{self, escape_line, fit_line, stdout_width};
use crate::usage_error::format_error;

/// The types of events; an event of a type that this version does not know is printed as well.
const TYPES: [&str; 7] = [
    "indexed", "removed", "failed", "progress", "match", "gap", "dropped",
];

/// The counts in an event of the type `progress`.
const COUNTS: [&str; 5] = ["on_disk", "indexed", "failed", "ignored", "in_flight"];

#[derive(Debug, Args)]
pub struct WatchEventsArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only events of this type (can be repeated, or separated by commas; default: all)
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = TYPES)]
    pub types: Vec<String>,
    /// Start after this event, instead of now: the `event_id` of the last one that you received
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// How long to try to reconnect after a lost connection (45s, 10m, 24h)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_nonzero_duration)]
    pub reconnect_timeout: Duration,
}

/// The examples in the help of `watch-events`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike watch-events                            everything, one line per event\n  \
    lookalike watch-events --type failed --library shop\n  \
    lookalike watch-events --json --type indexed | while read -r event; do …; done\n\n\
    With --json, each line is one event as GET /v1/events sends it. After a lost connection, the\n\
    stream continues where it ended; the service keeps the last 10,000 events. An event of the\n\
    type `gap` means that some are missing. Ctrl-C ends the command with exit code 0.";

/// Prints events until Ctrl-C, until the output is closed, or until the service cannot be reached for
/// too long.
pub async fn run_watch_events(service: &ServiceClient, args: &WatchEventsArgs) -> Result<()> {
    tokio::select! {
        result = follow_events(service, args) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow_events(service: &ServiceClient, args: &WatchEventsArgs) -> Result<()> {
    let query: Vec<_> = args
        .library
        .clone()
        .map(|library| ("library", library))
        .into_iter()
        .collect();
    let mut last_event_id = args.after.clone();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    // A first connection that fails is an error; a later one may be a restart of the service.
    let mut response = service
        .open_events(&query, last_event_id.as_deref())
        .await?;
    loop {
        let lost = read_events(&mut response, args, &mut last_event_id).await?;
        stdio::eprint_line(&format!("{lost}; reconnecting"));
        let lost_at = Instant::now();
        response = loop {
            tokio::time::sleep(backoff.next_delay()).await;
            match service.open_events(&query, last_event_id.as_deref()).await {
                Ok(response) => break response,
                Err(error) if !is_transient(&error) => return Err(error),
                Err(error) if lost_at.elapsed() > args.reconnect_timeout => {
                    return Err(anyhow!(
                        "{}; gave up after {:?} (--reconnect-timeout)",
                        format_error(&error),
                        args.reconnect_timeout
                    ));
                }
                Err(_) => {}
            }
        };
        backoff.reset_attempts();
    }
}

/// Prints the events of one connection. Returns why it ended.
///
/// # Errors
/// If an event cannot be written or read.
async fn read_events(
    response: &mut reqwest::Response,
    args: &WatchEventsArgs,
    last_event_id: &mut Option<String>,
) -> Result<&'static str> {
    let mut parser = EventParser::default();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok("the service ended the stream"),
            Err(_) => return Ok("the connection was lost"),
        };
        for event in parser.push_bytes(&chunk)? {
            write_event(&event, args)?;
            if event.id.is_some() {
                *last_event_id = event.id;
            }
        }
    }
}

fn write_event(event: &StreamedEvent, args: &WatchEventsArgs) -> Result<()> {
    let Ok(body) = serde_json::from_str::<Value>(&event.data) else {
        return Err(anyhow!(
            "the stream contains {:?}, which is no event of lookalike",
            terminal::shorten_end(&event.data, Some(80))
        ));
    };
    let kind = body["type"].as_str().unwrap_or("unknown");
    if !args.types.is_empty() && !args.types.iter().any(|wanted| wanted == kind) {
        if kind == "gap" {
            // A script that processes events must learn that some are missing.
            stdio::eprint_line("some events are missing here");
        }
        return Ok(());
    }
    if args.service.json {
        return Ok(terminal::write_json_line(&body)?);
    }
    Ok(stdio::write_line(&format_event(&body, stdout_width()))?)
}

/// Formats an event as one line.
fn format_event(event: &Value, width: Option<usize>) -> String {
    let text = |key: &str| escape_line(event[key].as_str().unwrap_or_default());
    let kind = text("type");
    let before = match &*text("at") {
        "" => format!("{kind:<9} "),
        at => format!("{at}  {kind:<9} "),
    };
    if kind == "progress" {
        let counts = COUNTS.map(|key| match event[key].as_u64() {
            Some(count) => format!("{} {count}", key.replace('_', " ")),
            None => format!("{} ?", key.replace('_', " ")),
        });
        return fit_line(&before, &counts.join(", "), "", width);
    }
    let mut parts = Vec::new();
    for key in ["library", "id", "saved_search_name", "code", "detail"] {
        let part = text(key);
        if !part.is_empty() {
            parts.push(part);
        }
    }
    if let Some(score) = event["score"].as_f64() {
        parts.push(format!("{score:.3}").into());
    }
    fit_line(&before, &parts.join("  "), "", width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line() {
        let failed = json!({ "type": "failed", "at": "2026-05-02T14:11:09Z", "library": "shop",
            "id": "3ac9", "code": "truncated", "detail": "ends\u{1b} early" });
        assert_eq!(
            format_event(&failed, None),
            "2026-05-02T14:11:09Z  failed    shop  3ac9  truncated  ends\\u{1b} early"
        );
        let progress = json!({ "type": "progress", "on_disk": 5, "indexed": 3, "failed": 1,
            "ignored": 1, "in_flight": null });
        assert_eq!(
            format_event(&progress, None),
            "progress  on disk 5, indexed 3, failed 1, ignored 1, in flight ?"
        );
    }
}
