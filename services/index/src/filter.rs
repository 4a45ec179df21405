//! Conditions on rows, and their way into Milvus' expression language.
//!
//! Values never reach an expression but through [`literal`]: whatever stands in a path or a tag is
//! one string to Milvus. The SDK's filter templates would do this too, but need a newer server.
//!
//! A path's beginning is compared as a range (`path >= "a" and path < "b"`) and not with `like`,
//! because `like` has no way to escape `%` and `_` in Milvus 2.3.

use crate::{Error, schema::field};

/// Both ends belong to the range; an absent end is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// The least value, or any.
    pub at_least: Option<i64>,
    /// The greatest value, or any.
    pub at_most: Option<i64>,
}

/// Which rows are meant. A list of alternatives that is empty matches nothing.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Every row.
    #[default]
    All,
    /// Rows for which all of these hold; with none, every row.
    And(Vec<Filter>),
    /// Rows for which one of these holds; with none, no row.
    Or(Vec<Filter>),
    /// In one of these libraries.
    Library(Vec<String>),
    /// The path begins with this, byte for byte. End it with `/` to mean a folder.
    PathPrefix(String),
    /// One of these paths.
    Path(Vec<String>),
    /// One of these images.
    Id(Vec<String>),
    /// None of these images.
    NotId(Vec<String>),
    /// One of these contents.
    ContentHash(Vec<String>),
    /// Of this generation or an older one.
    GenerationAtMost(i64),
    /// Pixels, upright.
    Width(Range),
    /// Pixels, upright.
    Height(Range),
    /// Size of the file.
    Bytes(Range),
    /// Milliseconds since 1970. A picture that does not say when it was taken is in no range that
    /// has an end.
    TakenAt(Range),
    /// Milliseconds since 1970.
    ModifiedAt(Range),
    /// Milliseconds since 1970.
    IndexedAt(Range),
    /// One of these formats (`jpeg`, `png`, …).
    Format(Vec<String>),
    /// One of these cameras.
    Camera(Vec<String>),
    /// At least one of these tags.
    AnyTag(Vec<String>),
    /// All of these tags; with none, every row.
    AllTags(Vec<String>),
    /// At least one of these colours.
    AnyColor(Vec<String>),
}

/// An expression matches no row, whatever the rows are: no id is empty. (`false` and `1 == 2` are
/// refused by Milvus 2.3.)
const NOTHING: &str = "id == \"\"";
/// Longer expressions cost the server more than any honest question needs.
const MOST_BYTES: usize = 512 << 10;
/// Deeper nesting than any honest question needs; the parser of Milvus recurses, and so do we.
const MOST_DEPTH: usize = 16;

impl Filter {
    /// The expression; empty for every row.
    pub(crate) fn render(&self) -> Result<String, Error> {
        let mut out = String::new();
        if let Some(expression) = self.expression(0)? {
            out = expression;
        }
        if out.len() > MOST_BYTES {
            return Err(Error::InvalidQuery {
                reason: format!(
                    "the filter takes {} bytes, and {MOST_BYTES} is the most",
                    out.len()
                ),
            });
        }
        Ok(out)
    }

    /// `None` where it holds for every row, so that it can be left out of a conjunction.
    fn expression(&self, depth: usize) -> Result<Option<String>, Error> {
        if depth > MOST_DEPTH {
            return Err(Error::InvalidQuery {
                reason: format!("the filter is nested more than {MOST_DEPTH} deep"),
            });
        }
        let parts = |filters: &[Filter]| -> Result<Vec<Option<String>>, Error> {
            filters.iter().map(|f| f.expression(depth + 1)).collect()
        };
        Ok(match self {
            Self::All => None,
            Self::And(filters) => {
                let parts: Vec<String> = parts(filters)?.into_iter().flatten().collect();
                (!parts.is_empty()).then(|| joined(&parts, " and "))
            }
            Self::Or(filters) => match parts(filters)?.into_iter().collect::<Option<Vec<_>>>() {
                Some(parts) if parts.is_empty() => Some(NOTHING.to_owned()),
                Some(parts) => Some(joined(&parts, " or ")),
                // One alternative holds for every row.
                None => None,
            },
            Self::Library(names) => Some(one_of(field::LIBRARY, names)),
            Self::PathPrefix(prefix) => path_prefix(prefix),
            Self::Path(paths) => Some(one_of(field::PATH, paths)),
            Self::Id(ids) => Some(one_of(field::ID, ids)),
            Self::NotId(ids) if ids.is_empty() => None,
            Self::NotId(ids) => Some(format!("{} not in [{}]", field::ID, literals(ids))),
            Self::ContentHash(hashes) => Some(one_of(field::CONTENT_HASH, hashes)),
            Self::GenerationAtMost(generation) => within(
                field::GENERATION,
                Range {
                    at_least: None,
                    at_most: Some(*generation),
                },
            ),
            Self::Width(range) => within(field::WIDTH, *range),
            Self::Height(range) => within(field::HEIGHT, *range),
            Self::Bytes(range) => within(field::BYTES, *range),
            Self::TakenAt(range) => within(field::TAKEN_AT, *range)
                // Zero is "not known".
                .map(|expression| format!("{expression} and {} != 0", field::TAKEN_AT)),
            Self::ModifiedAt(range) => within(field::MODIFIED_AT, *range),
            Self::IndexedAt(range) => within(field::INDEXED_AT, *range),
            Self::Format(formats) => Some(one_of(field::FORMAT, formats)),
            Self::Camera(cameras) => Some(one_of(field::CAMERA, cameras)),
            Self::AnyTag(tags) => Some(contains_any(field::TAGS, tags)),
            Self::AllTags(tags) if tags.is_empty() => None,
            // No tag is empty: an empty text stands for "no tags".
            Self::AllTags(tags) if tags.iter().any(String::is_empty) => Some(NOTHING.to_owned()),
            Self::AllTags(tags) => Some(format!(
                "array_contains_all({}, [{}])",
                field::TAGS,
                literals(tags)
            )),
            Self::AnyColor(colors) => Some(contains_any(field::COLORS, colors)),
        })
    }
}

fn joined(parts: &[String], word: &str) -> String {
    match parts {
        [one] => one.clone(),
        many => many
            .iter()
            .map(|part| format!("({part})"))
            .collect::<Vec<_>>()
            .join(word),
    }
}

fn one_of(name: &str, values: &[String]) -> String {
    match values {
        [] => NOTHING.to_owned(),
        [value] => format!("{name} == {}", literal(value)),
        values => format!("{name} in [{}]", literals(values)),
    }
}

fn contains_any(name: &str, values: &[String]) -> String {
    // An empty text stands for "none" in the column, so that it can't be asked for.
    let values: Vec<String> = values.iter().filter(|v| !v.is_empty()).cloned().collect();
    if values.is_empty() {
        return NOTHING.to_owned();
    }
    format!("array_contains_any({name}, [{}])", literals(&values))
}

fn within(name: &str, range: Range) -> Option<String> {
    // `i64::MIN` can't be written as a number (the parser reads the digits before the sign), and
    // nothing is below it.
    let at_least = range
        .at_least
        .filter(|least| *least != i64::MIN)
        .map(|least| format!("{name} >= {least}"));
    let at_most = range.at_most.map(|most| match most {
        i64::MIN => NOTHING.to_owned(),
        most => format!("{name} <= {most}"),
    });
    match (at_least, at_most) {
        (Some(least), Some(most)) => Some(format!("{least} and {most}")),
        (least, most) => least.or(most),
    }
}

fn path_prefix(prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    let from = format!("{} >= {}", field::PATH, literal(prefix));
    Some(match after_all_with_prefix(prefix) {
        Some(end) => format!("{from} and {} < {}", field::PATH, literal(&end)),
        None => from,
    })
}

/// The first text after all that begin with `prefix`: its last character, or the one before where
/// that is the greatest of all, becomes the next one. UTF-8 sorts by bytes as its characters do by
/// number, and Milvus compares bytes.
fn after_all_with_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            // What follows is reserved for UTF-16 and no character.
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

/// One string of the expression language, which reads them as Go does.
pub(crate) fn literal(text: &str) -> String {
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
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Several strings, separated by commas.
pub(crate) fn literals(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| literal(text))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &Filter, expression: &str) {
        assert_eq!(filter.render().unwrap(), expression);
    }

    #[test]
    fn expressions() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        check(&Filter::All, "");
        check(&Filter::And(vec![Filter::All, Filter::And(vec![])]), "");
        check(&Filter::Or(vec![]), NOTHING);
        check(&Filter::Or(vec![Filter::All, Filter::Id(vec![])]), "");
        check(&Filter::Library(texts(&["shop"])), r#"library == "shop""#);
        check(
            &Filter::And(vec![
                Filter::Library(texts(&["a", "b"])),
                Filter::Or(vec![
                    Filter::Width(Range {
                        at_least: Some(10),
                        at_most: Some(20),
                    }),
                    Filter::Format(texts(&["png"])),
                ]),
            ]),
            r#"(library in ["a", "b"]) and ((width >= 10 and width <= 20) or (format == "png"))"#,
        );
        check(&Filter::NotId(vec![]), "");
        check(&Filter::AllTags(vec![]), "");
        check(&Filter::AnyTag(vec![]), NOTHING);
        check(
            &Filter::AnyTag(texts(&["", "a"])),
            r#"array_contains_any(tags, ["a"])"#,
        );
        check(&Filter::AllTags(texts(&["", "a"])), NOTHING);
        check(
            &Filter::TakenAt(Range {
                at_least: None,
                at_most: Some(5),
            }),
            "taken_at <= 5 and taken_at != 0",
        );
        check(&Filter::TakenAt(Range::default()), "");
        check(
            &Filter::Bytes(Range {
                at_least: Some(i64::MIN),
                at_most: Some(i64::MIN),
            }),
            NOTHING,
        );
    }

    #[test]
    fn nothing_escapes_from_a_literal() {
        assert_eq!(
            literal("a\"b\\c' or 1==1\n\u{0}\u{7f}é😀"),
            "\"a\\\"b\\\\c' or 1==1\\n\\u0000\\u007fé😀\""
        );
    }

    #[test]
    fn prefixes_become_ranges() {
        check(
            &Filter::PathPrefix("100%_".into()),
            r#"path >= "100%_" and path < "100%`""#,
        );
        check(&Filter::PathPrefix(String::new()), "");
        assert_eq!(after_all_with_prefix("a\u{10ffff}").unwrap(), "b");
        assert_eq!(after_all_with_prefix("\u{10ffff}"), None);
        assert_eq!(after_all_with_prefix("\u{d7ff}").unwrap(), "\u{e000}");
        for prefix in ["a", "a/", "é", "😀", "a\u{10ffff}"] {
            let end = after_all_with_prefix(prefix).unwrap();
            for rest in ["", "x", "\u{10ffff}\u{10ffff}"] {
                assert!(format!("{prefix}{rest}").as_bytes() < end.as_bytes());
            }
        }
    }

    #[test]
    fn excess_is_refused() {
        let mut deep = Filter::Format(vec!["png".into()]);
        for _ in 0..40 {
            deep = Filter::And(vec![deep]);
        }
        assert!(deep.render().is_err());
        let long = Filter::Path(vec!["x".repeat(4000); 200]);
        assert!(long.render().is_err());
    }
}
