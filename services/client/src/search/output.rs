//! How hits are printed: lines, paths for other programs, JSON, thumbnails, or the page.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use lookalike_chassis::stdio;
use lookalike_proto::unescape_path;
use serde_json::Value;

use super::thumbnails::{ThumbnailDecoder, ThumbnailMode, ThumbnailProtocol, encode_thumbnail};
use crate::service::ServiceClient;
use crate::terminal::{self, escape_line, stdout_width};

/// The longer side of a thumbnail that a terminal shows, in pixels.
pub const THUMBNAIL_SIDE: u32 = 160;

/// What is printed, and where lists of pictures are read.
#[derive(Debug, Clone, Default, Args)]
pub struct SearchOutputArgs {
    /// Search by each of the pictures that this file lists, one per line; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "id", "open"])]
    pub files_from: Option<PathBuf>,
    /// Print only the paths of the hits
    #[arg(long, conflicts_with = "json")]
    pub paths: bool,
    /// End names of files with a NUL byte instead of a line break: those that --paths prints, and
    /// those in the list of --files-from
    #[arg(long, short = '0')]
    pub null: bool,
    /// Show thumbnails in the terminal: `auto` if it is known to show pictures
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub thumbnails: ThumbnailMode,
    /// Open the search on the page, in the browser
    #[arg(long)]
    pub open: bool,
}

/// How the answers of one command are printed.
pub(super) struct AnswerPrinter<'a> {
    pub(super) service: &'a ServiceClient,
    pub(super) output: &'a SearchOutputArgs,
    pub(super) is_json: bool,
    pub(super) decode: ThumbnailDecoder,
}

impl AnswerPrinter<'_> {
    /// Prints the answer to one search. `image`: the picture of a list that it belongs to.
    pub(super) async fn write_answer(&self, image: Option<&Path>, answer: &Value) -> Result<()> {
        if self.output.paths {
            return write_paths(self.service, self.output.null, answer).await;
        }
        match (self.is_json, image) {
            (true, None) => return Ok(terminal::write_json(answer)?),
            (true, Some(image)) => {
                let mut answer = answer.clone();
                answer["image"] = image.to_string_lossy().into();
                return Ok(terminal::write_json_line(&answer)?);
            }
            (false, None) => {}
            (false, Some(image)) => {
                stdio::write_line(&escape_line(&format!("{}:", image.display())))?;
            }
        }
        self.write_lines(answer).await
    }

    async fn write_lines(&self, answer: &Value) -> Result<()> {
        let is_terminal = std::io::stdout().is_terminal();
        let variable = |name: &str| std::env::var(name).ok();
        let mode = self.output.thumbnails;
        let protocol = mode.choose_protocol(is_terminal, &variable);
        let width = stdout_width();
        for line in format_remarks(answer) {
            stdio::write_line(line)?;
        }
        for hit in answer["hits"].as_array().into_iter().flatten() {
            stdio::write_line(&format_hit(hit, width))?;
            if let Some(protocol) = protocol {
                show_thumbnail(self.service, hit, protocol, self.decode).await?;
            }
        }
        Ok(())
    }
}

/// The lines above the hits.
pub(super) fn format_remarks(answer: &Value) -> Vec<&'static str> {
    match answer["hits"].as_array() {
        Some(hits) if !hits.is_empty() => match answer["band"] == "no_match" {
            true => vec!["nothing here looks much like it; nearest:"],
            false => Vec::new(),
        },
        _ => vec!["no indexed picture can match yet"],
    }
}

/// Formats a hit as one line that fits the terminal.
pub(super) fn format_hit(hit: &Value, width: Option<usize>) -> String {
    let text = |key: &str| escape_line(hit[key].as_str().unwrap_or("?"));
    let band = match hit["band"].as_str() {
        Some(band) => format!("{:<14}  ", describe_band(band)),
        None => String::new(),
    };
    let folded = match hit["folded"]["count"].as_u64() {
        Some(count) => format!("  (+{count} of the same picture)"),
        None => String::new(),
    };
    terminal::fit_line(
        &format!("{:.3}  {band}", hit["score"].as_f64().unwrap_or(0.0)),
        &format!("{}/{}", text("library"), text("path")),
        &format!("  {}{folded}", text("id")),
        width,
    )
}

/// Names of bands, best first, and how they are displayed.
pub(crate) const BANDS: [(&str, &str); 6] = [
    ("same_picture", "same picture"),
    ("turned_copy", "same picture, turned or mirrored"),
    ("near_duplicate", "near-duplicate"),
    ("very_similar", "very similar"),
    ("similar", "similar"),
    ("no_match", "no good match"),
];

pub(crate) fn describe_band(band: &str) -> &str {
    let known = BANDS.iter().find(|(name, _)| *name == band);
    known.map_or(band, |(_, description)| description)
}

/// A hit whose file has just gone has no thumbnail; the line above it remains.
async fn show_thumbnail(
    service: &ServiceClient,
    hit: &Value,
    protocol: ThumbnailProtocol,
    decode: ThumbnailDecoder,
) -> Result<()> {
    let Some(id) = hit["id"].as_str() else {
        return Ok(());
    };
    let path = format!("/v1/images/{id}/thumbnail?size={THUMBNAIL_SIDE}");
    let Ok(jpeg) = service.get_bytes(&path).await else {
        return Ok(());
    };
    match encode_thumbnail(protocol, &jpeg, decode) {
        Some(bytes) => Ok(stdio::write_bytes(&bytes)?),
        None => Ok(()),
    }
}

/// Prints paths on the disk of the service, or `LIBRARY/PATH` where the root folder is unknown.
async fn write_paths(service: &ServiceClient, is_null: bool, answer: &Value) -> Result<()> {
    let stats = service.get_json("/v1/stats", &[]).await?;
    let roots: HashMap<&str, &str> = stats["libraries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|library| Some((library["name"].as_str()?, library["root"].as_str()?)))
        .collect();
    let is_terminal = std::io::stdout().is_terminal();
    for hit in answer["hits"].as_array().into_iter().flatten() {
        let mut bytes = hit_path(hit, &roots);
        if !is_null && is_terminal {
            let text = String::from_utf8_lossy(&bytes);
            bytes = escape_line(&text).into_owned().into_bytes();
        }
        bytes.push(if is_null { 0 } else { b'\n' });
        stdio::write_bytes(&bytes)?;
    }
    Ok(())
}

fn hit_path(hit: &Value, roots: &HashMap<&str, &str>) -> Vec<u8> {
    let text = |key: &str| hit[key].as_str().unwrap_or_default();
    let (library, path) = (text("library"), text("path"));
    let bytes = unescape_path(path).unwrap_or_else(|| path.as_bytes().to_vec());
    let root = roots.get(library).copied().unwrap_or(library);
    let root = root.trim_end_matches('/');
    [root.as_bytes(), b"/", &bytes].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_those_on_the_disk() {
        let roots = HashMap::from([("shop", "/srv/shop/")]);
        let path = |library: &str, path: &str| {
            hit_path(&json!({ "library": library, "path": path }), &roots)
        };
        assert_eq!(path("shop", "a/b.jpg"), b"/srv/shop/a/b.jpg");
        assert_eq!(path("shop", r"caf\xe9.jpg"), b"/srv/shop/caf\xe9.jpg");
        assert_eq!(path("attic", "b.jpg"), b"attic/b.jpg");
    }
}
