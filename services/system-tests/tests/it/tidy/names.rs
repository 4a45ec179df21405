//! Names and words: a type name has one meaning, and texts are plain technical English.

use std::collections::BTreeMap;

use super::code::shipped_code;
use super::{assert_no_complaints, our_files};

/// Type names that may be defined more than once: each crate has its own.
const SHARED_NAMES: &[&str] = &["Error", "Result", "Settings", "Context"];

/// Types with a variant for each platform.
const PLATFORM_TYPES: &[&str] = &["Handshake"];

/// Words and phrases that a reader has to translate first, with the usual ones.
const UNUSUAL: &[(&[&str], &str)] = &[
    (&["whoever", "nobody", "somebody"], "name the actor"),
    (&["anew"], "again"),
    (&["for want of"], "without"),
    (&["in peace"], "normally"),
    (&["under way"], "in progress"),
    (&["put off", "puts off", "putting off"], "defer"),
    (&["mend", "mends", "mended", "mending"], "fix"),
    (&["beside"], "next to"),
    (
        &["for a moment", "in a moment", "after a moment"],
        "briefly, soon",
    ),
    (&["at the moment"], "now"),
    (
        &["is told", "are told", "was told", "were told", "be told"],
        "receives, is reported",
    ),
    (&["tell of", "tells of"], "reports"),
    (
        &[
            "lies in",
            "lie in",
            "lies there",
            "lies at",
            "lies below",
            "lies under",
        ],
        "is stored in",
    ),
    (
        &["goes on with", "go on with", "goes on as", "goes on where"],
        "continues",
    ),
    (&["stands by", "stand by"], "is on standby"),
    (&["came down", "comes down", "come down"], "crashed"),
    (&["to be had"], "available"),
    (&["says so"], "reports it"),
    (&["without a word"], "automatically"),
    (&["does not answer", "doesn't answer"], "is unreachable"),
];

/// Returns the type that a line of blanked code defines.
fn defined_type(line: &str) -> Option<&str> {
    let is_nested = line.starts_with(' ');
    let mut words = line.split_whitespace();
    let mut keyword = words.next()?;
    if keyword.starts_with("pub") {
        keyword = words.next()?;
    }
    let is_definition = matches!(keyword, "struct" | "enum" | "trait" | "union")
        // A nested one is an associated type.
        || keyword == "type" && !is_nested;
    let name = words.next().filter(|_| is_definition)?;
    name.split(|c: char| !c.is_alphanumeric()).next()
}

#[test]
fn a_type_name_is_defined_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, path) in our_files() {
        if !name.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        for (number, line) in shipped_code(&source).lines().enumerate() {
            if let Some(defined) = defined_type(line).filter(|defined| !defined.is_empty()) {
                let place = format!("{name}:{}", number + 1);
                places.entry(defined.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(places.len() > 300, "hardly any type was found");
    let complaints: Vec<String> = places
        .iter()
        .filter(|(name, places)| {
            let is_allowed =
                SHARED_NAMES.contains(&&name[..]) || PLATFORM_TYPES.contains(&&name[..]);
            places.len() > 1 && !is_allowed
        })
        .map(|(name, places)| {
            format!(
                "{name} is defined in {}: name each after its subject",
                places.join(", ")
            )
        })
        .collect();
    assert_no_complaints(&complaints);
}

/// Returns whether a line contains a phrase, not as a part of longer words.
fn contains_phrase(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let behind = line[at + phrase.len()..].chars().next();
        !is_part(line[..at].chars().next_back()) && !is_part(behind)
    })
}

#[test]
fn texts_use_plain_words() {
    const TEXTS: &[&str] = &["rs", "md", "js", "html", "proto", "yml", "toml", "sh"];
    let mut complaints = Vec::new();
    for (name, path) in our_files() {
        let ending = path.extension().map(|ending| ending.to_string_lossy());
        let is_text = ending.is_some_and(|ending| TEXTS.contains(&&ending[..]));
        if !is_text || name.ends_with("/tidy/names.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (phrases, usual) in UNUSUAL {
                for phrase in phrases
                    .iter()
                    .filter(|phrase| contains_phrase(&line, phrase))
                {
                    complaints.push(format!(
                        "{name}:{}: {phrase:?}: write instead: {usual}",
                        number + 1
                    ));
                }
            }
        }
    }
    assert_no_complaints(&complaints);
}
