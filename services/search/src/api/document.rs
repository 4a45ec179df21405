//! The OpenAPI document, made exact.
//!
//! poem derives a document from the types of the operations. It cannot express which fields may be
//! null, how a string is written, rules between fields, the codes of an error and links. Each step
//! here adds one of these to the whole document, so that a new operation or field is exact without
//! more code.
//!
//! | step | where |
//! |---|---|
//! | fields that may be null, closed requests, ranges of integers | [`fields`] |
//! | patterns, formats and values of strings | [`texts`] |
//! | rules between fields of a request | [`rules`] |
//! | an example of each code of an error; headers of responses | [`problems`] |
//! | links from a response to other operations | [`links`] |
//!
//! [`walk`] finds the operations and schemas of a document.

mod fields;
mod links;
mod problems;
mod rules;
mod texts;
mod walk;

use serde_json::{Value, json};

use crate::http::KEY_COOKIE;

/// Completes the document that poem derived.
pub(super) fn complete_document(derived: &str) -> String {
    let mut document: Value = serde_json::from_str(derived).expect("poem writes JSON");
    // Addresses are relative to the server of the document.
    document["servers"] = json!([{ "url": "/" }]);
    // `summary` was added to this object in OpenAPI 3.1.
    document["info"]
        .as_object_mut()
        .expect("a document has an object `info`")
        .remove("summary");
    fields::complete_fields(&mut document);
    texts::describe_texts(&mut document);
    rules::add_rules(&mut document);
    problems::add_problem_examples(&mut document);
    links::add_links(&mut document);
    describe_keys(&mut document);
    serde_json::to_string_pretty(&document).expect("a JSON value can be written")
}

/// Two ways to send a key; a service on a loopback address needs none.
fn describe_keys(document: &mut Value) {
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, as `lookalike keys add` prints it",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": KEY_COOKIE,
            "description": "The cookie that `POST /v1/session` sets",
        },
    });
    document["security"] = json!([{}, { "bearer": [] }, { "cookie": [] }]);
}

#[cfg(test)]
mod tests;
