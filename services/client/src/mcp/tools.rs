//! The tools, and the requests that they send.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::arguments::ToolArguments;
use crate::locate_file::resolve_file;
use crate::service::ServiceClient;

/// The service accepts no larger picture by default.
const MAX_IMAGE_BYTES: u64 = 64 << 20;
/// Hits unless the client asks for more: each takes room in the context of a language model.
const DEFAULT_HITS: u64 = 10;
const MAX_HITS: u64 = 100;
/// The longer side of a picture for a language model, in pixels.
const VIEW_SIDE: u64 = 512;

pub(super) enum ToolOutput {
    Json(Value),
    /// In base64.
    Jpeg(String),
}

/// Returns the definitions of all tools. None of them changes anything.
pub(super) fn list_tools() -> Vec<Tool> {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_HITS,
        "description": "Maximum number of hits; 10 by default" });
    let library = json!({ "type": "string", "description": "Only this library" });
    let filter = json!({ "type": "object", "description": "Conditions, for example \
        {\"folder\": \"2026/\", \"tags\": {\"any\": [\"beach\"]}, \"width\": {\"gte\": 1000}, \
        \"taken_at\": \"2026-05\"}. Fields: library, folder, path, format, width, height, bytes, \
        taken_at, modified_at, indexed_at, camera, tags, colors, and, or, not" });
    let id = json!({ "type": "string", "pattern": "^[0-9a-f]{32}$",
        "description": "The id of a picture in the index" });
    let search = |own: Value| {
        let mut properties = own;
        for (name, schema) in [
            ("library", &library),
            ("filter", &filter),
            ("limit", &limit),
        ] {
            properties[name] = schema.clone();
        }
        properties
    };
    vec![
        define(
            "search_by_text",
            "Finds pictures that a text describes. Needs a model with a text encoder.",
            search(
                json!({ "text": { "type": "string", "description": "What the picture shows" } }),
            ),
            &["text"],
        ),
        define(
            "search_by_image",
            "Finds pictures that look like a picture, which is given as a file or as base64.",
            search(json!({
                "path": { "type": "string", "description": "A file on the machine of this program" },
                "base64": { "type": "string", "description": "The bytes of a picture in base64, at most 15 MiB; use path for a larger one" },
            })),
            &[],
        ),
        define(
            "search_by_id",
            "Finds pictures that look like one in the index.",
            search(json!({ "id": id })),
            &["id"],
        ),
        define(
            "view_image",
            "Shows a picture of the index, reduced to at most 512 pixels.",
            json!({ "id": id }),
            &["id"],
        ),
        define(
            "count_values",
            "Counts the pictures with each value of an attribute; every value can be used in a filter.",
            json!({
                "fields": { "type": "string", "description": "Attributes, separated by commas: \
                    library, folder, format, camera, color, tag, year, month; all by default" },
                "library": library,
                "filter": filter,
                "limit": { "type": "integer", "minimum": 1, "maximum": 1000,
                    "description": "Maximum number of values of each attribute; 20 by default" },
            }),
            &[],
        ),
        define(
            "explain_file",
            "Explains whether searches find a file, and if not, why and what to do.",
            json!({ "file": { "type": "string",
                "description": "An id, a path on this machine, or LIBRARY/PATH" } }),
            &["file"],
        ),
        define(
            "get_status",
            "Returns the libraries, the numbers of their files, and the model.",
            json!({}),
            &[],
        ),
    ]
}

fn define(
    name: &'static str,
    description: &'static str,
    properties: Value,
    required: &[&str],
) -> Tool {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    let annotations = ToolAnnotations::new().read_only(true).open_world(false);
    Tool::new(name, description, schema).with_annotations(annotations)
}

/// Calls a tool.
///
/// # Errors
/// If the tool or its arguments are unknown, or if the service refuses the request.
pub(super) async fn call_tool(
    service: &ServiceClient,
    name: &str,
    arguments: Map<String, Value>,
) -> Result<ToolOutput> {
    let mut arguments = ToolArguments::new(arguments);
    let answer = match name {
        "search_by_text" => {
            let text = arguments.take_required_text("text")?;
            search(service, arguments, json!({ "text": text })).await?
        }
        "search_by_image" => {
            let path = arguments.take_text("path")?;
            let given = arguments.take_text("base64")?;
            let image = match (path, given) {
                (Some(path), None) => read_image(Path::new(&path)).await?,
                (None, Some(base64)) => base64,
                _ => bail!("give either path or base64"),
            };
            search(service, arguments, json!({ "image": image })).await?
        }
        "search_by_id" => {
            let id = arguments.take_required_text("id")?;
            search(service, arguments, json!({ "id": id })).await?
        }
        "view_image" => {
            let id = take_id(&mut arguments)?;
            arguments.check_all_read()?;
            let path = format!("/v1/images/{id}/thumbnail?size={VIEW_SIDE}");
            return Ok(ToolOutput::Jpeg(
                STANDARD.encode(service.get_bytes(&path).await?),
            ));
        }
        "count_values" => count_values(service, arguments).await?,
        "explain_file" => {
            let file = PathBuf::from(arguments.take_required_text("file")?);
            arguments.check_all_read()?;
            let locator = resolve_file(service, &file).await?;
            service.get_json("/v1/why", &locator.to_query()).await?
        }
        "get_status" => {
            arguments.check_all_read()?;
            service.get_json("/v1/stats", &[]).await?
        }
        unknown => bail!("there is no tool {unknown}"),
    };
    Ok(ToolOutput::Json(answer))
}

/// Sends `POST /v1/search` with a target and the arguments that all searches have.
async fn search(
    service: &ServiceClient,
    mut arguments: ToolArguments,
    mut request: Value,
) -> Result<Value> {
    let limit = arguments.take_number("limit")?.unwrap_or(DEFAULT_HITS);
    request["limit"] = limit.min(MAX_HITS).into();
    let library = arguments.take_text("library")?;
    let filter = arguments.take_object("filter")?;
    arguments.check_all_read()?;
    request["filter"] = match (library, filter) {
        (None, None) => json!({}),
        (None, Some(filter)) => filter,
        (Some(library), None) => json!({ "library": library }),
        (Some(library), Some(filter)) => json!({ "library": library, "and": [filter] }),
    };
    service.post_json("/v1/search", &request).await
}

async fn count_values(service: &ServiceClient, mut arguments: ToolArguments) -> Result<Value> {
    let limit = arguments.take_number("limit")?.unwrap_or(20);
    let mut query = vec![("limit", limit.to_string())];
    for name in ["fields", "library"] {
        query.extend(arguments.take_text(name)?.map(|text| (name, text)));
    }
    let filter = arguments.take_object("filter")?;
    query.extend(filter.map(|filter| ("filter", filter.to_string())));
    arguments.check_all_read()?;
    service.get_json("/v1/facets", &query).await
}

/// The id becomes a part of an address.
fn take_id(arguments: &mut ToolArguments) -> Result<String> {
    let id = arguments.take_required_text("id")?;
    match crate::locate_file::is_image_id(&id) {
        true => Ok(id),
        false => Err(anyhow!("an id has 32 hexadecimal digits")),
    }
}

async fn read_image(path: &Path) -> Result<String> {
    let cannot_read = |error: std::io::Error| anyhow!("cannot read {}: {error}", path.display());
    let metadata = tokio::fs::metadata(path).await.map_err(cannot_read)?;
    if !metadata.is_file() || metadata.len() > MAX_IMAGE_BYTES {
        bail!(
            "{} is not a file of at most {MAX_IMAGE_BYTES} bytes",
            path.display()
        );
    }
    let bytes = tokio::fs::read(path).await.map_err(cannot_read)?;
    Ok(STANDARD.encode(bytes))
}
