//! A group as lines that fit the terminal.

use indicatif::HumanBytes;
use serde_json::Value;

use crate::terminal::{display_width, escape_line, shorten_end, shorten_middle};

/// Widths of the columns: what to do, the size in pixels, and the file size.
const ACTION_WIDTH: usize = 4;
const SIZE_WIDTH: usize = 13;
const BYTES_WIDTH: usize = 10;
/// A narrower terminal gets longer lines.
const MIN_PATH_WIDTH: usize = 16;
/// What the reasons get of a narrow terminal, at least.
const MIN_REASONS_WIDTH: usize = 20;

/// Formats a group: a title, and a line for each picture. Without a width, nothing is shortened.
pub(super) fn format_group(group: &Value, width: Option<usize>) -> String {
    let images: Vec<&Value> = group["images"].as_array().into_iter().flatten().collect();
    let kind = match group["kind"].as_str() {
        Some("identical") => "identical files",
        _ => "pictures look the same",
    };
    let reclaimable = HumanBytes(group["reclaimable_bytes"].as_u64().unwrap_or(0));
    let mut text = format!("{} {kind}, {reclaimable} to reclaim\n", images.len());
    let paths: Vec<String> = images.iter().map(|image| path_of(image)).collect();
    let longest = paths
        .iter()
        .map(|path| display_width(path))
        .max()
        .unwrap_or(0);
    let fixed = ACTION_WIDTH + SIZE_WIDTH + BYTES_WIDTH + 8;
    let path_width = width.map_or(longest, |width| {
        let free = width.saturating_sub(fixed + MIN_REASONS_WIDTH);
        longest.min(free.max(MIN_PATH_WIDTH))
    });
    for (image, path) in images.into_iter().zip(paths) {
        let path = shorten_middle(&path, path_width);
        let padding = " ".repeat(path_width.saturating_sub(display_width(&path)));
        let action = match image["keep"].as_bool() {
            Some(true) => "keep",
            _ => "",
        };
        let pixels = |key: &str| image[key].as_u64().unwrap_or(0);
        let size = format!("{} × {}", pixels("width"), pixels("height"));
        let bytes = HumanBytes(pixels("bytes")).to_string();
        let start = format!(
            "  {action:<ACTION_WIDTH$}  {path}{padding}  {size:>SIZE_WIDTH$}{bytes:>BYTES_WIDTH$}  "
        );
        let reasons = reasons_of(image);
        let reasons = shorten_end(
            &reasons,
            width.map(|width| width.saturating_sub(display_width(&start))),
        );
        text += format!("{start}{reasons}").trim_end();
        text.push('\n');
    }
    text
}

fn path_of(image: &Value) -> String {
    let text = |key: &str| escape_line(image[key].as_str().unwrap_or("?"));
    format!("{}/{}", text("library"), text("path"))
}

fn reasons_of(image: &Value) -> String {
    let reasons = image["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    escape_line(&reasons.join("; ")).into_owned()
}
