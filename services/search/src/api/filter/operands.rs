//! The values of conditions: texts, lists of texts, numbers, and the operators around them.

use lookalike_index::RowFilter;
use lookalike_index::limits::MAX_PATH_BYTES;
use serde_json::{Map, Value};

use super::fields::FilterField;
use super::fields::MAX_LIST_ENTRIES;
use super::ranges::Period;
use crate::api::filter_words::quote_start;
use crate::problem::Problem;

/// A condition as it is written.
pub(super) enum Condition<'a> {
    /// A value alone.
    Value(&'a Value),
    Operators(&'a Map<String, Value>),
}

/// Separates a value from an object with operators, and refuses unknown operators.
pub(super) fn read_condition<'a>(
    param: &str,
    field: &FilterField,
    value: &'a Value,
) -> Result<Condition<'a>, Problem> {
    let Value::Object(operators) = value else {
        return Ok(Condition::Value(value));
    };
    let known = field.operators.join(", ");
    if operators.is_empty() {
        let detail = format!("{param} is an empty object; its operators are: {known}");
        return Err(Problem::invalid_parameter(param, detail));
    }
    let is_unknown = |operator: &&String| !field.operators.contains(&operator.as_str());
    match operators.keys().find(is_unknown) {
        Some(operator) => Err(Problem::invalid_parameter(
            param,
            format!(
                "{param} has no operator {}; its operators are: {known}",
                quote_start(operator)
            ),
        )),
        None => Ok(Condition::Operators(operators)),
    }
}

/// Refuses a value of another type.
fn wrong_type(param: &str, expected: &str, value: &Value) -> Problem {
    let shown = quote_json(value);
    Problem::invalid_parameter(param, format!("{param} is {shown}; it must be {expected}"))
}

/// Returns the start of a value in JSON.
pub(super) fn quote_json(value: &Value) -> String {
    const MAX_SHOWN_CHARACTERS: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Reads a text, or a list of 1 to 64 texts.
pub(super) fn read_texts(param: &str, value: &Value) -> Result<Vec<String>, Problem> {
    match value {
        Value::Array(_) => read_text_list(param, value),
        value => Ok(vec![read_text(param, value)?.to_owned()]),
    }
}

pub(super) fn read_text<'a>(param: &str, value: &'a Value) -> Result<&'a str, Problem> {
    value
        .as_str()
        .ok_or_else(|| wrong_type(param, "a text", value))
}

/// Reads a list of 1 to 64 texts.
pub(super) fn read_text_list(param: &str, value: &Value) -> Result<Vec<String>, Problem> {
    let Value::Array(entries) = value else {
        return Err(wrong_type(param, "a list of texts", value));
    };
    check_list_length(param, entries.len())?;
    let texts = entries.iter().map(|entry| match entry.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(wrong_type(param, "a list of texts", value)),
    });
    texts.collect()
}

pub(super) fn check_list_length(param: &str, length: usize) -> Result<(), Problem> {
    let detail = match length {
        0 => format!("{param} is an empty list, which no image matches: leave it out"),
        1..=MAX_LIST_ENTRIES => return Ok(()),
        length => format!("{param} has {length} entries; at most {MAX_LIST_ENTRIES} are allowed"),
    };
    Err(Problem::invalid_parameter(param, detail))
}

pub(super) fn read_bool(param: &str, value: &Value) -> Result<bool, Problem> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type(param, "true or false", value))
}

/// Reads a whole number from 0 to `max`, also one that is written with a fraction of zero.
pub(super) fn read_number(param: &str, max: i64, value: &Value) -> Result<Period, Problem> {
    let number = value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        let is_exact = number.fract() == 0.0 && number.abs() <= max as f64;
        is_exact.then_some(number as i64)
    });
    match number {
        Some(number) if (0..=max).contains(&number) => Ok(Period::of_value(number)),
        _ => {
            let expected = format!("a whole number from 0 to {max}");
            Err(wrong_type(param, &expected, value))
        }
    }
}

pub(super) fn read_time(param: &str, value: &Value) -> Result<Period, Problem> {
    let expected = "a time like 2026, 2026-11, 2026-11-23 or 2026-11-23T07:48:50Z";
    let period = value.as_str().map(str::trim).and_then(Period::parse_time);
    period.ok_or_else(|| wrong_type(param, expected, value))
}

/// Trims words and cuts them to the length at which the index stores them.
pub(super) fn read_words(
    param: &str,
    words: Vec<String>,
    max_bytes: usize,
) -> Result<Vec<String>, Problem> {
    let mut parsed: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let word = word.trim();
        if word.is_empty() {
            let detail = format!("{param} has an empty text, which no image has: leave it out");
            return Err(Problem::invalid_parameter(param, detail));
        }
        if word.chars().count() > max_bytes {
            let detail = format!(
                "{param} has a text of more than {max_bytes} characters, which no image has"
            );
            return Err(Problem::invalid_parameter(param, detail));
        }
        let word = &word[..word.floor_char_boundary(max_bytes)];
        if parsed.iter().all(|other| other != word) {
            parsed.push(word.to_owned());
        }
    }
    Ok(parsed)
}

/// How a path must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathForm {
    /// With or without `/`. Returned with `/`, or empty for the root.
    Folder,
    /// With the name of a file.
    File,
    /// Anywhere, as the start of paths.
    Prefix,
}

/// Parses a path below the root of a library. `./` in front means nothing; an absolute path, or one
/// that leads out, matches no image.
pub(super) fn read_path(param: &str, text: &str, form: PathForm) -> Result<String, Problem> {
    let mut relative = text;
    while let Some(rest) = relative.strip_prefix("./") {
        relative = rest.trim_start_matches('/');
    }
    let (example, is_whole) = match form {
        PathForm::Folder => ("2026/holiday", true),
        PathForm::File => ("2026/holiday/a.jpg", true),
        PathForm::Prefix => ("2026/ or 2026/holiday", false),
    };
    let names = match form {
        PathForm::Folder => relative.strip_suffix('/').unwrap_or(relative),
        _ => relative,
    };
    let is_empty = names.is_empty() && (form != PathForm::Folder || relative == "/");
    let is_wrong = |name: &str, is_last: bool| match is_last && !is_whole {
        true => false,
        false => name.is_empty() || matches!(name, "." | ".."),
    };
    let parts: Vec<&str> = names.split('/').collect();
    let has_wrong_part = parts
        .iter()
        .enumerate()
        .any(|(at, part)| is_wrong(part, at + 1 == parts.len()));
    let has_wrong_part = has_wrong_part && !(names.is_empty() && form == PathForm::Folder);
    if is_empty || has_wrong_part || relative.contains('\0') || relative.starts_with('/') {
        let shown = quote_start(text);
        let detail = format!(
            "{param} is {shown}; it must be relative to the root of the library, with single `/` \
             between folders, such as {example}"
        );
        return Err(Problem::invalid_parameter(param, detail));
    }
    if relative.chars().count() > MAX_PATH_BYTES {
        let detail = format!("{param} has more than {MAX_PATH_BYTES} characters, as no path has");
        return Err(Problem::invalid_parameter(param, detail));
    }
    Ok(match form {
        PathForm::Folder if names.is_empty() => String::new(),
        PathForm::Folder => format!("{names}/"),
        _ => relative.to_owned(),
    })
}

/// Parses the start of paths in the address of a request. Every path starts with an empty text.
pub(crate) fn parse_path_prefix(param: &str, prefix: Option<&str>) -> Result<RowFilter, Problem> {
    match prefix {
        None | Some("") => Ok(RowFilter::All),
        Some(prefix) => read_path(param, prefix, PathForm::Prefix).map(RowFilter::PathPrefix),
    }
}
