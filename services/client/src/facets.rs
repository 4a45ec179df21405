//! `facets`: how many pictures have each value of an attribute.

use anyhow::Result;
use clap::Args;
use lookalike_chassis::stdio;
use serde_json::Value;

use crate::search::parse_filter;
use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::{self, display_width, escape_line, shorten_middle, stdout_width};

/// The attributes whose values are counted.
const FIELDS: [&str; 8] = [
    "library", "folder", "format", "camera", "color", "tag", "year", "month",
];

/// The columns of attribute and count, with the spaces between columns.
const OTHER_COLUMNS: usize = 8 + 2 + 2 + 9;

#[derive(Debug, Args)]
pub struct FacetsArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Only these attributes, separated by commas (default: all)
    #[arg(value_name = "ATTRIBUTE", value_delimiter = ',', value_parser = FIELDS)]
    pub fields: Vec<String>,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only pictures that match this filter, in JSON
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    pub filter: Option<Value>,
    /// Maximum number of values of each attribute
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// The examples in the help of `facets`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike facets                              the most frequent values of all attributes\n  \
    lookalike facets tag,year --limit 50\n  \
    lookalike facets color --filter '{\"folder\": \"shoes/\"}'\n\n\
    Every value can be used in a filter: lookalike search photo.jpg --filter '{\"tags\": \"beach\"}'";

pub async fn run_facets(service: &ServiceClient, args: &FacetsArgs) -> Result<()> {
    let mut query = vec![("limit", args.limit.to_string())];
    if !args.fields.is_empty() {
        query.push(("fields", args.fields.join(",")));
    }
    query.extend(args.library.clone().map(|library| ("library", library)));
    let filter = args.filter.as_ref();
    query.extend(filter.map(|filter| ("filter", filter.to_string())));
    let answer = service.get_json("/v1/facets", &query).await?;
    if args.service.json {
        return Ok(terminal::write_json(&answer)?);
    }
    Ok(stdio::write_text(&format_facets(&answer, stdout_width()))?)
}

fn format_facets(answer: &Value, width: Option<usize>) -> String {
    let images = answer["images"].as_u64().unwrap_or(0);
    let total = answer["total"].as_u64().unwrap_or(0);
    let mut text = match answer["is_complete"].as_bool() {
        Some(false) => {
            format!("counted in a random sample of {images} of about {total} pictures\n")
        }
        _ => format!("{total} pictures\n"),
    };
    for field in FIELDS {
        let facet = &answer["facets"][field];
        if !facet.is_null() {
            text += &format_facet(field, facet, width);
        }
    }
    text
}

fn format_facet(field: &str, facet: &Value, width: Option<usize>) -> String {
    let mut rows: Vec<(String, u64)> = Vec::new();
    for value in facet["values"].as_array().into_iter().flatten() {
        let name = escape_line(value["value"].as_str().unwrap_or("?"));
        rows.push((name.into_owned(), value["count"].as_u64().unwrap_or(0)));
    }
    let shown = rows.len() as u64;
    match facet["without"].as_u64() {
        Some(without @ 1..) => rows.push(("(none)".to_owned(), without)),
        _ if rows.is_empty() => return format!("\n{field:<8}  no values\n"),
        _ => {}
    }
    let widest = rows.iter().map(|(name, _)| display_width(name)).max();
    let widest = widest.unwrap_or(0);
    let room = width.map_or(widest, |width| width.saturating_sub(OTHER_COLUMNS));
    let column = widest.min(room.max(12));
    let mut text = String::from("\n");
    for (row, (name, count)) in rows.iter().enumerate() {
        let label = if row == 0 { field } else { "" };
        let name = shorten_middle(name, column);
        let padding = " ".repeat(column.saturating_sub(display_width(&name)));
        text += &format!("{label:<8}  {name}{padding}  {count:>9}\n");
    }
    let more = facet["distinct"]
        .as_u64()
        .unwrap_or(0)
        .saturating_sub(shown);
    if more > 0 {
        text += &format!("{:<8}  and {more} more values; --limit shows them\n", "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_a_table() {
        let answer = json!({ "images": 7, "total": 7, "is_complete": true, "facets": {
            "tag": { "values": [{ "value": "beach\u{1b}", "count": 4 }, { "value": "写真", "count": 1 }],
                     "distinct": 5, "without": 2 },
            "year": { "values": [], "distinct": 0, "without": 0 } } });
        assert_eq!(
            format_facets(&answer, None),
            "7 pictures\n\n\
             tag       beach\\u{1b}          4\n          \
             写真                 1\n          \
             (none)               2\n          \
             and 3 more values; --limit shows them\n\n\
             year      no values\n"
        );
        let long = json!({ "values": [{ "value": "a/very/long/folder/of/pictures", "count": 12 }],
            "distinct": 1, "without": 0 });
        let text = format_facet("folder", &long, Some(40));
        assert!(text.lines().all(|line| display_width(line) <= 40), "{text}");
        assert!(text.contains("…"), "{text}");
        let sample = json!({ "images": 5, "total": 90, "is_complete": false, "facets": {} });
        assert!(format_facets(&sample, None).contains("sample of 5 of about 90"));
    }
}
