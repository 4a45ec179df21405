//! `status`: how many files are indexed, failed, ignored and in flight.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use lookalike_chassis::stdio::{self, OutputError};
use serde_json::Value;

use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::{self, escape_line, shorten_middle, stdout_width};
use crate::usage_error::format_error;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears the terminal and moves the cursor to its top left corner.
const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Refresh every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

pub async fn run_status(service: &ServiceClient, args: &StatusArgs) -> Result<()> {
    let stats = service.get_json("/v1/stats", &[]).await?;
    write_stats(service, args, &stats)?;
    if !args.watch {
        return Ok(());
    }
    tokio::select! {
        result = watch_stats(service, args) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Writes the status every second, until it cannot be written.
async fn watch_stats(service: &ServiceClient, args: &StatusArgs) -> Result<()> {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        match service.get_json("/v1/stats", &[]).await {
            Ok(stats) => write_stats(service, args, &stats)?,
            // The service may be restarting.
            Err(error) => stdio::eprint_line(&terminal::escape_lines(&format_error(&error))),
        }
    }
}

fn write_stats(
    service: &ServiceClient,
    args: &StatusArgs,
    stats: &Value,
) -> Result<(), OutputError> {
    if args.service.json {
        return terminal::write_json(stats);
    }
    let clear = if args.watch { CLEAR_SCREEN } else { "" };
    stdio::write_text(&format!(
        "{clear}{}",
        format_status(service.url(), stats, stdout_width())
    ))
}

fn format_status(url: &str, stats: &Value, width: Option<usize>) -> String {
    let mut text = format!(
        "lookalike at {url}\n{}\n{}\n",
        format_model(stats),
        format_devices(stats)
    );
    let no_libraries = Vec::new();
    let libraries = stats["libraries"].as_array().unwrap_or(&no_libraries);
    text += &format_counts(stats, libraries, width);
    if stats["intake_paused"] == true {
        text += "\nnew files wait, and none is lost: Milvus accepts no writes, or a mount is \
                 unavailable\n";
    }
    if let Some(reason) = stats["rollover_error"].as_str() {
        text += &format!("\n{}\n", escape_line(reason));
    }
    for embedder in stats["unresponsive_embedders"]
        .as_array()
        .into_iter()
        .flatten()
    {
        text += &format!(
            "\nan embedder is unresponsive, and searches use others until it reacts: {}\n",
            escaped_text(embedder)
        );
    }
    for library in libraries {
        for degradation in library["degraded"].as_array().into_iter().flatten() {
            text += &format!(
                "\n{}: {} — {}\n",
                escaped_text(&library["name"]),
                escaped_text(&degradation["reason"]),
                escape_line(degradation["detail"].as_str().unwrap_or(""))
            );
        }
    }
    text
}

fn format_model(stats: &Value) -> String {
    let model = &stats["model"];
    let model = format!(
        "{} ({} numbers)",
        escaped_text(&model["name"]),
        model["dimension"].as_u64().unwrap_or(0)
    );
    // An embedder's device description starts with its model.
    match stats["device"].as_str().map(escape_line) {
        Some(device) if device.starts_with(&model) => format!("model   {device}"),
        Some(device) => format!("model   {model}\ndevice  {device}"),
        None => format!("model   {model}; no embedder reports its status"),
    }
}

/// Returns a line for each device if there are several, or if one does not work.
fn format_devices(stats: &Value) -> String {
    let no_devices = Vec::new();
    let devices = stats["devices"].as_array().unwrap_or(&no_devices);
    if devices.len() < 2 && devices.iter().all(|device| device["state"] == "ready") {
        return String::new();
    }
    let has_several_embedders = devices
        .iter()
        .any(|device| device["embedder"] != devices[0]["embedder"]);
    let format_device = |device: &Value| {
        let detail = device["problem"].as_str().or(device["hardware"].as_str());
        let embedder = match has_several_embedders {
            true => format!(" ({})", escaped_text(&device["embedder"])),
            false => String::new(),
        };
        let line = format!(
            "device  {:<9} {:<8} {:>9} embedded  {}{embedder}",
            escaped_text(&device["device"]),
            escaped_text(&device["state"]),
            format_count(&device["embedded"]),
            escape_line(detail.unwrap_or("")),
        );
        format!("{}\n", line.trim_end())
    };
    devices.iter().map(format_device).collect()
}

const COUNTS: [&str; 5] = ["on_disk", "indexed", "failed", "ignored", "in_flight"];

/// The columns of the counts, with the spaces before them.
const COUNT_COLUMNS: usize = 10 + 10 + 8 + 9 + 11;

fn format_counts(stats: &Value, libraries: &[Value], width: Option<usize>) -> String {
    let room = width.map_or(20, |width| width.saturating_sub(COUNT_COLUMNS).clamp(8, 20));
    let format_row = |name: &str, cells: [String; COUNTS.len()]| {
        let [on_disk, indexed, failed, ignored, in_flight] = cells;
        let name = match width {
            Some(_) => shorten_middle(name, room),
            None => name.into(),
        };
        format!(
            "{name:<room$} {on_disk:>9} {indexed:>9} {failed:>7} {ignored:>8} {in_flight:>10}\n"
        )
    };
    let counts = |value: &Value| COUNTS.map(|key| format_count(&value[key]));
    let mut text = format_row("library", COUNTS.map(|key| key.replace('_', " ")));
    for library in libraries {
        text += &format_row(&escaped_text(&library["name"]), counts(library));
    }
    if libraries.len() != 1 {
        text += &format_row("all", counts(stats));
    }
    if libraries.iter().any(|library| library["on_disk"].is_null()) {
        text += &format!("\n{UNKNOWN_COUNT}: not known yet, because no watcher has reported it\n");
    }
    text
}

/// Stands for a count that the service does not know.
const UNKNOWN_COUNT: &str = "?";

fn format_count(count: &Value) -> String {
    count
        .as_u64()
        .map_or_else(|| UNKNOWN_COUNT.to_owned(), |count| count.to_string())
}

fn escaped_text(value: &Value) -> String {
    escape_line(value.as_str().unwrap_or("unknown")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn several_devices_are_listed() {
        let device = |name: &str, state: &str, hardware: &str, problem: Value| {
            json!({"device": name, "state": state, "hardware": hardware, "problem": problem,
                   "embedded": 1302, "embedder": "desk-1"})
        };
        let working = device("vulkan:0", "ready", "H200, f16", Value::Null);
        let problem = json!("gives wrong\u{1b} vectors");
        let failed = device("vulkan:1", "failed", "H200, f16", problem);
        let mut unused = device("cpu", "standby", "", Value::Null);
        assert_eq!(
            format_devices(&json!({"devices": [working, failed, unused]})),
            "device  vulkan:0  ready         1302 embedded  H200, f16\n\
             device  vulkan:1  failed        1302 embedded  gives wrong\\u{1b} vectors\n\
             device  cpu       standby       1302 embedded\n"
        );
        unused["embedder"] = json!("desk-2");
        assert_eq!(
            format_devices(&json!({"devices": [working, unused]})),
            "device  vulkan:0  ready         1302 embedded  H200, f16 (desk-1)\n\
             device  cpu       standby       1302 embedded   (desk-2)\n"
        );
        assert_eq!(format_devices(&json!({"devices": [working]})), "");
        assert!(format_devices(&json!({"devices": [failed]})).contains("failed"));
        assert_eq!(format_devices(&json!({})), "");
    }

    #[test]
    fn unknown_counts_are_no_zeros() {
        let stats = json!({
            "model": {"name": "lookalike-mini", "dimension": 384}, "device": null,
            "on_disk": null, "indexed": null, "failed": null, "ignored": null, "in_flight": null,
            "unresponsive_embedders": ["desk\u{1b}"],
            "libraries": [
                {"name": "home", "on_disk": 5, "indexed": 3, "failed": 1, "ignored": 1, "in_flight": 0},
                {"name": "shop", "on_disk": null, "degraded": [
                    {"reason": "no_watcher", "detail": "no watcher reports\u{1b} this library"}]},
            ],
        });
        assert_eq!(
            format_status("http://localhost", &stats, None),
            "lookalike at http://localhost\n\
             model   lookalike-mini (384 numbers); no embedder reports its status\n\n\
             library                on disk   indexed  failed  ignored  in flight\n\
             home                         5         3       1        1          0\n\
             shop                         ?         ?       ?        ?          ?\n\
             all                          ?         ?       ?        ?          ?\n\n\
             ?: not known yet, because no watcher has reported it\n\n\
             an embedder is unresponsive, and searches use others until it reacts: desk\\u{1b}\n\n\
             shop: no_watcher — no watcher reports\\u{1b} this library\n"
        );
    }
}
