//! Every reason why a file is not in the index is in the one list of them.

use std::collections::BTreeSet;

use super::{assert_no_complaints, our_files, read_file};

/// The codes of REASONS.md, which `proto` keeps equal to its list.
fn listed_codes() -> BTreeSet<String> {
    let paper = read_file("REASONS.md");
    let rows = paper.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

/// What stands between quotes right behind `mark`.
fn strings_after<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix('"')?;
        rest.split_once('"').map(|(code, _)| code)
    })
}

/// The strings of one function or list, from where it begins to the line that ends it.
fn strings_of<'a>(text: &'a str, begins: &str, ends: &str) -> Vec<&'a str> {
    let Some((_, rest)) = text.split_once(begins) else {
        panic!("{begins:?} is not there any more: mend this test");
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
    // What a decoder finds, and what a rule of the watcher says.
    let place = "services/vision/src/error.rs";
    for code in strings_of(&read_file(place), "pub const CODES: &[&str] = &[", "];") {
        note(code, place);
    }
    let place = "services/watcher/src/rules.rs";
    for code in strings_of(&read_file(place), "pub fn code(", "\n    }") {
        note(code, place);
    }
    // What is written by hand: `code: "poison"`, in what ships.
    for (name, path) in our_files() {
        let is_source = ["services/watcher/src/", "services/embedder/src/"]
            .iter()
            .any(|folder| name.starts_with(folder))
            && name.ends_with(".rs")
            && !name.contains("/tests")
            // Refusals of queries, not of files.
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
        assert!(seen.contains(code), "{code} was not found: mend this test");
    }
    assert_no_complaints(&complaints);
}
