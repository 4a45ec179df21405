//! Parses a filter into conditions of the index.

use lookalike_index::limits::{MAX_CAMERA_BYTES, MAX_TAG_BYTES};
use lookalike_index::{RowFilter, ValueRange};
use lookalike_proto::LibraryName;
use serde_json::{Map, Value};

use super::fields::{
    COMBINATIONS, FIELDS, FieldKind, FilterField, MAX_COLORS_OF_IMAGE, MAX_CONDITIONS, MAX_DEPTH,
};
use super::operands::{
    Condition, PathForm, check_list_length, quote_json, read_bool, read_condition, read_number,
    read_path, read_text, read_text_list, read_texts, read_time, read_words,
};
use super::ranges::{Period, apply_operator, has_values};
use crate::api::filter_words::{parse_colors, parse_formats, quote_start};
use crate::core::libraries::parse_library;
use crate::problem::Problem;

/// A filter and the libraries that it names.
#[derive(Debug, Default)]
pub(super) struct ParsedFilter {
    pub rows: RowFilter,
    /// Each with the parameter that names it.
    pub libraries: Vec<(String, LibraryName)>,
    /// Whether every image that matches is in one of these libraries.
    pub is_limited_to_libraries: bool,
}

/// Parses the filter in the parameter `param`.
pub(super) fn parse_filter(
    param: &str,
    fields: &Map<String, Value>,
) -> Result<ParsedFilter, Problem> {
    let mut parser = FilterParser::default();
    let rows = parser.parse_object(param, fields, 0)?;
    Ok(ParsedFilter {
        rows,
        libraries: parser.libraries,
        is_limited_to_libraries: fields.get("library").is_some_and(|value| !value.is_null()),
    })
}

#[derive(Default)]
struct FilterParser {
    condition_count: usize,
    libraries: Vec<(String, LibraryName)>,
}

impl FilterParser {
    fn parse_object(
        &mut self,
        param: &str,
        fields: &Map<String, Value>,
        depth: usize,
    ) -> Result<RowFilter, Problem> {
        if depth > MAX_DEPTH {
            let detail = format!("the filter is nested more than {MAX_DEPTH} levels deep");
            return Err(Problem::invalid_parameter(param, detail));
        }
        let mut conditions = Vec::with_capacity(fields.len());
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let field = FIELDS.iter().find(|field| field.name == name);
            if field.is_none() && !COMBINATIONS.contains(&name.as_str()) {
                return Err(unknown_field(param, name));
            }
            let param = format!("{param}.{name}");
            self.condition_count += 1;
            if self.condition_count > MAX_CONDITIONS {
                let detail = format!("the filter has more than {MAX_CONDITIONS} conditions");
                return Err(Problem::invalid_parameter(param, detail));
            }
            conditions.push(match field {
                Some(field) => self.parse_condition(&param, field, value)?,
                None => self.parse_combination(&param, name, value, depth)?,
            });
        }
        Ok(all_of(conditions))
    }

    fn parse_combination(
        &mut self,
        param: &str,
        name: &str,
        value: &Value,
        depth: usize,
    ) -> Result<RowFilter, Problem> {
        if name == "not" {
            let fields = filter_object(param, value)?;
            if fields.values().all(Value::is_null) {
                let detail = format!("{param} has no condition, so no image matches: leave it out");
                return Err(Problem::invalid_parameter(param, detail));
            }
            let rows = self.parse_object(param, fields, depth + 1)?;
            return Ok(RowFilter::Not(Box::new(rows)));
        }
        let Value::Array(entries) = value else {
            let shown = quote_json(value);
            let detail = format!("{param} is {shown}; it must be a list of filters");
            return Err(Problem::invalid_parameter(param, detail));
        };
        check_list_length(param, entries.len())?;
        let mut filters = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let param = format!("{param}[{at}]");
            filters.push(self.parse_object(&param, filter_object(&param, entry)?, depth + 1)?);
        }
        Ok(match name {
            "or" => RowFilter::Or(filters),
            _ => all_of(filters),
        })
    }

    fn parse_condition(
        &mut self,
        param: &str,
        field: &FilterField,
        value: &Value,
    ) -> Result<RowFilter, Problem> {
        let condition = read_condition(param, field, value)?;
        match field.kind {
            FieldKind::Library => self.parse_libraries(param, &condition),
            FieldKind::Folder => {
                let folders = parse_choice(param, &condition, |param, texts| {
                    let folder = |text: &String| read_path(param, text, PathForm::Folder);
                    texts.iter().map(folder).collect()
                })?;
                let folders = folders.into_iter().map(|folder| match folder.is_empty() {
                    true => RowFilter::All,
                    false => RowFilter::PathPrefix(folder),
                });
                Ok(any_of(folders.collect()))
            }
            FieldKind::Path => parse_paths(param, &condition),
            FieldKind::Format => {
                parse_choice(param, &condition, parse_formats).map(RowFilter::Format)
            }
            FieldKind::Number {
                max,
                condition: to_rows,
            } => {
                let read = |param: &str, value: &Value| read_number(param, max, value);
                parse_range(param, value, &condition, (0, max), read).map(to_rows)
            }
            FieldKind::Time { condition: to_rows } => {
                parse_times(param, value, &condition, to_rows)
            }
            FieldKind::Camera => parse_cameras(param, &condition),
            FieldKind::Tags => parse_tags(param, &condition),
            FieldKind::Colors => parse_color_set(param, &condition),
        }
    }

    fn parse_libraries(
        &mut self,
        param: &str,
        condition: &Condition<'_>,
    ) -> Result<RowFilter, Problem> {
        let libraries = parse_choice(param, condition, |param, texts| {
            let mut names = Vec::with_capacity(texts.len());
            for text in texts {
                let library = parse_library(param, text)?;
                names.push(library.to_string());
                self.libraries.push((param.to_owned(), library));
            }
            Ok(names)
        })?;
        Ok(RowFilter::Library(libraries))
    }
}

fn unknown_field(param: &str, name: &str) -> Problem {
    let fields = FIELDS.iter().map(|field| field.name).chain(COMBINATIONS);
    let known: Vec<&str> = fields.collect();
    let shown: String = name.chars().take(40).collect();
    Problem::invalid_parameter(
        format!("{param}.{shown}"),
        format!(
            "{param} has no field {}; its fields are: {}",
            quote_start(name),
            known.join(", ")
        ),
    )
}

fn filter_object<'a>(param: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Problem> {
    value.as_object().ok_or_else(|| {
        let shown = quote_json(value);
        let detail =
            format!("{param} is {shown}; it must be a filter, such as {{\"tags\": \"beach\"}}");
        Problem::invalid_parameter(param, detail)
    })
}

/// Avoids needless levels, because the index limits the depth.
fn all_of(mut conditions: Vec<RowFilter>) -> RowFilter {
    match conditions.len() {
        0 => RowFilter::All,
        1 => conditions.swap_remove(0),
        _ => RowFilter::And(conditions),
    }
}

fn any_of(mut conditions: Vec<RowFilter>) -> RowFilter {
    match conditions.len() {
        1 => conditions.swap_remove(0),
        _ => RowFilter::Or(conditions),
    }
}

/// Parses one value, or the operator `in`.
fn parse_choice(
    param: &str,
    condition: &Condition<'_>,
    parse: impl FnOnce(&str, &[String]) -> Result<Vec<String>, Problem>,
) -> Result<Vec<String>, Problem> {
    match condition {
        Condition::Value(value) => parse(param, &[read_text(param, value)?.to_owned()]),
        Condition::Operators(operators) => {
            let param = format!("{param}.in");
            let list = operators.get("in").unwrap_or(&Value::Null);
            parse(&param, &read_text_list(&param, list)?)
        }
    }
}

fn parse_paths(param: &str, condition: &Condition<'_>) -> Result<RowFilter, Problem> {
    let files = |param: &str, texts: &[String]| {
        let file = |text: &String| read_path(param, text, PathForm::File);
        texts.iter().map(file).collect::<Result<Vec<_>, _>>()
    };
    let operators = match condition {
        Condition::Value(value) => {
            let file = read_text(param, value)?.to_owned();
            return files(param, &[file]).map(RowFilter::Path);
        }
        Condition::Operators(operators) => operators,
    };
    let mut conditions = Vec::new();
    for (operator, value) in *operators {
        let param = format!("{param}.{operator}");
        conditions.push(match operator.as_str() {
            "in" => RowFilter::Path(files(&param, &read_text_list(&param, value)?)?),
            _ => {
                let prefix = read_text(&param, value)?;
                RowFilter::PathPrefix(read_path(&param, prefix, PathForm::Prefix)?)
            }
        });
    }
    Ok(all_of(conditions))
}

/// Parses a value or a range, and refuses ranges without a value from `limits.0` to `limits.1`.
fn parse_range(
    param: &str,
    value: &Value,
    condition: &Condition<'_>,
    limits: (i64, i64),
    read: impl Fn(&str, &Value) -> Result<Period, Problem>,
) -> Result<ValueRange, Problem> {
    let operators = match condition {
        Condition::Value(value) => return Ok(read(param, value)?.to_range()),
        Condition::Operators(operators) => operators,
    };
    let mut range = ValueRange::default();
    for (operator, value) in operators.iter().filter(|(name, _)| *name != "exists") {
        let period = read(&format!("{param}.{operator}"), value)?;
        apply_operator(&mut range, operator, period);
    }
    match has_values(range, limits.0, limits.1) {
        true => Ok(range),
        false => Err(Problem::invalid_parameter(
            param,
            format!(
                "{param} is {}, which no value satisfies: exchange its ends, or leave one out",
                quote_json(value)
            ),
        )),
    }
}

fn parse_times(
    param: &str,
    value: &Value,
    condition: &Condition<'_>,
    to_rows: fn(ValueRange) -> RowFilter,
) -> Result<RowFilter, Problem> {
    let range = parse_range(param, value, condition, (i64::MIN, i64::MAX), read_time)?;
    let Some(exists) = read_exists(param, condition)? else {
        return Ok(to_rows(range));
    };
    if range == ValueRange::default() {
        return Ok(has_values_if(exists, RowFilter::HasTakenAt));
    }
    match exists {
        true => Ok(to_rows(range)),
        false => Err(exists_contradiction(param)),
    }
}

/// Returns the operator `exists`.
fn read_exists(param: &str, condition: &Condition<'_>) -> Result<Option<bool>, Problem> {
    let Condition::Operators(operators) = condition else {
        return Ok(None);
    };
    let exists = operators.get("exists");
    exists
        .map(|value| read_bool(&format!("{param}.exists"), value))
        .transpose()
}

fn has_values_if(exists: bool, rows: RowFilter) -> RowFilter {
    match exists {
        true => rows,
        false => RowFilter::Not(Box::new(rows)),
    }
}

fn exists_contradiction(param: &str) -> Problem {
    let detail = format!(
        "{param} asks for a value and for none (`exists` is false), so no image matches: leave one out"
    );
    Problem::invalid_parameter(format!("{param}.exists"), detail)
}

/// Adds the condition of `exists` to those of the other operators.
fn with_exists(
    param: &str,
    condition: &Condition<'_>,
    mut conditions: Vec<RowFilter>,
    has_any: RowFilter,
) -> Result<RowFilter, Problem> {
    match read_exists(param, condition)? {
        Some(false) if !conditions.is_empty() => return Err(exists_contradiction(param)),
        Some(exists) if conditions.is_empty() => conditions.push(has_values_if(exists, has_any)),
        _ => {}
    }
    Ok(all_of(conditions))
}

fn parse_cameras(param: &str, condition: &Condition<'_>) -> Result<RowFilter, Problem> {
    let names = |param: &str, texts| read_words(param, texts, MAX_CAMERA_BYTES);
    let operators = match condition {
        Condition::Value(value) => {
            let camera = read_text(param, value)?.to_owned();
            return names(param, vec![camera]).map(RowFilter::Camera);
        }
        Condition::Operators(operators) => operators,
    };
    let mut conditions = Vec::new();
    for (operator, value) in *operators {
        let param = format!("{param}.{operator}");
        match operator.as_str() {
            "in" => {
                let cameras = names(&param, read_text_list(&param, value)?)?;
                conditions.push(RowFilter::Camera(cameras));
            }
            "prefix" => {
                let prefix = names(&param, vec![read_text(&param, value)?.to_owned()])?;
                conditions.extend(prefix.into_iter().map(RowFilter::CameraPrefix));
            }
            _ => {}
        }
    }
    with_exists(param, condition, conditions, RowFilter::HasCamera)
}

fn parse_tags(param: &str, condition: &Condition<'_>) -> Result<RowFilter, Problem> {
    let tags = |param: &str, texts| read_words(param, texts, MAX_TAG_BYTES);
    let operators = match condition {
        Condition::Value(value) => {
            return tags(param, read_texts(param, value)?).map(RowFilter::AllTags);
        }
        Condition::Operators(operators) => operators,
    };
    let mut conditions = Vec::new();
    for (operator, value) in *operators {
        let param = format!("{param}.{operator}");
        let list = |value| tags(&param, read_text_list(&param, value)?);
        match operator.as_str() {
            "any" => conditions.push(RowFilter::AnyTag(list(value)?)),
            "all" => conditions.push(RowFilter::AllTags(list(value)?)),
            _ => {}
        }
    }
    with_exists(param, condition, conditions, RowFilter::HasTags)
}

fn parse_color_set(param: &str, condition: &Condition<'_>) -> Result<RowFilter, Problem> {
    let operators = match condition {
        Condition::Value(value) => {
            return parse_colors(param, &read_texts(param, value)?).map(RowFilter::AnyColor);
        }
        Condition::Operators(operators) => operators,
    };
    let mut conditions = Vec::new();
    for (operator, value) in *operators {
        let param = format!("{param}.{operator}");
        let list = |value| parse_colors(&param, &read_text_list(&param, value)?);
        match operator.as_str() {
            "any" => conditions.push(RowFilter::AnyColor(list(value)?)),
            "all" => {
                let colors = list(value)?;
                if colors.len() > MAX_COLORS_OF_IMAGE {
                    let detail = format!(
                        "{param} has {} colours, but an image has at most {MAX_COLORS_OF_IMAGE} \
                         main colours: use `any`, or name fewer",
                        colors.len()
                    );
                    return Err(Problem::invalid_parameter(param, detail));
                }
                conditions.push(RowFilter::AllColors(colors));
            }
            _ => {}
        }
    }
    with_exists(param, condition, conditions, RowFilter::HasColors)
}
