//! Fields that may be null or absent, unknown fields of requests, and ranges of integers.
//!
//! poem derives the same schema for a type and its `Option`. In requests, such a field may be absent
//! or null. In responses, it is always present and may be null.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::walk::{entries_mut, operations_mut, schemas_mut};

/// Schemas of responses that leave out a field instead of writing null.
const SCHEMAS_WITHOUT_NULL: &[&str] = &["Problem", "Facets", "Event"];

/// Fields of requests that are required. The types of the parser leave them out, so that a missing one is
/// refused like an invalid one: with its name, and with what to send.
const REQUIRED_FIELDS: &[(&str, &[&str])] = &[
    ("SavedSearchRequest", &["name", "query"]),
    ("WebhookRequest", &["url"]),
];

pub(super) fn complete_fields(document: &mut Value) {
    for (name, fields) in REQUIRED_FIELDS {
        document["components"]["schemas"][name]["required"] = json!(fields);
    }
    let requests = reachable_schemas(document, "requestBody");
    for (name, schema) in schemas_mut(document) {
        let is_request = requests.contains(name);
        if is_request {
            refuse_unknown_fields(schema);
        }
        // Types that describe themselves have no title, and state what may be null.
        let is_derived = schema["title"].is_string();
        if is_derived && !SCHEMAS_WITHOUT_NULL.contains(&name.as_str()) {
            allow_null(schema, is_request);
        }
        limit_integers(schema);
    }
    for operation in operations_mut(document) {
        limit_integers(operation);
        if let Some(body) = operation.get_mut("requestBody") {
            for (_, media) in entries_mut(body, "content") {
                refuse_unknown_fields(&mut media["schema"]);
            }
        }
    }
}

fn refuse_unknown_fields(schema: &mut Value) {
    let is_object = schema["type"] == "object";
    if let Some(schema) = schema.as_object_mut().filter(|_| is_object) {
        schema.entry("additionalProperties").or_insert(json!(false));
    }
}

/// Returns the names of the schemas that this part of any operation uses, directly or not.
fn reachable_schemas(document: &Value, part: &str) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, path)| path.as_object().into_iter().flatten());
    let mut pending: Vec<&Value> = operations.map(|(_, operation)| &operation[part]).collect();
    let mut names = BTreeSet::new();
    while let Some(value) = pending.pop() {
        match value {
            Value::Array(values) => pending.extend(values),
            Value::Object(fields) => pending.extend(fields.values()),
            Value::String(text) => {
                let name = text.strip_prefix("#/components/schemas/");
                if let Some(name) = name.filter(|name| names.insert((*name).to_owned())) {
                    pending.push(&document["components"]["schemas"][name]);
                }
            }
            _ => {}
        }
    }
    names
}

/// Lets each field that is not required be null. In responses, these fields are always present.
fn allow_null(schema: &mut Value, is_request: bool) {
    let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in entries_mut(schema, "properties") {
        if !required.contains(&json!(name)) {
            let field = field.as_object_mut();
            field
                .expect("a schema is an object")
                .insert("nullable".into(), json!(true));
        }
        merge_description(field);
    }
    let names: Option<Vec<String>> = schema["properties"]
        .as_object()
        .map(|fields| fields.keys().cloned().collect());
    if let Some(names) = names.filter(|_| !is_request) {
        schema["required"] = json!(names);
    }
}

/// poem writes the description of a reference twice: next to `allOf`, and as a schema within it.
fn merge_description(field: &mut Value) {
    let Some(parts) = field.get_mut("allOf").and_then(Value::as_array_mut) else {
        return;
    };
    let is_description_only = |part: &Value| {
        let fields: Option<&Map<String, Value>> = part.as_object();
        fields.is_some_and(|fields| fields.len() == 1 && fields.contains_key("description"))
    };
    parts.retain(|part| !is_description_only(part));
}

/// States the range of every integer: Rust's types have no other way to be in a document.
fn limit_integers(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(limit_integers),
        Value::Object(schema) => {
            if schema.get("type") == Some(&json!("integer")) {
                for limit in ["minimum", "maximum"] {
                    let whole = schema.get(limit).and_then(Value::as_f64);
                    if let Some(whole) = whole.filter(|limit| limit.fract() == 0.0) {
                        schema.insert(limit.into(), json!(whole as i64));
                    }
                }
                let unsigned = schema.get("format").and_then(Value::as_str);
                if let Some(bits) = unsigned.and_then(|format| format.strip_prefix("uint")) {
                    let max = match bits {
                        "16" => Some(u64::from(u16::MAX)),
                        "32" => Some(u64::from(u32::MAX)),
                        // Doubles, which most clients use for numbers, cannot express the largest.
                        _ => None,
                    };
                    schema.entry("minimum").or_insert(json!(0));
                    if let Some(max) = max {
                        schema.entry("maximum").or_insert(json!(max));
                    }
                }
            }
            schema.values_mut().for_each(limit_integers);
        }
        _ => {}
    }
}
