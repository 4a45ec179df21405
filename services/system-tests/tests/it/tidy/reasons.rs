//! Every code of a failed or ignored file is listed in `proto`.

use std::collections::BTreeSet;

use super::{assert_no_complaints, our_files, read_file};

/// Returns the codes of REASONS.md, which `proto` keeps equal to its list.
fn listed_codes() -> BTreeSet<String> {
    let document = read_file("REASONS.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

/// Returns the strings in quotes right after `mark`.
fn strings_after<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix('"')?;
        rest.split_once('"').map(|(code, _)| code)
    })
}

/// Returns the strings of one function or list, from its beginning to the line that ends it.
fn strings_of<'a>(text: &'a str, begins: &str, ends: &str) -> Vec<&'a str> {
    let Some((_, rest)) = text.split_once(begins) else {
        panic!("{begins:?} no longer exists: fix this test");
    };
    let body = rest.split(ends).next().unwrap_or(rest);
    body.split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_code_is_listed() {
    let listed = listed_codes();
    assert!(listed.len() > 20, "REASONS.md lists hardly anything");
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    let mut note = |code: &str, place: &str| {
        seen.insert(code.to_owned());
        if !listed.contains(code) {
            complaints.push(format!(
                "{place}: the code {code:?} is not listed: add it to proto/src/reasons.rs"
            ));
        }
    };
    // Codes of the decoders and of the watcher's rules.
    let place = "services/vision/src/error.rs";
    for code in strings_of(&read_file(place), "pub const CODES: &[&str] = &[", "];") {
        note(code, place);
    }
    let place = "services/watcher/src/rules.rs";
    for code in strings_of(&read_file(place), "pub fn code(", "\n    }") {
        note(code, place);
    }
    // Codes in code: `code: "poison"`.
    for (name, path) in our_files() {
        let is_source = ["services/watcher/src/", "services/embedder/src/"]
            .iter()
            .any(|folder| name.starts_with(folder))
            && name.ends_with(".rs")
            && !name.contains("/tests")
            // Codes of refused queries, not of files.
            && !name.starts_with("services/embedder/src/queries/");
        if !is_source {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for mark in ["code:", "code =", "row.code ="] {
            for code in strings_after(shipped, mark).filter(|code| !code.is_empty()) {
                note(code, &name);
            }
        }
    }
    for code in ["truncated", "hidden", "poison", "unreadable"] {
        assert!(seen.contains(code), "{code} was not found: fix this test");
    }
    assert_no_complaints(&complaints);
}
