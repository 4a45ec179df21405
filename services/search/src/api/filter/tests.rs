//! Filters that are understood, and filters that are refused.

use std::collections::BTreeSet;

use lookalike_index::{RowFilter, ValueRange};
use poem_openapi::types::Example as _;
use serde_json::{Value, json};

use super::FilterBody;
use super::fields::{COMBINATIONS, FIELDS, MAX_CONDITIONS, MAX_DEPTH, describe_operator};
use super::parse::{ParsedFilter, parse_filter};
use super::scope::{limit_to_libraries, parse_filter_text};
use crate::problem::{Code, Problem};

fn parse(filter: &Value) -> Result<ParsedFilter, Problem> {
    parse_filter("filter", filter.as_object().expect("tests write objects"))
}

#[track_caller]
fn check_rows(filter: Value, expected: RowFilter) {
    assert_eq!(parse(&filter).unwrap().rows, expected, "{filter}");
}

/// Checks the parameter at fault, and words of the detail.
#[track_caller]
fn check_refusal(filter: Value, param: &str, words: &str) {
    let problem = parse(&filter).unwrap_err();
    assert_eq!(problem.code, Code::InvalidParameter, "{filter}");
    assert_eq!(problem.param.as_deref(), Some(param), "{filter}");
    assert!(problem.detail.contains(words), "{}", problem.detail);
    assert!(problem.detail.len() < 600, "{}", problem.detail);
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn range(at_least: Option<i64>, at_most: Option<i64>) -> ValueRange {
    ValueRange { at_least, at_most }
}

fn not(filter: RowFilter) -> RowFilter {
    RowFilter::Not(Box::new(filter))
}

#[test]
fn a_value_alone_means_equality() {
    check_rows(json!({}), RowFilter::All);
    check_rows(json!({ "library": null }), RowFilter::All);
    check_rows(
        json!({ "library": " Shop" }),
        RowFilter::Library(texts(&["shop"])),
    );
    for folder in ["shoes", "shoes/", "./shoes/", ".//shoes"] {
        check_rows(
            json!({ "folder": folder }),
            RowFilter::PathPrefix("shoes/".into()),
        );
    }
    for root in ["", "./"] {
        check_rows(json!({ "folder": root }), RowFilter::All);
    }
    check_rows(
        json!({ "path": "a/b.jpg" }),
        RowFilter::Path(texts(&["a/b.jpg"])),
    );
    check_rows(
        json!({ "format": ".JPG" }),
        RowFilter::Format(texts(&["jpeg"])),
    );
    check_rows(
        json!({ "width": 800 }),
        RowFilter::Width(range(Some(800), Some(800))),
    );
    check_rows(
        json!({ "bytes": 1e3 }),
        RowFilter::Bytes(range(Some(1000), Some(1000))),
    );
    check_rows(
        json!({ "taken_at": "1970-01-02" }),
        RowFilter::TakenAt(range(Some(86_400_000), Some(2 * 86_400_000 - 1))),
    );
    check_rows(
        json!({ "camera": "Canon EOS R5 " }),
        RowFilter::Camera(texts(&["Canon EOS R5"])),
    );
    check_rows(
        json!({ "tags": "beach" }),
        RowFilter::AllTags(texts(&["beach"])),
    );
    check_rows(
        json!({ "tags": ["beach", "sea", "beach"] }),
        RowFilter::AllTags(texts(&["beach", "sea"])),
    );
    check_rows(
        json!({ "colors": "Grey" }),
        RowFilter::AnyColor(texts(&["gray"])),
    );
    check_rows(
        json!({ "colors": ["blue", "RED"] }),
        RowFilter::AnyColor(texts(&["blue", "red"])),
    );
}

#[test]
fn operators_are_compiled() {
    let day = 86_400_000;
    for (filter, expected) in [
        (
            json!({ "library": { "in": ["a", "B"] } }),
            RowFilter::Library(texts(&["a", "b"])),
        ),
        (
            json!({ "folder": { "in": ["a", "b/"] } }),
            RowFilter::Or(vec![
                RowFilter::PathPrefix("a/".into()),
                RowFilter::PathPrefix("b/".into()),
            ]),
        ),
        (
            json!({ "path": { "prefix": "2026/IMG" } }),
            RowFilter::PathPrefix("2026/IMG".into()),
        ),
        (
            json!({ "format": { "in": ["jpg", "png"] } }),
            RowFilter::Format(texts(&["jpeg", "png"])),
        ),
        (
            json!({ "width": { "gte": 10, "lt": 20 } }),
            RowFilter::Width(range(Some(10), Some(19))),
        ),
        (
            json!({ "height": { "gt": 10, "lte": 20 } }),
            RowFilter::Height(range(Some(11), Some(20))),
        ),
        (
            json!({ "taken_at": { "gte": "1970-01-01", "lt": "1970-01-03" } }),
            RowFilter::TakenAt(range(Some(0), Some(2 * day - 1))),
        ),
        (
            json!({ "taken_at": { "gt": "1970-01-01", "lte": "1970-01-03" } }),
            RowFilter::TakenAt(range(Some(day), Some(3 * day - 1))),
        ),
        (
            json!({ "taken_at": { "gte": "1970", "exists": true } }),
            RowFilter::TakenAt(range(Some(0), None)),
        ),
        (
            json!({ "taken_at": { "exists": false } }),
            not(RowFilter::HasTakenAt),
        ),
        (
            json!({ "modified_at": { "lt": "1970" } }),
            RowFilter::ModifiedAt(range(None, Some(-1))),
        ),
        (
            json!({ "camera": { "prefix": "Canon" } }),
            RowFilter::CameraPrefix("Canon".into()),
        ),
        (
            json!({ "camera": { "exists": true } }),
            RowFilter::HasCamera,
        ),
        (
            json!({ "tags": { "any": ["a"], "all": ["b", "c"], "exists": true } }),
            RowFilter::And(vec![
                RowFilter::AllTags(texts(&["b", "c"])),
                RowFilter::AnyTag(texts(&["a"])),
            ]),
        ),
        (
            json!({ "tags": { "exists": false } }),
            not(RowFilter::HasTags),
        ),
        (
            json!({ "colors": { "all": ["blue", "grey", "gray", "red"] } }),
            RowFilter::AllColors(texts(&["blue", "gray", "red"])),
        ),
    ] {
        check_rows(filter, expected);
    }
    // As the index stores it: cut at a character.
    let long = format!("x{}", "é".repeat(100));
    let stored = format!("x{}", "é".repeat(63));
    check_rows(json!({ "tags": long }), RowFilter::AllTags(vec![stored]));
}

#[test]
fn filters_are_combined() {
    let jpeg = || RowFilter::Format(texts(&["jpeg"]));
    let beach = || RowFilter::AllTags(texts(&["beach"]));
    check_rows(
        json!({ "format": "jpeg", "or": [{ "tags": "beach" }, { "format": "jpeg", "tags": "beach" }] }),
        RowFilter::And(vec![
            jpeg(),
            RowFilter::Or(vec![beach(), RowFilter::And(vec![jpeg(), beach()])]),
        ]),
    );
    check_rows(
        json!({ "and": [{ "not": { "format": "jpeg" } }, { "or": [{}, { "tags": "beach" }] }] }),
        RowFilter::And(vec![
            not(jpeg()),
            RowFilter::Or(vec![RowFilter::All, beach()]),
        ]),
    );
}

#[test]
fn what_no_image_can_match_is_refused() {
    for (filter, param, words) in [
        (json!({ "format": "jpgg" }), "filter.format", "jpeg, png"),
        (
            json!({ "format": { "in": ["png", "mp4"] } }),
            "filter.format.in",
            "\"mp4\"; valid are",
        ),
        (json!({ "colors": "Bluu" }), "filter.colors", "black, white"),
        (
            json!({ "colors": { "any": ["blue", "bleu"] } }),
            "filter.colors.any",
            "\"bleu\"",
        ),
        (
            json!({ "colors": { "all": ["blue", "red", "white", "black"] } }),
            "filter.colors.all",
            "at most 3",
        ),
        (json!({ "colors": [] }), "filter.colors", "an empty list"),
        (
            json!({ "tags": { "any": [] } }),
            "filter.tags.any",
            "an empty list",
        ),
        (json!({ "tags": " " }), "filter.tags", "an empty text"),
        (json!({ "tags": ["a", ""] }), "filter.tags", "an empty text"),
        (json!({ "or": [] }), "filter.or", "an empty list"),
        (json!({ "not": {} }), "filter.not", "no condition"),
        (
            json!({ "width": { "gte": 2, "lt": 2 } }),
            "filter.width",
            "no value satisfies",
        ),
        (
            json!({ "width": { "lt": 0 } }),
            "filter.width",
            "no value satisfies",
        ),
        (
            json!({ "width": { "gt": i32::MAX } }),
            "filter.width",
            "no value satisfies",
        ),
        (
            json!({ "width": { "gte": -1 } }),
            "filter.width.gte",
            "from 0 to 2147483647",
        ),
        (json!({ "width": 800.5 }), "filter.width", "a whole number"),
        (json!({ "width": "800" }), "filter.width", "a whole number"),
        (json!({ "bytes": 1e300 }), "filter.bytes", "a whole number"),
        (
            json!({ "taken_at": { "gte": "2026-02-01", "lt": "2026-01-01" } }),
            "filter.taken_at",
            "2026-02-01",
        ),
        (
            json!({ "taken_at": { "gte": "2026", "lt": "2026-01" } }),
            "filter.taken_at",
            "no value",
        ),
        (
            json!({ "taken_at": { "gte": "yesterday" } }),
            "filter.taken_at.gte",
            "2026-11-23",
        ),
        (
            json!({ "taken_at": { "gte": "2026", "exists": false } }),
            "filter.taken_at.exists",
            "no image matches",
        ),
        (
            json!({ "tags": { "any": ["a"], "exists": false } }),
            "filter.tags.exists",
            "no image matches",
        ),
        (json!({ "library": "../etc" }), "filter.library", "library"),
        (
            json!({ "camera": { "in": ["x".repeat(129)] } }),
            "filter.camera.in",
            "128 characters",
        ),
    ] {
        check_refusal(filter, param, words);
    }
    for folder in [
        "/",
        "/photos/2026",
        "../2026",
        "2026/../x",
        "2026//a",
        "a\0",
        "a/./b",
        "a//",
    ] {
        check_refusal(json!({ "folder": folder }), "filter.folder", "2026/holiday");
        check_refusal(json!({ "path": folder }), "filter.path", "a.jpg");
    }
    for path in ["", "a/"] {
        check_refusal(json!({ "path": path }), "filter.path", "a.jpg");
    }
    for prefix in ["", "/a", "../a", "a//b"] {
        let filter = json!({ "path": { "prefix": prefix } });
        check_refusal(filter, "filter.path.prefix", "2026/");
    }
}

#[test]
fn other_fields_operators_and_types_are_refused() {
    for (filter, param, words) in [
        (
            json!({ "formats": ["jpeg"] }),
            "filter.formats",
            "library, folder, path, format",
        ),
        (
            json!({ "min_width": 800 }),
            "filter.min_width",
            "and, or, not",
        ),
        (
            json!({ "x".repeat(5000): 1 }),
            &*format!("filter.{}", "x".repeat(40)),
            "no field",
        ),
        (
            json!({ "width": { "min": 800 } }),
            "filter.width",
            "gte, gt, lte, lt",
        ),
        (json!({ "width": {} }), "filter.width", "gte, gt, lte, lt"),
        (
            json!({ "modified_at": { "exists": true } }),
            "filter.modified_at",
            "gte, gt, lte, lt",
        ),
        (json!({ "format": ["jpeg"] }), "filter.format", "a text"),
        (
            json!({ "format": { "in": "jpeg" } }),
            "filter.format.in",
            "a list of texts",
        ),
        (
            json!({ "tags": { "all": ["a", 1] } }),
            "filter.tags.all",
            "a list of texts",
        ),
        (
            json!({ "tags": { "exists": 1 } }),
            "filter.tags.exists",
            "true or false",
        ),
        (
            json!({ "width": { "gte": null } }),
            "filter.width.gte",
            "null",
        ),
        (
            json!({ "or": { "tags": "a" } }),
            "filter.or",
            "a list of filters",
        ),
        (json!({ "or": [{}, "a"] }), "filter.or[1]", "a filter"),
        (json!({ "not": "a" }), "filter.not", "a filter"),
        (
            json!({ "or": [{ "not": { "width": { "gte": "x" } } }] }),
            "filter.or[0].not.width.gte",
            "a whole number",
        ),
    ] {
        check_refusal(filter, param, words);
    }
}

#[test]
fn the_size_of_a_filter_is_limited() {
    let nested = |depth: usize| {
        let innermost = json!({ "format": "jpeg" });
        (0..depth).fold(innermost, |inner, level| match level % 2 {
            0 => json!({ "tags": "c", "or": [inner, { "tags": "a" }] }),
            _ => json!({ "tags": "b", "not": inner }),
        })
    };
    let deepest = parse(&nested(MAX_DEPTH)).unwrap().rows;
    let with_scope = RowFilter::And(vec![RowFilter::Library(texts(&["a"])), deepest]);
    assert!(with_scope.check_size().is_ok());
    let problem = parse(&nested(MAX_DEPTH + 1)).unwrap_err();
    assert!(problem.detail.contains("5 levels"), "{}", problem.detail);

    // The lists themselves count as conditions.
    let many = |count: usize| {
        let list = |count| vec![json!({ "tags": "a" }); count];
        json!({ "or": list(63), "and": list(count - 65) })
    };
    let largest = parse(&many(MAX_CONDITIONS)).unwrap().rows;
    assert!(largest.check_size().is_ok());
    let problem = parse(&many(MAX_CONDITIONS + 1)).unwrap_err();
    assert!(problem.detail.contains("128"), "{}", problem.detail);

    let long = json!({ "tags": vec!["a"; 65] });
    check_refusal(long, "filter.tags", "65 entries");
}

#[test]
fn a_filter_covers_the_libraries_of_the_service() {
    let limited = |filter: Value, configured: &[&str]| {
        let configured: BTreeSet<String> = texts(configured).into_iter().collect();
        limit_to_libraries(parse(&filter).unwrap(), configured)
    };
    let libraries = |names: &[&str]| RowFilter::Library(texts(names));
    assert_eq!(limited(json!({}), &[]), RowFilter::All);
    assert_eq!(limited(json!({}), &["b", "a"]), libraries(&["a", "b"]));
    assert_eq!(
        limited(json!({ "library": "old" }), &["a"]),
        libraries(&["old"])
    );
    assert_eq!(
        limited(json!({ "tags": "x" }), &["a"]),
        RowFilter::And(vec![libraries(&["a"]), RowFilter::AllTags(texts(&["x"]))])
    );
    // A library that is not configured is found where the filter names it.
    let filter = json!({ "or": [{ "library": "old" }, { "tags": "x" }] });
    assert_eq!(
        limited(filter, &["a"]),
        RowFilter::And(vec![
            libraries(&["a", "old"]),
            RowFilter::Or(vec![libraries(&["old"]), RowFilter::AllTags(texts(&["x"]))]),
        ])
    );
}

#[test]
fn a_filter_in_an_address_is_json() {
    let fields = parse_filter_text(r#"{"format": "jpeg"}"#).unwrap();
    assert_eq!(fields["format"], "jpeg");
    let nested = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    for bad in ["", "jpeg", "[]", "{", &nested, &" ".repeat(16_385)] {
        let problem = parse_filter_text(bad).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("filter"));
        assert!(problem.detail.len() < 300, "{}", problem.detail);
    }
}

#[test]
fn the_table_of_fields_is_complete() {
    let example = FilterBody::example();
    let parsed = parse_filter("filter", &example.0).unwrap();
    assert!(parsed.is_limited_to_libraries);
    let mut names = BTreeSet::new();
    for field in FIELDS {
        assert!(names.insert(field.name) && !COMBINATIONS.contains(&field.name));
        for operator in field.operators {
            assert!(!describe_operator(operator).is_empty());
        }
        let unknown = json!({ field.name: { "is": 1 } });
        let detail = parse(&unknown).unwrap_err().detail;
        assert!(detail.ends_with(&field.operators.join(", ")), "{detail}");
    }
}
