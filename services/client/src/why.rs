//! `run_why`: one file's life, as a time line.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use crate::cli::FileArgs;
use crate::client::{self, ServiceClient};
use crate::failure::Failure;
use crate::named::{self, FileLocator};
use crate::settings::Settings;
use crate::shown;

/// `run_why`.
///
/// # Errors
/// When the file is not known, or nobody answers.
pub async fn run_why(settings: &Settings, args: &FileArgs) -> Result<(), Failure> {
    let service = ServiceClient::from_settings(settings)?;
    let life = fetch_history(&service, &args.file).await?;
    if args.service.json {
        client::print_json(&life);
    } else {
        print!("{}", format_history(&life));
    }
    Ok(())
}

/// `failures show`.
///
/// # Errors
/// When the file is not known, or nobody answers.
pub async fn show_failure(settings: &Settings, args: &FileArgs) -> Result<(), Failure> {
    let service = ServiceClient::from_settings(settings)?;
    let life = fetch_history(&service, &args.file).await?;
    if args.service.json {
        client::print_json(&life);
    } else {
        print!("{}{}", format_header(&life), format_reason(&life));
    }
    Ok(())
}

async fn fetch_history(service: &ServiceClient, file: &Path) -> Result<Value, Failure> {
    let named = named::resolve_file(service, file).await?;
    service.get_json("/v1/why", &named.to_query()).await
}

/// The ids of files that are named by id or path.
///
/// # Errors
/// When one is not known.
pub async fn resolve_image_ids(
    service: &ServiceClient,
    files: &[std::path::PathBuf],
) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::with_capacity(files.len());
    for file in files {
        let named = named::resolve_file(service, file).await?;
        ids.push(match named {
            FileLocator::Id(id) => id,
            path => {
                let life = service.get_json("/v1/why", &path.to_query()).await?;
                let id = life["id"].as_str().ok_or_else(|| {
                    Failure::failed(format!("{} is not taken in yet", file.display()))
                })?;
                id.to_owned()
            }
        });
    }
    Ok(ids)
}

/// A text of the answer, as one line: names of files are in several of them.
fn escaped_text<'a>(value: &'a Value, key: &str) -> Cow<'a, str> {
    shown::escape_line(value[key].as_str().unwrap_or_default())
}

/// Which file, and what became of it.
fn format_header(life: &Value) -> String {
    let mut said = format!(
        "{}/{}\n",
        escaped_text(life, "library"),
        escaped_text(life, "path")
    );
    let mut line = |name: &str, value: String| said += &format!("{name:<10} {value}\n");
    let since = match &*escaped_text(life, "since") {
        "" => String::new(),
        since => format!(" since {since}"),
    };
    let state = escaped_text(life, "state").replace('_', " ");
    line("state", format!("{state}{since}"));
    if let Some(id) = life["id"].as_str() {
        line("id", id.to_owned());
    }
    if let Some(modified_at) = life["modified_at"].as_str() {
        let bytes = life["bytes"].as_u64().unwrap_or(0);
        let bytes = match bytes {
            1 => "1 byte".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        line("file", format!("{bytes}, written {modified_at}"));
    }
    if let Some(hash) = life["content_hash"].as_str() {
        line("content", hash.to_owned());
    }
    said
}

/// Why there is no row, and what can be done.
fn format_reason(life: &Value) -> String {
    let code = escaped_text(life, "code");
    if code.is_empty() {
        return String::new();
    }
    let detail = escaped_text(life, "detail");
    let reason = &life["reason"];
    let mut said = format!("reason     {} ({code})\n", escaped_text(reason, "title"));
    // What a rule says is the same for each file; what was found in a file is not.
    let sentence = match &*escaped_text(reason, "retry_policy") {
        "rule" if !detail.is_empty() => Cow::Borrowed(""),
        _ => escaped_text(reason, "sentence"),
    };
    for words in [sentence, detail] {
        if !words.is_empty() {
            said += &format!("           {words}\n");
        }
    }
    if let Some(remedy) = reason["remedy"].as_str() {
        said += &format!("remedy     {}\n", shown::escape_line(remedy));
    }
    said
}

/// A whole life.
fn format_history(life: &Value) -> String {
    let mut said = format_header(life) + &format_reason(life) + "\n";
    for step in life["steps"].as_array().into_iter().flatten() {
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
        said += line.trim_end();
        said += "\n";
    }
    let visible = match life["visible"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    said += &format!(
        "{:<10} {visible}: {}\n",
        "visible",
        escaped_text(life, "index")
    );
    if let Some(waits_for) = life["waits_for"].as_str() {
        said += &format!("{:<10} {}\n", "waits for", shown::escape_line(waits_for));
    }
    said
}

/// A span of time, in the unit that suits it.
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
    fn a_name_does_nothing_to_the_terminal() {
        let life = json!({
            "library": "shop", "path": "a\u{1b}[2J\nvisible yes.jpg", "state": "failed",
            "code": "empty", "detail": "\u{7}", "bytes": 1, "modified_at": "now", "steps": [],
            "waits_for": "\u{9b}2J",
        });
        let said = format_history(&life);
        assert!(
            !said.contains(|c: char| c.is_control() && c != '\n'),
            "{said:?}"
        );
        assert!(
            said.starts_with(r"shop/a\u{1b}[2J\nvisible yes.jpg"),
            "{said}"
        );
        assert!(said.contains("1 byte, written now"), "{said}");
    }

    #[test]
    fn a_life_is_told_line_by_line() {
        let life = json!({
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
            format_history(&life),
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
