//! Rules between the fields of a request.
//!
//! They are written with `not`, which validators apply and generators of clients ignore: `anyOf` next
//! to `properties` would make many of them generate no type for the request.

use serde_json::{Value, json};

pub(super) fn add_rules(document: &mut Value) {
    for (name, rule) in [
        ("SearchRequest", search_rule()),
        ("QueryPart", query_part_rule()),
        ("SavedQuery", search_rule()),
        ("SavedSearchRequest", saved_search_rule()),
        ("Selection", selection_rule()),
    ] {
        let schema = &mut document["components"]["schemas"][name];
        assert!(schema.is_object(), "the document has a schema {name}");
        schema["not"] = rule;
    }
}

/// A field that is given and not null.
fn given(field: &str, kind: &str) -> Value {
    json!({ "required": [field], "properties": { (field): { "type": kind } } })
}

fn none_of(rules: &[Value]) -> Value {
    json!({ "not": { "anyOf": rules } })
}

/// Refuses a search without a part that the hits should look like, and a region of no picture or of two.
fn search_rule() -> Value {
    let mut parts: Vec<Value> = ["image", "id", "text"]
        .map(|field| given(field, "string"))
        .into();
    parts.push(json!({
        "required": ["positive"],
        "properties": { "positive": { "type": "array", "minItems": 1 } }
    }));
    let [image, id] = ["image", "id"].map(|field| given(field, "string"));
    let other_pictures = json!({ "anyOf": [
        none_of(&[image.clone(), id.clone()]),
        { "allOf": [image, id] },
    ] });
    json!({ "anyOf": [
        none_of(&parts),
        { "allOf": [given("region", "object"), other_pictures] },
    ] })
}

/// Refuses a search to be saved without a threshold, and one with two.
fn saved_search_rule() -> Value {
    let band = given("band", "string");
    let min_score = given("min_score", "number");
    json!({ "anyOf": [
        none_of(&[min_score.clone(), band.clone()]),
        { "allOf": [min_score, band] },
    ] })
}

/// Refuses an entry without, or with more than one of, `id`, `text` and `image`, and a region of a text.
fn query_part_rule() -> Value {
    let [id, text, image] = ["id", "text", "image"].map(|field| given(field, "string"));
    json!({ "anyOf": [
        none_of(&[id.clone(), text.clone(), image.clone()]),
        { "allOf": [given("region", "object"), text.clone()] },
        { "allOf": [id, text] },
        { "allOf": [id, image] },
        { "allOf": [text, image] },
    ] })
}

/// Refuses a selection without a condition, and one with ids and `all`.
fn selection_rule() -> Value {
    let all = json!({ "required": ["all"], "properties": { "all": { "enum": [true] } } });
    let ids = given("ids", "array");
    let [code, library] = ["code", "library"].map(|field| given(field, "string"));
    json!({ "anyOf": [
        none_of(&[ids.clone(), code, library, all.clone()]),
        { "allOf": [ids, all] },
    ] })
}
