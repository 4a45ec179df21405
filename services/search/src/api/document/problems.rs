//! An example of every code that an operation responds with, and the headers of all responses.

use serde_json::{Map, Value, json};

use super::walk::{entries_mut, operations_mut};
use crate::api::problem_response::{PROBLEM_JSON, example_of};
use crate::problem::Code;

const REQUEST_ID_HEADER: &str = "X-Request-Id";

pub(super) fn add_problem_examples(document: &mut Value) {
    document["components"]["headers"] = json!({
        REQUEST_ID_HEADER: {
            "description": "The id of this request, as in the log: the one that the request gave, or a random one",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }
        }
    });
    for operation in operations_mut(document) {
        for (_, response) in entries_mut(operation, "responses") {
            let reference = format!("#/components/headers/{REQUEST_ID_HEADER}");
            response["headers"][REQUEST_ID_HEADER] = json!({ "$ref": reference });
            let description = response["description"].as_str().unwrap_or_default();
            let examples = examples_of(description);
            let problem = response
                .get_mut("content")
                .and_then(|content| content.get_mut(PROBLEM_JSON));
            if let Some(problem) = problem {
                problem["examples"] = Value::Object(examples);
            }
        }
    }
}

/// Returns an example for each code that a description names in backticks.
fn examples_of(description: &str) -> Map<String, Value> {
    let words = description.split('`').skip(1).step_by(2);
    let codes = words.filter_map(|word| Code::ALL.iter().find(|code| code.name() == word));
    let example = |code: &Code| {
        let value = json!({ "summary": code.title(), "value": example_of(*code) });
        (code.name().to_owned(), value)
    };
    codes.map(example).collect()
}
