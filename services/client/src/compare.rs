//! `compare`: how similar two indexed pictures are, and what differs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;
use lookalike_chassis::stdio;
use serde_json::Value;

use crate::search::describe_band;
use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::{self, escape_line};
use crate::why::resolve_image_ids;

#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// The first picture: a path on this disk, LIBRARY/PATH, or an id
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The second picture
    #[arg(value_name = "B")]
    pub b: PathBuf,
}

/// The examples in the help of `compare`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike compare ~/Pictures/a.jpg ~/Pictures/backup/a.jpg\n  \
    lookalike compare shop/a.jpg 9f8a41c25d7e03b6f4a1c2d3e4f50617";

pub async fn run_compare(service: &ServiceClient, args: &CompareArgs) -> Result<()> {
    let files = [args.a.clone(), args.b.clone()];
    let ids = resolve_image_ids(service, &files).await?;
    let query: Vec<(&str, String)> = ["a", "b"].into_iter().zip(ids).collect();
    let comparison = service.get_json("/v1/compare", &query).await?;
    if args.service.json {
        return Ok(terminal::write_json(&comparison)?);
    }
    for line in format_comparison(&comparison) {
        stdio::write_line(&escape_line(&line))?;
    }
    Ok(())
}

fn format_comparison(comparison: &Value) -> Vec<String> {
    let mut lines: Vec<String> = ["a", "b"]
        .into_iter()
        .map(|name| format_picture(name, &comparison[name]))
        .collect();
    let score = comparison["score"].as_f64().unwrap_or(0.0);
    let meaning = match comparison["band"].as_str() {
        _ if comparison["same_content"] == true => Some("the files have the same bytes"),
        Some(band) => Some(describe_band(band)),
        None => None,
    };
    lines.push(match meaning {
        Some(meaning) => format!("{:<10}{meaning} (score {score:.3})", "result"),
        None => format!("{:<10}score {score:.3}", "result"),
    });
    for difference in comparison["differences"].as_array().into_iter().flatten() {
        let text = |key: &str| difference[key].as_str().unwrap_or("?");
        lines.push(format!("{:<10}{}", text("kind"), text("detail")));
    }
    let transform = &comparison["transform"];
    if let Some(overlap) = transform["overlap"].as_f64() {
        let numbers = transform["matrix"].as_array().into_iter().flatten();
        let numbers: Vec<f64> = numbers.filter_map(Value::as_f64).collect();
        if let [a, b, c, d, e, f] = numbers[..] {
            lines.push(format!(
                "{:<10}b covers {:.0} % of a; pixel (x, y) of a is ({a:.4} x {b:+.4} y {c:+.1}, \
                 {d:.4} x {e:+.4} y {f:+.1}) of b",
                "position",
                overlap * 100.0
            ));
        }
    }
    lines
}

fn format_picture(name: &str, image: &Value) -> String {
    let text = |key: &str| image[key].as_str().unwrap_or("?");
    let number = |key: &str| image[key].as_u64().unwrap_or(0);
    format!(
        "{name:<10}{}/{}  {} × {} {}, {}",
        text("library"),
        text("path"),
        number("width"),
        number("height"),
        text("format"),
        HumanBytes(number("bytes"))
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comparison_is_printed_line_by_line() {
        let image = |path: &str, width: u32| {
            json!({
                "library": "shop", "path": path, "width": width, "height": 300, "format": "jpeg",
                "bytes": 2048,
            })
        };
        let mut comparison = json!({
            "a": image("a.jpg", 400), "b": image("b.jpg", 200), "score": 0.95123,
            "band": "near_duplicate", "same_content": false,
            "differences": [{ "kind": "mirror", "detail": "b is mirrored left to right" }],
            "transform": { "matrix": [-0.5, 0.0, 200.0, 0.0, 1.0, 0.0], "overlap": 0.996 },
        });
        assert_eq!(
            format_comparison(&comparison),
            [
                "a         shop/a.jpg  400 × 300 jpeg, 2.00 KiB",
                "b         shop/b.jpg  200 × 300 jpeg, 2.00 KiB",
                "result    near-duplicate (score 0.951)",
                "mirror    b is mirrored left to right",
                "position  b covers 100 % of a; pixel (x, y) of a is \
                 (-0.5000 x +0.0000 y +200.0, 0.0000 x +1.0000 y +0.0) of b",
            ]
        );
        comparison["transform"] = Value::Null;
        comparison["band"] = Value::Null;
        comparison["differences"] = json!([]);
        assert_eq!(
            format_comparison(&comparison)[2..],
            ["result    score 0.951"]
        );
        comparison["same_content"] = true.into();
        assert_eq!(
            format_comparison(&comparison)[2],
            "result    the files have the same bytes (score 0.951)"
        );
    }
}
