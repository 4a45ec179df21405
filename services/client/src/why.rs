//! `why`: the history of one file as a timeline. Also `failures show`, which is a part of it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lookalike_chassis::stdio;
use serde_json::Value;

use crate::locate_file::{FileLocator, resolve_file};
use crate::service::{FileArgs, ServiceClient};
use crate::terminal::{self, escape_line};

pub async fn run_why(service: &ServiceClient, args: &FileArgs) -> Result<()> {
    let history = fetch_history(service, &args.file).await?;
    if args.service.json {
        terminal::write_json(&history)?;
    } else {
        stdio::write_text(&format_history(&history))?;
    }
    Ok(())
}

/// Runs `failures show`.
pub async fn show_failure(service: &ServiceClient, args: &FileArgs) -> Result<()> {
    let history = fetch_history(service, &args.file).await?;
    if args.service.json {
        terminal::write_json(&history)?;
    } else {
        stdio::write_text(&(format_header(&history) + &format_reason(&history)))?;
    }
    Ok(())
}

async fn fetch_history(service: &ServiceClient, file: &Path) -> Result<Value> {
    let locator = resolve_file(service, file).await?;
    service.get_json("/v1/why", &locator.to_query()).await
}

/// Returns the ids of files that are given by id or path.
pub async fn resolve_image_ids(service: &ServiceClient, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(files.len());
    for file in files {
        ids.push(match resolve_file(service, file).await? {
            FileLocator::Id(id) => id,
            locator @ FileLocator::Path { .. } => {
                let history = service.get_json("/v1/why", &locator.to_query()).await?;
                let id = history["id"]
                    .as_str()
                    .with_context(|| format!("{} is not catalogued yet", file.display()))?;
                id.to_owned()
            }
        });
    }
    Ok(ids)
}

/// A field of the answer, escaped: several fields contain file names.
fn escaped_text<'a>(value: &'a Value, key: &str) -> Cow<'a, str> {
    escape_line(value[key].as_str().unwrap_or_default())
}

/// Formats the file's identity and state.
fn format_header(history: &Value) -> String {
    let mut header = format!(
        "{}/{}\n",
        escaped_text(history, "library"),
        escaped_text(history, "path")
    );
    let mut add_line = |name: &str, value: String| header += &format!("{name:<10} {value}\n");
    let since = match &*escaped_text(history, "since") {
        "" => String::new(),
        since => format!(" since {since}"),
    };
    let state = escaped_text(history, "state").replace('_', " ");
    add_line("state", format!("{state}{since}"));
    if let Some(id) = history["id"].as_str() {
        add_line("id", escape_line(id).into_owned());
    }
    if let Some(modified_at) = history["modified_at"].as_str() {
        let size = match history["bytes"].as_u64().unwrap_or(0) {
            1 => "1 byte".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        add_line("file", format!("{size}, written {modified_at}"));
    }
    if let Some(hash) = history["content_hash"].as_str() {
        add_line("content", hash.to_owned());
    }
    header
}

/// Formats why there is no row, and what can be done; empty if there is no reason.
fn format_reason(history: &Value) -> String {
    let code = escaped_text(history, "code");
    if code.is_empty() {
        return String::new();
    }
    let detail = escaped_text(history, "detail");
    let reason = &history["reason"];
    let mut text = format!("reason     {} ({code})\n", escaped_text(reason, "title"));
    // For a file that a rule ignores, the detail names the rule and the general sentence adds
    // nothing.
    let sentence = match &*escaped_text(reason, "retry_policy") {
        "rule" if !detail.is_empty() => Cow::Borrowed(""),
        _ => escaped_text(reason, "sentence"),
    };
    for line in [sentence, detail] {
        if !line.is_empty() {
            text += &format!("           {line}\n");
        }
    }
    if let Some(remedy) = reason["remedy"].as_str() {
        text += &format!("remedy     {}\n", escape_line(remedy));
    }
    text
}

fn format_history(history: &Value) -> String {
    let mut text = format_header(history) + &format_reason(history) + "\n";
    for step in history["steps"].as_array().into_iter().flatten() {
        let after = step["after_ms"]
            .as_f64()
            .map(format_span)
            .unwrap_or_default();
        let line = format!(
            "{:<10} {:<25} {after:>10}  {}",
            escaped_text(step, "step"),
            escaped_text(step, "at"),
            escaped_text(step, "note")
        );
        text += line.trim_end();
        text += "\n";
    }
    let visible = match history["visible"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    text += &format!(
        "{:<10} {visible}: {}\n",
        "visible",
        escaped_text(history, "index")
    );
    if let Some(waits_for) = history["waits_for"].as_str() {
        text += &format!("{:<10} {}\n", "waits for", escape_line(waits_for));
    }
    text
}

/// Formats a time span in a unit that fits its length.
fn format_span(ms: f64) -> String {
    let sign = if ms < 0.0 { "-" } else { "+" };
    let ms = ms.abs();
    let seconds = ms / 1e3;
    match seconds {
        s if s < 0.01 => format!("{sign}{ms:.1} ms"),
        s if s < 1.0 => format!("{sign}{ms:.0} ms"),
        s if s < 120.0 => format!("{sign}{s:.1} s"),
        s if s < 7200.0 => format!("{sign}{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{sign}{:.0} h", s / 3600.0),
        s => format!("{sign}{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_are_short() {
        for (ms, expected) in [
            (0.04, "+0.0 ms"),
            (3.21, "+3.2 ms"),
            (202.4, "+202 ms"),
            (3_200.0, "+3.2 s"),
            (240_000.0, "+4 min"),
            (10_800_000.0, "+3 h"),
            (259_200_000.0, "+3 days"),
            (-12.0, "-12 ms"),
        ] {
            assert_eq!(format_span(ms), expected);
        }
    }

    #[test]
    fn file_names_cannot_control_the_terminal() {
        let history = json!({
            "library": "shop", "path": "a\u{1b}[2J\nvisible yes.jpg", "state": "failed",
            "code": "empty", "detail": "\u{7}", "bytes": 1, "modified_at": "now", "steps": [],
            "waits_for": "\u{9b}2J",
        });
        let text = format_history(&history);
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(
            text.starts_with(r"shop/a\u{1b}[2J\nvisible yes.jpg"),
            "{text}"
        );
        assert!(text.contains("1 byte, written now"), "{text}");
    }

    #[test]
    fn a_history_is_printed_line_by_line() {
        let history = json!({
            "library": "shop", "path": "a.jpg", "id": "3ac9", "state": "failed",
            "since": "2026-05-03T08:00:00Z", "bytes": 20, "modified_at": "2026-05-03T07:00:00Z",
            "code": "truncated", "detail": "the jpeg image is cut short: at row 3",
            "reason": {"title": "Cut short", "sentence": "It ends early.", "remedy": "Copy it."},
            "steps": [
                {"step": "seen", "at": "2026-05-03T08:00:00.100Z", "after_ms": null, "note": ""},
                {"step": "sent", "at": "2026-05-03T08:00:00.302Z", "after_ms": 202.0, "note": "once"},
            ],
            "visible": false, "index": "the index has no row of it", "waits_for": null,
        });
        assert_eq!(
            format_history(&history),
            "shop/a.jpg\n\
             state      failed since 2026-05-03T08:00:00Z\n\
             id         3ac9\n\
             file       20 bytes, written 2026-05-03T07:00:00Z\n\
             reason     Cut short (truncated)\n           \
             It ends early.\n           \
             the jpeg image is cut short: at row 3\n\
             remedy     Copy it.\n\n\
             seen       2026-05-03T08:00:00.100Z\n\
             sent       2026-05-03T08:00:00.302Z     +202 ms  once\n\
             visible    no: the index has no row of it\n"
        );
    }
}
