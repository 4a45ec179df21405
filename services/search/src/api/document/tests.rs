//! The document agrees with the code: its strings have rules, and its rules are those of the parsers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::texts::FREE_TEXTS;
use crate::api::json_body::parse_search_json;
use crate::api::schema::EXAMPLE_ID;

fn document() -> Value {
    serde_json::from_str(&crate::http::server::openapi_json()).unwrap()
}

/// Returns the operations by their ids.
fn operations(document: &Value) -> Vec<(&str, &Value)> {
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations
        .map(|operation| (operation["operationId"].as_str().unwrap(), operation))
        .collect()
}

#[test]
fn every_string_has_a_rule() {
    let document = document();
    let mut free = BTreeSet::new();
    let mut check = |owner: &str, name: &str, field: &Value| {
        let text = match field["type"] == "array" {
            true => &field["items"],
            false => field,
        };
        let rules = ["pattern", "format", "enum", "anyOf", "minLength"];
        let has_rule = rules.iter().any(|rule| !text[rule].is_null());
        if text["type"] == "string" && !has_rule && !FREE_TEXTS.contains(&name) {
            free.insert(format!("{owner}.{name}"));
        }
    };
    for (owner, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            check(owner, name, field);
        }
    }
    for (owner, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            check(
                owner,
                parameter["name"].as_str().unwrap(),
                &parameter["schema"],
            );
        }
    }
    assert!(
        free.is_empty(),
        "{free:?}: state in `text_rule` how these strings are written, or list them in `FREE_TEXTS`"
    );
}

#[test]
fn requests_are_closed_and_responses_complete() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for name in ["SearchRequest", "QueryPart", "Filter", "Selection"] {
        assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        assert!(schemas[name]["required"].is_null(), "{name}");
    }
    for (name, fields) in [
        ("SavedSearchRequest", json!(["name", "query"])),
        ("WebhookRequest", json!(["url"])),
    ] {
        assert_eq!(schemas[name]["required"], fields, "{name}");
        for field in fields.as_array().unwrap() {
            let field = &schemas[name]["properties"][field.as_str().unwrap()];
            assert!(
                field.is_object() && field["nullable"].is_null(),
                "{name}: {field}"
            );
        }
    }
    for (name, field) in [
        ("Hit", "taken_at"),
        ("Image", "camera"),
        ("Stats", "indexed"),
    ] {
        assert_eq!(
            schemas[name]["properties"][field]["nullable"], true,
            "{name}"
        );
        let required = schemas[name]["required"].as_array().unwrap();
        assert!(required.contains(&json!(field)), "{name}.{field}");
    }
    let band = &schemas["Hit"]["properties"]["band"];
    assert_eq!(band["nullable"], true);
    assert_eq!(
        band["allOf"],
        json!([{ "$ref": "#/components/schemas/Band" }])
    );
    let problem = &schemas["Problem"];
    assert!(
        problem["properties"]["param"]["nullable"].is_null(),
        "{problem}"
    );
}

#[test]
fn examples_have_every_required_field() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for field in schema["required"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            let has_field = schema["example"].get(field).is_some();
            assert!(
                has_field,
                "{name}.{field}: if responses leave it out, list {name} in `SCHEMAS_WITHOUT_NULL`"
            );
        }
    }
}

#[test]
fn every_error_is_an_example() {
    let document = document();
    for (id, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let header = &response["headers"]["X-Request-Id"];
            assert!(header.is_object(), "{id} {status}");
            if status.parse::<u16>().unwrap() < 400 {
                continue;
            }
            let examples = &response["content"]["application/problem+json"]["examples"];
            let examples = examples.as_object().unwrap();
            assert!(!examples.is_empty(), "{id} {status}");
            for (code, example) in examples {
                assert_eq!(example["value"]["code"], **code, "{id}");
                assert_eq!(example["value"]["status"].to_string(), *status, "{id}");
            }
        }
    }
}

#[test]
fn links_name_operations_and_their_parameters() {
    let document = document();
    let operations = operations(&document);
    let mut linked = BTreeSet::new();
    for (id, operation) in &operations {
        for (name, link) in operation["responses"]["200"]["links"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let to = link["operationId"].as_str().unwrap();
            let target = operations.iter().find(|(id, _)| *id == to);
            let (_, target) = target.unwrap_or_else(|| panic!("{id}.{name}: no operation {to}"));
            for parameter in link["parameters"].as_object().unwrap().keys() {
                let parameters = target["parameters"].as_array().unwrap();
                let has = parameters.iter().any(|known| known["name"] == **parameter);
                assert!(has, "{id}.{name}: {to} has no parameter {parameter}");
            }
            linked.insert(to.to_owned());
        }
    }
    for (id, operation) in operations {
        let parameters = operation["parameters"].as_array();
        let mut parameters = parameters.into_iter().flatten();
        let needs_path = parameters.any(|parameter| parameter["in"] == "path");
        assert!(
            !needs_path || linked.contains(id),
            "no response links to {id}"
        );
    }
}

/// The type of a field in the document decides whether `null` is accepted.
#[test]
fn requests_accept_null_where_the_document_does() {
    let document = document();
    let fields = &document["components"]["schemas"]["SearchRequest"]["properties"];
    for (name, field) in fields.as_object().unwrap() {
        let mut request = json!({ "id": EXAMPLE_ID });
        if name != "id" {
            request[name] = Value::Null;
        }
        let parsed = parse_search_json(request.to_string().as_bytes());
        assert_eq!(parsed.is_ok(), field["nullable"] == true, "{name}");
    }
}
