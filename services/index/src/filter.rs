//! Conditions on rows, and their translation to Milvus' expression language.
//!
//! Values reach an expression only through [`quote_literal`], so any path or tag is one string to
//! Milvus. The SDK's filter templates would do this too, but need a newer server.
//!
//! A path prefix is compared as a range (`path >= "a" and path < "b"`), because `like` cannot escape
//! `%` and `_` in Milvus 2.3.

use crate::{error::Error, schema::field};

/// An inclusive range; `None` leaves an end open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ValueRange {
    pub at_least: Option<i64>,
    pub at_most: Option<i64>,
}

/// A condition on rows. An empty list of alternatives matches no row.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum RowFilter {
    #[default]
    All,
    /// Rows that match all conditions; without conditions, every row.
    And(Vec<RowFilter>),
    /// Rows that match one of the conditions; without conditions, no row.
    Or(Vec<RowFilter>),
    /// Rows that do not match the condition.
    Not(Box<RowFilter>),
    Library(Vec<String>),
    /// Paths that start with this text, byte by byte. Append `/` to select a folder.
    PathPrefix(String),
    Path(Vec<String>),
    Id(Vec<String>),
    /// Rows of all other images.
    NotId(Vec<String>),
    ContentHash(Vec<String>),
    GenerationAtMost(i64),
    /// Pixels after applying the EXIF orientation.
    Width(ValueRange),
    /// Pixels after applying the EXIF orientation.
    Height(ValueRange),
    /// Size of the file in bytes.
    Bytes(ValueRange),
    /// Milliseconds since 1970. An image without this time is in no range that has an end.
    TakenAt(ValueRange),
    /// Milliseconds since 1970.
    ModifiedAt(ValueRange),
    /// Milliseconds since 1970.
    IndexedAt(ValueRange),
    /// Formats such as `jpeg` and `png`.
    Format(Vec<String>),
    Camera(Vec<String>),
    /// Cameras whose names start with this text, byte by byte.
    CameraPrefix(String),
    /// Rows whose file states a camera.
    HasCamera,
    /// Rows whose file states when the picture was taken.
    HasTakenAt,
    HasTags,
    HasColors,
    /// Rows with at least one of these tags.
    AnyTag(Vec<String>),
    /// Rows with all of these tags; without tags, every row.
    AllTags(Vec<String>),
    /// Rows with at least one of these colours.
    AnyColor(Vec<String>),
    /// Rows with all of these colours; without colours, every row.
    AllColors(Vec<String>),
}

/// Expression that matches no row, because no id is empty. (Milvus 2.3 refuses `false` and
/// `1 == 2`.)
const MATCH_NOTHING: &str = "id == \"\"";
/// Limits what one filter can cost the server.
const MAX_EXPRESSION_BYTES: usize = 512 << 10;
/// Limits nesting, because Milvus' parser and this module recurse.
const MAX_FILTER_DEPTH: usize = 16;
impl RowFilter {
    /// Checks that the filter is small enough for a request.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] with the limit that it exceeds.
    pub fn check_size(&self) -> Result<(), Error> {
        self.to_expression().map(|_| ())
    }

    /// Returns the expression; empty if every row matches.
    pub(crate) fn to_expression(&self) -> Result<String, Error> {
        let mut out = String::new();
        if let Some(expression) = self.render_nested(0)? {
            out = expression;
        }
        if out.len() > MAX_EXPRESSION_BYTES {
            return Err(Error::InvalidQuery {
                reason: format!(
                    "the filter has {} bytes; the limit is {MAX_EXPRESSION_BYTES}",
                    out.len()
                ),
            });
        }
        Ok(out)
    }

    /// Returns `None` if every row matches, so that a conjunction can omit the condition.
    fn render_nested(&self, depth: usize) -> Result<Option<String>, Error> {
        if depth > MAX_FILTER_DEPTH {
            return Err(Error::InvalidQuery {
                reason: format!("the filter is nested more than {MAX_FILTER_DEPTH} levels deep"),
            });
        }
        let parts = |filters: &[RowFilter]| -> Result<Vec<Option<String>>, Error> {
            filters.iter().map(|f| f.render_nested(depth + 1)).collect()
        };
        Ok(match self {
            Self::All => None,
            Self::And(filters) => {
                let parts: Vec<String> = parts(filters)?.into_iter().flatten().collect();
                (!parts.is_empty()).then(|| join_parts(&parts, " and "))
            }
            Self::Or(filters) => match parts(filters)?.into_iter().collect::<Option<Vec<_>>>() {
                Some(parts) if parts.is_empty() => Some(MATCH_NOTHING.to_owned()),
                Some(parts) => Some(join_parts(&parts, " or ")),
                // One alternative matches every row.
                None => None,
            },
            Self::Not(filter) => Some(match filter.render_nested(depth + 1)? {
                Some(expression) => format!("not ({expression})"),
                None => MATCH_NOTHING.to_owned(),
            }),
            Self::Library(names) => Some(equals_any(field::LIBRARY, names)),
            Self::PathPrefix(prefix) => starts_with(field::PATH, prefix),
            Self::Path(paths) => Some(equals_any(field::PATH, paths)),
            Self::Id(ids) => Some(equals_any(field::ID, ids)),
            Self::NotId(ids) if ids.is_empty() => None,
            Self::NotId(ids) => Some(format!("{} not in [{}]", field::ID, quote_literals(ids))),
            Self::ContentHash(hashes) => Some(equals_any(field::CONTENT_HASH, hashes)),
            Self::GenerationAtMost(generation) => is_in_range(
                field::GENERATION,
                ValueRange {
                    at_least: None,
                    at_most: Some(*generation),
                },
            ),
            Self::Width(range) => is_in_range(field::WIDTH, *range),
            Self::Height(range) => is_in_range(field::HEIGHT, *range),
            Self::Bytes(range) => is_in_range(field::BYTES, *range),
            Self::TakenAt(range) => is_in_range(field::TAKEN_AT, *range)
                // Zero means "unknown".
                .map(|expression| format!("{expression} and {} != 0", field::TAKEN_AT)),
            Self::ModifiedAt(range) => is_in_range(field::MODIFIED_AT, *range),
            Self::IndexedAt(range) => is_in_range(field::INDEXED_AT, *range),
            Self::Format(formats) => Some(equals_any(field::FORMAT, formats)),
            Self::Camera(cameras) => Some(equals_any(field::CAMERA, cameras)),
            Self::CameraPrefix(prefix) => starts_with(field::CAMERA, prefix),
            Self::HasCamera => Some(format!("{} != \"\"", field::CAMERA)),
            Self::HasTakenAt => Some(format!("{} != 0", field::TAKEN_AT)),
            Self::HasTags => Some(is_not_empty(field::TAGS)),
            Self::HasColors => Some(is_not_empty(field::COLORS)),
            Self::AnyTag(tags) => Some(contains_any(field::TAGS, tags)),
            Self::AllTags(tags) => contains_all(field::TAGS, tags),
            Self::AnyColor(colors) => Some(contains_any(field::COLORS, colors)),
            Self::AllColors(colors) => contains_all(field::COLORS, colors),
        })
    }
}

/// Joins conditions in pairs of pairs. For the server, `a or b or c` is nested as deep as it is long,
/// and 2.3.5 fails to search with 64 conditions in a row.
fn join_parts(parts: &[String], word: &str) -> String {
    match parts {
        [] => String::new(),
        [part] => part.clone(),
        many => {
            let (left, right) = many.split_at(many.len().div_ceil(2));
            let (left, right) = (join_parts(left, word), join_parts(right, word));
            format!("({left}){word}({right})")
        }
    }
}

fn equals_any(name: &str, values: &[String]) -> String {
    match values {
        [] => MATCH_NOTHING.to_owned(),
        [value] => format!("{name} == {}", quote_literal(value)),
        values => format!("{name} in [{}]", quote_literals(values)),
    }
}

fn contains_any(name: &str, values: &[String]) -> String {
    // In the column an empty string means "none", so it cannot be searched for.
    let values: Vec<String> = values.iter().filter(|v| !v.is_empty()).cloned().collect();
    if values.is_empty() {
        return MATCH_NOTHING.to_owned();
    }
    format!("array_contains_any({name}, [{}])", quote_literals(&values))
}

/// Returns `None` if every row matches.
fn contains_all(name: &str, values: &[String]) -> Option<String> {
    if values.is_empty() {
        return None;
    }
    // In the column an empty string means "none", so it cannot be searched for.
    Some(match values.iter().any(String::is_empty) {
        true => MATCH_NOTHING.to_owned(),
        false => format!("array_contains_all({name}, [{}])", quote_literals(values)),
    })
}

/// In the column, a list with one empty string means "none".
fn is_not_empty(name: &str) -> String {
    format!("not (array_contains({name}, \"\"))")
}

fn is_in_range(name: &str, range: ValueRange) -> Option<String> {
    // The parser reads digits before the sign and thus rejects `i64::MIN`; nothing is below it.
    let at_least = range
        .at_least
        .filter(|least| *least != i64::MIN)
        .map(|least| format!("{name} >= {least}"));
    let at_most = range.at_most.map(|most| match most {
        i64::MIN => MATCH_NOTHING.to_owned(),
        most => format!("{name} <= {most}"),
    });
    match (at_least, at_most) {
        (Some(least), Some(most)) => Some(format!("{least} and {most}")),
        (least, most) => least.or(most),
    }
}

/// Returns `None` if every row matches.
fn starts_with(name: &str, prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    let from = format!("{name} >= {}", quote_literal(prefix));
    Some(match prefix_upper_bound(prefix) {
        Some(end) => format!("{from} and {name} < {}", quote_literal(&end)),
        None => from,
    })
}

/// Returns the smallest text that is greater than every text starting with `prefix`, or `None` if
/// there is none. It increments the last character that is not the greatest one. This is right
/// because Milvus compares bytes, and UTF-8 sorts by bytes as its characters sort by number.
fn prefix_upper_bound(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            // The next code points are surrogates, not characters.
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

/// Quotes a string for the expression language, which uses Go's syntax.
pub(crate) fn quote_literal(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                write!(out, "\\u{:04x}", character as u32).expect("a String takes all text");
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

pub(crate) fn quote_literals(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| quote_literal(text))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_expression(filter: &RowFilter, expression: &str) {
        assert_eq!(filter.to_expression().unwrap(), expression);
    }

    #[test]
    fn filters_render_to_expressions() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_expression(&RowFilter::All, "");
        assert_expression(
            &RowFilter::And(vec![RowFilter::All, RowFilter::And(vec![])]),
            "",
        );
        assert_expression(&RowFilter::Or(vec![]), MATCH_NOTHING);
        assert_expression(
            &RowFilter::Or(vec![RowFilter::All, RowFilter::Id(vec![])]),
            "",
        );
        assert_expression(
            &RowFilter::Library(texts(&["shop"])),
            r#"library == "shop""#,
        );
        assert_expression(
            &RowFilter::And(vec![
                RowFilter::Library(texts(&["a", "b"])),
                RowFilter::Or(vec![
                    RowFilter::Width(ValueRange {
                        at_least: Some(10),
                        at_most: Some(20),
                    }),
                    RowFilter::Format(texts(&["png"])),
                ]),
            ]),
            r#"(library in ["a", "b"]) and ((width >= 10 and width <= 20) or (format == "png"))"#,
        );
        assert_expression(&RowFilter::NotId(vec![]), "");
        assert_expression(&RowFilter::AllTags(vec![]), "");
        assert_expression(&RowFilter::AnyTag(vec![]), MATCH_NOTHING);
        assert_expression(
            &RowFilter::AnyTag(texts(&["", "a"])),
            r#"array_contains_any(tags, ["a"])"#,
        );
        assert_expression(&RowFilter::AllTags(texts(&["", "a"])), MATCH_NOTHING);
        assert_expression(
            &RowFilter::TakenAt(ValueRange {
                at_least: None,
                at_most: Some(5),
            }),
            "taken_at <= 5 and taken_at != 0",
        );
        assert_expression(&RowFilter::TakenAt(ValueRange::default()), "");
        assert_expression(
            &RowFilter::Bytes(ValueRange {
                at_least: Some(i64::MIN),
                at_most: Some(i64::MIN),
            }),
            MATCH_NOTHING,
        );
    }

    #[test]
    fn negations_and_absences_render_to_expressions() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let not = |filter| RowFilter::Not(Box::new(filter));
        assert_expression(
            &not(RowFilter::Format(texts(&["png"]))),
            r#"not (format == "png")"#,
        );
        assert_expression(&not(RowFilter::All), MATCH_NOTHING);
        assert_expression(&not(RowFilter::And(vec![])), MATCH_NOTHING);
        assert_expression(&not(RowFilter::HasCamera), r#"not (camera != "")"#);
        assert_expression(&RowFilter::HasTakenAt, "taken_at != 0");
        assert_expression(&RowFilter::HasTags, r#"not (array_contains(tags, ""))"#);
        assert_expression(
            &RowFilter::CameraPrefix("Canon\"".into()),
            r#"camera >= "Canon\"" and camera < "Canon#""#,
        );
        assert_expression(&RowFilter::AllColors(vec![]), "");
        assert_expression(
            &RowFilter::AllColors(texts(&["red", "blue"])),
            r#"array_contains_all(colors, ["red", "blue"])"#,
        );
    }

    #[test]
    fn many_conditions_are_joined_in_pairs() {
        let filters = |count| vec![RowFilter::HasTakenAt; count];
        let depth = |expression: &str| {
            let mut depth: usize = 0;
            let mut deepest = 0;
            for character in expression.chars() {
                match character {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                deepest = deepest.max(depth);
            }
            deepest
        };
        for (count, expected) in [(2, 1), (3, 2), (64, 6), (65, 7), (512, 9)] {
            let expression = RowFilter::Or(filters(count)).to_expression().unwrap();
            assert_eq!(depth(&expression), expected, "{count}");
            assert_eq!(expression.matches("taken_at").count(), count);
        }
    }

    #[test]
    fn a_literal_quotes_everything() {
        assert_eq!(
            quote_literal("a\"b\\c' or 1==1\n\u{0}\u{7f}é😀"),
            "\"a\\\"b\\\\c' or 1==1\\n\\u0000\\u007fé😀\""
        );
    }

    #[test]
    fn prefixes_become_ranges() {
        assert_expression(
            &RowFilter::PathPrefix("100%_".into()),
            r#"path >= "100%_" and path < "100%`""#,
        );
        assert_expression(&RowFilter::PathPrefix(String::new()), "");
        assert_eq!(prefix_upper_bound("a\u{10ffff}").unwrap(), "b");
        assert_eq!(prefix_upper_bound("\u{10ffff}"), None);
        assert_eq!(prefix_upper_bound("\u{d7ff}").unwrap(), "\u{e000}");
        for prefix in ["a", "a/", "é", "😀", "a\u{10ffff}"] {
            let end = prefix_upper_bound(prefix).unwrap();
            for rest in ["", "x", "\u{10ffff}\u{10ffff}"] {
                assert!(format!("{prefix}{rest}").as_bytes() < end.as_bytes());
            }
        }
    }

    #[test]
    fn excessive_filters_are_refused() {
        let mut deep = RowFilter::Format(vec!["png".into()]);
        for _ in 0..40 {
            deep = RowFilter::And(vec![deep]);
        }
        assert!(deep.to_expression().is_err());
        let long = RowFilter::Path(vec!["x".repeat(4000); 200]);
        assert!(long.to_expression().is_err());
    }
}
