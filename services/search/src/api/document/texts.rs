//! How strings are written: a pattern, a format, or a list of values.
//!
//! A name means the same everywhere in the API, so the rule of a field or parameter follows from its
//! name, except where its schema is given. Patterns are regular expressions of ECMA-262, as JSON
//! Schema requires.

use lookalike_proto::reasons::{REASONS, RetryPolicy};
use lookalike_vision::{COLOR_TERMS, FORMAT_NAMES};
use serde_json::{Value, json};

use super::walk::{entries_mut, operations_mut, schemas_mut};
use crate::api::schema::EventKind;
use crate::keys::Scope;
use crate::problem::Code;
use crate::webhook::state::WebhookHealth;
use crate::webhook::target::MAX_URL_BYTES;

const IMAGE_ID_PATTERN: &str = "^[0-9a-f]{32}$";
const CONTENT_HASH_PATTERN: &str = "^[0-9a-f]{64}$";
const LIBRARY_PATTERN: &str = "^[a-z0-9_-]{1,64}$";
/// Requests may write a name in any case, with white space around it.
const REQUESTED_LIBRARY_PATTERN: &str = r"^[\t\n\f\r ]*[A-Za-z0-9_-]{1,64}[\t\n\f\r ]*$";
const REQUEST_ID_PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";
/// Of each of two streams: the creation time in hexadecimal digits, and the number of an event.
const EVENT_ID_PATTERN: &str =
    r"^[0-7]?[0-9a-f]{1,15}-[0-9]{1,19}(\.[0-7]?[0-9a-f]{1,15}-[0-9]{1,19})?$";
/// The id of an upload: base64 in the URL-safe alphabet.
const UPLOAD_ID_PATTERN: &str = "^[A-Za-z0-9_-]{47,5591}$";
/// Parts separated by single `/`, none of them hidden; nothing: the root. A `/` at the end is ignored.
const FOLDER_PATTERN: &str = r"^(([^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*)(/[^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*)*)?/?$";
/// A name that is not hidden and not one of an unfinished file.
const FILE_NAME_PATTERN: &str = r"^(?!~[$])[^./\\\x00-\x1f\x7f-\x9f][^/\\\x00-\x1f\x7f-\x9f]*$";
const CODE_PATTERN: &str = "^[a-z][a-z0-9_]*$";
/// A content hash or its start.
const DUPLICATES_CURSOR_PATTERN: &str = "^[0-9a-f]{16}([0-9a-f]{48})?$";
const FAILURE_CURSOR_PATTERN: &str = "^[a-z0-9_-]{1,64}:([0-9a-f]{32})?$";
/// Base64 in the URL-safe alphabet.
const SEARCH_CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]+$";
/// Two numbers of at least 0 and below 1, and two above 0 and at most 1.
const REGION_PATTERN: &str = concat!(
    r"^(0(\.[0-9]*)?|\.[0-9]+),(0(\.[0-9]*)?|\.[0-9]+)",
    r"(,(0?\.0*[1-9][0-9]*|1(\.0*)?)){2}$"
);
/// Parts separated by single `/`, none of them `.` or `..`.
const RELATIVE_PATH_PATTERN: &str = r"^(?!\.{1,2}(/|$))[^/\x00]+(/(?!\.{1,2}(/|$))[^/\x00]+)*$";
/// Nothing, or like a relative path, but the last part may be any start of a name. `./` in front is
/// ignored.
const PATH_PREFIX_PATTERN: &str =
    r"^((\./+)*((?!\.{1,2}/)[^/\x00]+/)*[^/\x00]+|(\./+)*((?!\.{1,2}/)[^/\x00]+/)+)?$";
/// One line of 1 to 1,000 characters without control characters, with white space around it.
const QUERY_TEXT_PATTERN: &str = concat!(
    r"^[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*",
    r"[^\x00- \x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"([^\x00-\x1f\x7f-\x9f]{0,998}",
    r"[^\x00- \x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?",
    r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$"
);
/// A word with any character besides white space.
const TAG_PATTERN: &str = r"[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";

/// States of a file that `/v1/why` explains.
const FILE_STATES: &[&str] = &[
    "settling",
    "in_flight",
    "indexed",
    "failed",
    "ignored",
    "missing",
    "removing",
];

const STEPS: &[&str] = &[
    "seen",
    "settled",
    "sent",
    "delivered",
    "read",
    "decoded",
    "embedded",
    "reused",
    "written",
    "answered",
    "confirmed",
];

/// Sets of values that have a schema of their own, so that generated clients have one type for each.
fn named_values() -> [(&'static str, &'static str, Vec<&'static str>); 4] {
    [
        (
            "ProblemCode",
            "The kind of a problem, as a stable name",
            Code::ALL.iter().map(|code| code.name()).collect(),
        ),
        (
            "FailureCode",
            "Why a file is not in the index, as a stable name; REASONS.md explains each",
            REASONS.iter().map(|reason| reason.code).collect(),
        ),
        (
            "ImageFormat",
            "The format of a file; of a camera raw file, the extension of its format",
            FORMAT_NAMES.to_vec(),
        ),
        ("Color", "A basic colour term", COLOR_TERMS.to_vec()),
    ]
}

/// Adds the rule of each string to its schema.
pub(super) fn describe_texts(document: &mut Value) {
    for (schema_name, schema) in schemas_mut(document) {
        let is_request = schema["additionalProperties"] == false;
        let owner = Owner {
            schema: schema_name,
            is_request,
        };
        for (name, field) in entries_mut(schema, "properties") {
            describe_text(field, owner, name);
        }
    }
    for operation in operations_mut(document) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let id = id.to_owned();
        let owner = Owner {
            schema: &id,
            is_request: true,
        };
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            describe_text(&mut parameter["schema"], owner, &name);
        }
    }
    for (name, description, values) in named_values() {
        document["components"]["schemas"][name] =
            json!({ "type": "string", "description": description, "enum": values });
    }
}

/// What contains a string: a schema, or the parameters of an operation.
#[derive(Clone, Copy)]
struct Owner<'a> {
    schema: &'a str,
    is_request: bool,
}

/// Adds the rule of a string, or of the strings of a list.
fn describe_text(field: &mut Value, owner: Owner<'_>, name: &str) {
    if field["type"] == "array" {
        if let (Some(max_items), Some(field)) = (max_items(owner, name), field.as_object_mut()) {
            field.entry("maxItems").or_insert(json!(max_items));
        }
        apply_rule(&mut field["items"], owner, name);
    } else {
        apply_rule(field, owner, name);
    }
}

fn apply_rule(text: &mut Value, owner: Owner<'_>, name: &str) {
    let Some(text) = text
        .as_object_mut()
        .filter(|text| text.get("type").is_some_and(|kind| kind == "string"))
    else {
        return;
    };
    match text_rule(owner, name) {
        Some(TextRule::Keywords(Value::Object(keywords))) => {
            for (keyword, value) in keywords {
                text.entry(keyword).or_insert(value);
            }
        }
        Some(TextRule::Named(name)) => {
            // A reference excludes all other keywords, so the description needs a level of its own.
            for keyword in ["type", "maxLength"] {
                text.remove(keyword);
            }
            let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
            text.insert("allOf".into(), json!([reference]));
        }
        Some(TextRule::Keywords(_)) | None => {}
    }
}

/// How a string is written.
enum TextRule {
    Keywords(Value),
    /// It is one of the values of a schema with this name.
    Named(&'static str),
}

/// Limits of lists in responses. Requests state their own.
fn max_items(owner: Owner<'_>, name: &str) -> Option<usize> {
    match (owner.is_request, name) {
        (false, "colors") => Some(3),
        (false, "tags") => Some(64),
        (false, "hits" | "images" | "failures" | "matches") => Some(1000),
        (false, "reasons") => Some(9),
        _ => None,
    }
}

/// Returns the rule of a string with this name; `None` if it is text of any form, or unknown.
fn text_rule(owner: Owner<'_>, name: &str) -> Option<TextRule> {
    use TextRule::{Keywords, Named};
    let pattern = |pattern: &str| Keywords(json!({ "pattern": pattern }));
    let one_of = |values: &[&str]| Keywords(json!({ "enum": values }));
    let date_time = || Keywords(json!({ "format": "date-time" }));
    let not_empty = || Keywords(json!({ "minLength": 1 }));
    Some(match (owner.schema, name) {
        ("Problem", "code") => Named("ProblemCode"),
        ("Problem", "type") => pattern("^urn:lookalike:problem:[a-z_]+$"),
        ("Event", "type") => one_of(&EventKind::ALL.map(EventKind::name)),
        ("Failure", "state") => one_of(&["failed", "ignored"]),
        ("FileHistory", "state") => one_of(FILE_STATES),
        ("FailureList" | "listFailures", "cursor") => pattern(FAILURE_CURSOR_PATTERN),
        ("SavedMatchList" | "listMatches", "cursor") => pattern("^[0-9]{1,19}$"),
        ("SavedSearchRequest", "name") => {
            // Like a text to search for, but at most 200 characters.
            pattern(&QUERY_TEXT_PATTERN.replace("{0,998}", "{0,198}"))
        }
        ("WebhookRequest", "url") => Keywords(
            json!({ "format": "uri", "pattern": "^https?://", "maxLength": MAX_URL_BYTES }),
        ),
        ("Webhook", "url") => Keywords(json!({ "format": "uri" })),
        ("Webhook", "state") => one_of(&WebhookHealth::ALL.map(WebhookHealth::name)),
        ("SavedMatch", "path") => not_empty(),
        (_, "saved_search") => pattern(IMAGE_ID_PATTERN),
        ("DuplicateList" | "findDuplicates", "cursor") => pattern(DUPLICATES_CURSOR_PATTERN),
        ("Library", "name") | ("Session", "libraries") => pattern(LIBRARY_PATTERN),
        ("Upload" | "getUpload", "id") => pattern(UPLOAD_ID_PATTERN),
        ("uploadImage", "folder") => pattern(FOLDER_PATTERN),
        ("uploadImage", "name") => pattern(FILE_NAME_PATTERN),
        ("Upload" | "Removal", "path" | "trash_path") => not_empty(),
        (_, "image_id") => pattern(IMAGE_ID_PATTERN),
        ("scanLibrary" | "confirmLibrary", "name") => pattern(REQUESTED_LIBRARY_PATTERN),
        ("compareImages", "a" | "b") => pattern(IMAGE_ID_PATTERN),
        ("explainFile", "path") => pattern(RELATIVE_PATH_PATTERN),
        ("Image" | "DuplicateImage" | "Hit" | "Failure" | "FileHistory", "path") => not_empty(),
        (
            "search" | "searchByImage" | "similarImages" | "SearchRequest" | "SearchAnswer",
            "cursor",
        ) => pattern(SEARCH_CURSOR_PATTERN),
        (_, "region") => pattern(REGION_PATTERN),
        (_, "id" | "ids" | "cursor") => pattern(IMAGE_ID_PATTERN),
        (_, "library") if owner.is_request => pattern(REQUESTED_LIBRARY_PATTERN),
        (_, "library" | "unreachable_libraries") => pattern(LIBRARY_PATTERN),
        (_, "content_hash" | "checksum") => pattern(CONTENT_HASH_PATTERN),
        (_, "request_id") => pattern(REQUEST_ID_PATTERN),
        (_, "code") if owner.is_request => Named("FailureCode"),
        // A newer watcher may report a code that is unknown here.
        (_, "code" | "reason") => pattern(CODE_PATTERN),
        (_, "retry_policy") => {
            use RetryPolicy::{Permanent, Rule, Transient};
            one_of(&[Permanent, Transient, Rule].map(RetryPolicy::name))
        }
        (_, "step") => one_of(STEPS),
        (_, "path_prefix") => pattern(PATH_PREFIX_PATTERN),
        (_, "text") => pattern(QUERY_TEXT_PATTERN),
        (_, "image") if owner.is_request => Keywords(json!({ "format": "byte", "minLength": 1 })),
        (_, "format" | "formats") => Named("ImageFormat"),
        (_, "colors") => Named("Color"),
        (_, "tags") if owner.is_request => pattern(TAG_PATTERN),
        (_, "tags" | "reasons") => not_empty(),
        (_, "thumbnail_url") => url("/v1/images/[0-9a-f]{32}/thumbnail[?]"),
        (_, "content_url") => url("/v1/images/[0-9a-f]{32}/content$"),
        (_, "image_url") => url("/v1/images/[0-9a-f]{32}$"),
        (_, "upload_url") => url("/v1/uploads/[A-Za-z0-9_-]{47,5591}$"),
        (_, "preview_url") => url("/v1/failures/[0-9a-f]{32}/preview[?]"),
        (_, "event_id" | "Last-Event-ID") => pattern(EVENT_ID_PATTERN),
        (_, "scopes") => one_of(&Scope::ALL.map(Scope::name)),
        (_, "taken_after" | "taken_before") => Keywords(json!({ "anyOf": [
            { "type": "string", "format": "date-time" },
            { "type": "string", "format": "date" },
        ] })),
        (_, "since" | "at") => date_time(),
        (_, name) if name.ends_with("_at") => date_time(),
        _ => return None,
    })
}

/// An address of this service, which a proxy may serve below a path.
fn url(pattern: &str) -> TextRule {
    let pattern = format!("^(/[A-Za-z0-9._~-]+)*{pattern}");
    TextRule::Keywords(json!({ "format": "uri-reference", "pattern": pattern }))
}

/// Strings that contain text for people, or anything else that has no form.
#[cfg(test)]
pub(super) const FREE_TEXTS: &[&str] = &[
    "camera",
    "detail",
    "device",
    "embedder",
    "error",
    "filter",
    "hardware",
    "index",
    "model",
    "name",
    "note",
    "param",
    "path",
    "problem",
    "remedy",
    "rollover_error",
    "root",
    "saved_search_name",
    "secret",
    "sentence",
    "title",
    "unresponsive_embedders",
    "v",
    "value",
    "waits_for",
];
