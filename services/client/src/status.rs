//! `status`: how many files are indexed, failed, ignored and in flight.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::{self, escape_line};
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
    let print = |stats: &Value| {
        if args.service.json {
            terminal::print_json(stats);
        } else {
            if args.watch {
                print!("{CLEAR_SCREEN}");
            }
            print_status(service.url(), stats);
        }
    };
    let stats = service.get_json("/v1/stats", &[]).await?;
    print(&stats);
    if !args.watch {
        return Ok(());
    }
    let watching = async {
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            match service.get_json("/v1/stats", &[]).await {
                Ok(stats) => print(&stats),
                // The service may be restarting.
                Err(error) => eprintln!("{}", terminal::escape_lines(&format_error(&error))),
            }
        }
    };
    tokio::select! {
        () = watching => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn print_status(url: &str, stats: &Value) {
    println!("lookalike at {url}");
    print_model(stats);
    println!();
    let no_libraries = Vec::new();
    let libraries = stats["libraries"].as_array().unwrap_or(&no_libraries);
    print_counts(stats, libraries);
    if stats["intake_paused"] == true {
        println!();
        println!(
            "new files wait, and none is lost: Milvus accepts no writes, or a mount is unavailable"
        );
    }
    if let Some(reason) = stats["rollover_error"].as_str() {
        println!();
        println!("{}", escape_line(reason));
    }
    for embedder in stats["unresponsive_embedders"]
        .as_array()
        .into_iter()
        .flatten()
    {
        println!();
        println!(
            "an embedder is unresponsive, and searches use others until it reacts: {}",
            escaped_text(embedder)
        );
    }
    for library in libraries {
        for degradation in library["degraded"].as_array().into_iter().flatten() {
            println!();
            println!(
                "{}: {} — {}",
                escaped_text(&library["name"]),
                escaped_text(&degradation["reason"]),
                escape_line(degradation["detail"].as_str().unwrap_or(""))
            );
        }
    }
}

fn print_model(stats: &Value) {
    let model = &stats["model"];
    let model = format!(
        "{} ({} numbers)",
        escaped_text(&model["name"]),
        count(model, "dimension")
    );
    // An embedder's device description starts with its model.
    match stats["device"].as_str().map(escape_line) {
        Some(device) if device.starts_with(&model) => println!("model   {device}"),
        Some(device) => println!("model   {model}\ndevice  {device}"),
        None => println!("model   {model}; no embedder reports its status"),
    }
}

fn print_counts(stats: &Value, libraries: &[Value]) {
    println!(
        "{:<20} {:>9} {:>9} {:>7} {:>8} {:>10}",
        "library", "on disk", "indexed", "failed", "ignored", "in flight"
    );
    let print_row = |name: &str, value: &Value| {
        println!(
            "{name:<20} {:>9} {:>9} {:>7} {:>8} {:>10}",
            count(value, "on_disk"),
            count(value, "indexed"),
            count(value, "failed"),
            count(value, "ignored"),
            count(value, "in_flight"),
        );
    };
    for library in libraries {
        print_row(&escaped_text(&library["name"]), library);
    }
    if libraries.len() != 1 {
        print_row("all", stats);
    }
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn escaped_text(value: &Value) -> String {
    escape_line(value.as_str().unwrap_or("unknown")).into_owned()
}
