//! `search`: by a picture, an image id, text, or several of them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use lookalike_chassis::stdio;
use serde_json::{Value, json};

use crate::locate_file::is_image_id;
use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::{self, escape_line};
use crate::usage_error::usage_error;

#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Search by this picture
    #[arg(value_name = "IMAGE")]
    pub image: Option<PathBuf>,
    /// Search by an indexed picture; used alone, it is omitted from the hits
    #[arg(long, value_name = "ID", value_parser = parse_image_id)]
    pub id: Option<String>,
    /// Search by text, alone or combined with a picture
    ///
    /// Needs a model with a text encoder, such as `clip-b32`.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// More like this (can be repeated)
    #[arg(long, value_name = "ID|FILE|text:TEXT")]
    pub positive: Vec<SearchExample>,
    /// Less like this (can be repeated)
    #[arg(long, value_name = "ID|FILE|text:TEXT")]
    pub negative: Vec<SearchExample>,
    /// Maximum number of hits
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only pictures that match this filter, in JSON
    ///
    /// For example {"folder": "2026/", "width": {"gte": 1000}}. docs/usage.md lists the fields and
    /// operators.
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    pub filter: Option<Value>,
}

/// The examples in the help of `search`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike search photo.jpg                          similar pictures\n  \
    lookalike search --text \"a red chair\"               by text, if the model has a text encoder\n  \
    lookalike search photo.jpg --text \"in the snow\"     by a picture and text\n  \
    lookalike search photo.jpg --negative other.jpg     more of this, less of that\n  \
    lookalike search --positive a.jpg --positive 9f8a41c25d7e03b6f4a1c2d3e4f50617 \\\n      \
    --negative text:people                            several pictures, ids and texts\n  \
    lookalike search photo.jpg --filter '{\"taken_at\": \"2026\", \"tags\": \"beach\"}'\n\n\
    Each line shows the score (cosine, at most 1), its meaning (for one picture, if it was measured\n\
    for the model), the file as LIBRARY/PATH, and its id. The API also accepts a weight for each\n\
    part of a query: POST /v1/search.";

/// What hits should resemble more, or less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchExample {
    /// An indexed image.
    Id(String),
    File(PathBuf),
    Text(String),
}

impl FromStr for SearchExample {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() {
            return Err("give an id, a picture file, or text:TEXT");
        }
        let lower = word.to_ascii_lowercase();
        Ok(match word.strip_prefix("text:") {
            Some(text) => Self::Text(text.to_owned()),
            None if is_image_id(&lower) && Path::new(word).symlink_metadata().is_err() => {
                Self::Id(lower)
            }
            None => Self::File(word.into()),
        })
    }
}

/// Accepts upper case as well, which other programs may write.
fn parse_image_id(word: &str) -> Result<String, &'static str> {
    let lower = word.to_ascii_lowercase();
    match is_image_id(&lower) {
        true => Ok(lower),
        false => Err("an id has 32 hexadecimal digits; give a file without --id"),
    }
}

/// Accepts any object; the service checks its fields.
pub(crate) fn parse_filter(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(filter @ Value::Object(_)) => Ok(filter),
        Ok(_) => Err("a filter is an object, such as {\"format\": \"jpeg\"}".to_owned()),
        Err(error) => Err(format!(
            "this is not JSON ({error}); quote the whole filter for the shell, as in \
             --filter '{{\"format\": \"jpeg\"}}'"
        )),
    }
}

impl SearchArgs {
    /// The error message if there is nothing to search for.
    fn missing_query(&self) -> Option<&'static str> {
        let has_target = self.image.is_some()
            || self.id.is_some()
            || self.text.is_some()
            || !self.positive.is_empty();
        match (has_target, self.negative.is_empty()) {
            (true, _) => None,
            (false, true) => {
                Some("nothing to search for: give a picture file, --id, --text or --positive")
            }
            (false, false) => Some(
                "--negative alone is not enough: also give a picture file, --id, --text or \
                 --positive",
            ),
        }
    }
}

pub async fn run_search(service: &ServiceClient, args: &SearchArgs) -> Result<()> {
    let answer = send_search(service, args).await?;
    if args.service.json {
        return Ok(terminal::write_json(&answer)?);
    }
    for line in format_answer(&answer) {
        stdio::write_line(&escape_line(&line))?;
    }
    Ok(())
}

/// Fails with wrong use if there is nothing to search for.
pub fn check_query(args: &SearchArgs) -> Result<()> {
    match args.missing_query() {
        Some(message) => Err(usage_error(anyhow!(message))),
        None => Ok(()),
    }
}

/// Uses the endpoint for a single picture or id where possible, else `POST /v1/search`.
async fn send_search(service: &ServiceClient, args: &SearchArgs) -> Result<Value> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.library.clone().map(|library| ("library", library)));
    let filter = args.filter.as_ref();
    query.extend(filter.map(|filter| ("filter", filter.to_string())));
    let is_single = args.text.is_none() && args.positive.is_empty() && args.negative.is_empty();
    match (&args.image, &args.id) {
        (Some(path), None) if is_single => {
            let bytes = read_picture(path).await?;
            service.post_bytes("/v1/search/image", &query, bytes).await
        }
        (None, Some(id)) if is_single => {
            let path = format!("/v1/images/{id}/similar");
            service.get_json(&path, &query).await
        }
        _ => {
            let answer = service
                .post_json("/v1/search", &build_request(args).await?)
                .await;
            answer.map_err(|error| name_file_in_error(args, error))
        }
    }
}

/// Replaces the service's name for an example, such as `positive[0].image`, by the file's path.
fn name_file_in_error(args: &SearchArgs, error: anyhow::Error) -> anyhow::Error {
    let message = error.to_string();
    for (list, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        for (i, example) in examples.iter().enumerate() {
            if let SearchExample::File(path) = example
                && let Some(rest) = message.strip_prefix(&format!("{list}[{i}].image: "))
            {
                return anyhow!("{}: {rest}", path.display());
            }
        }
    }
    error
}

async fn read_picture(path: &Path) -> Result<Vec<u8>> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| {
        let word = path.to_str().unwrap_or_default();
        let hint = match is_image_id(&word.to_ascii_lowercase()) {
            true => format!("; to search by an id, use --id {word}"),
            false => String::new(),
        };
        usage_error(anyhow!("cannot read {}: {error}{hint}", path.display()))
    })
}

async fn read_base64(path: &Path) -> Result<String> {
    Ok(STANDARD.encode(read_picture(path).await?))
}

/// Builds the body of `POST /v1/search`.
async fn build_request(args: &SearchArgs) -> Result<Value> {
    let mut request = json!({ "limit": args.limit });
    if let Some(path) = &args.image {
        request["image"] = read_base64(path).await?.into();
    }
    for (name, value) in [("id", &args.id), ("text", &args.text)] {
        if let Some(value) = value {
            request[name] = value.clone().into();
        }
    }
    for (name, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        let mut parts = Vec::with_capacity(examples.len());
        for example in examples {
            parts.push(match example {
                SearchExample::Id(id) => json!({ "id": id }),
                SearchExample::Text(text) => json!({ "text": text }),
                SearchExample::File(path) => json!({ "image": read_base64(path).await? }),
            });
        }
        if !parts.is_empty() {
            request[name] = parts.into();
        }
    }
    match (&args.library, &args.filter) {
        (Some(library), Some(filter)) => {
            request["filter"] = json!({ "library": library, "and": [filter] });
        }
        (Some(library), None) => request["filter"] = json!({ "library": library }),
        (None, Some(filter)) => request["filter"] = filter.clone(),
        (None, None) => {}
    }
    Ok(request)
}

pub(crate) fn describe_band(band: &str) -> &str {
    match band {
        "same_picture" => "same picture",
        "turned_copy" => "same picture, turned or mirrored",
        "near_duplicate" => "near-duplicate",
        "very_similar" => "very similar",
        "similar" => "similar",
        "no_match" => "no good match",
        unknown => unknown,
    }
}

fn format_answer(answer: &Value) -> Vec<String> {
    let no_hits = Vec::new();
    let hits = answer["hits"].as_array().unwrap_or(&no_hits);
    if hits.is_empty() {
        return vec!["no indexed picture can match yet".to_owned()];
    }
    let mut lines = Vec::with_capacity(hits.len() + 1);
    if answer["band"] == "no_match" {
        lines.push("nothing here looks much like it; nearest:".to_owned());
    }
    for hit in hits {
        let text = |key: &str| hit[key].as_str().unwrap_or("?");
        let band = match hit["band"].as_str() {
            Some(band) => format!("{:<14}  ", describe_band(band)),
            None => String::new(),
        };
        lines.push(format!(
            "{:.3}  {band}{}/{}  {}",
            hit["score"].as_f64().unwrap_or(0.0),
            text("library"),
            text("path"),
            text("id"),
        ));
    }
    lines
}

#[cfg(test)]
mod tests;
