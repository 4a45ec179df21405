//! Rules for the documents: they match the code, and name nothing that only their author has.

use std::path::Path;

use super::{assert_no_complaints, our_files, project_root, read_file};
use crate::harness::product_command;

/// The documents with links and paths that must exist.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "FAULTS.md",
    "REASONS.md",
    "docs/api.md",
    "docs/recipes.md",
    "docs/usage.md",
    "docs/benchmarks.md",
    "docs/models.md",
    "docs/operations.md",
    "docs/rollover.md",
];

/// The example user in the API's document.
const EXAMPLE_HOME: &str = "/home/kim/";

#[test]
fn no_file_names_a_private_folder() {
    let folders = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let words = [
        concat!("issue", " #"),
        concat!("DESIGN", ".md"),
        concat!("FACTS", ".md"),
        concat!("STYLE", ".md"),
    ];
    let mut complaints = Vec::new();
    for (name, path) in our_files() {
        // Pictures and weights are not text.
        let Ok(text) = String::from_utf8(std::fs::read(&path).unwrap()) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", number + 1);
            let line = line.replace(EXAMPLE_HOME, "");
            for folder in folders {
                let is_root = |at: usize| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-~}*".contains(c))
                };
                if line.match_indices(folder).any(|(at, _)| is_root(at)) {
                    complaints.push(format!(
                        "{place}: {folder}… is a private folder: write `~`, or a path \
                         relative to the project"
                    ));
                }
            }
            for word in words {
                if line.contains(word) {
                    complaints.push(format!(
                        "{place}: {word:?} cannot be looked up by a reader of this project: \
                         explain it here"
                    ));
                }
            }
        }
    }
    assert_no_complaints(&complaints);
}

/// Returns the lines of a document's code blocks in one language.
fn code_blocks(document: &str, language: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut within = None;
    for line in document.lines() {
        match (line.strip_prefix("```"), &within) {
            (Some(_), Some(_)) => within = None,
            (Some(name), None) => within = Some(name.to_owned()),
            (None, Some(name)) if name == language => lines.push(line.to_owned()),
            (None, _) => {}
        }
    }
    lines
}

#[test]
fn the_two_commands_are_the_same_everywhere() {
    let readme = code_blocks(&read_file("README.md"), "sh");
    for command in ["cargo run --release -- up", "cargo test --workspace"] {
        let has = readme.iter().any(|line| line.trim() == command);
        assert!(has, "README.md must show `{command}` on a line of its own");
    }
    let ci = read_file(".ci/run");
    assert!(
        ci.lines().any(|line| line == "cargo test --workspace"),
        ".ci/run must run the README's own test command, on a line of its own"
    );
}

#[test]
fn documented_commands_and_settings_exist() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    let examples = DOCUMENTS.iter().flat_map(|document| {
        let lines = code_blocks(&read_file(document), "sh");
        lines.into_iter().map(move |line| (document, line))
    });
    for (document, line) in examples {
        let command = line.split('#').next().unwrap_or_default();
        let mut words = command.split_whitespace();
        if words.next() != Some("lookalike") {
            continue;
        }
        seen += 1;
        let words: Vec<_> = words.collect();
        // Of commands with subcommands, take the subcommand's help.
        let subcommands = words.iter().take_while(|word| !word.starts_with('-'));
        let help = product_command()
            .args(subcommands.take(2))
            .arg("--help")
            .output();
        let help = help.unwrap();
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        if !help.status.success() {
            complaints.push(format!(
                "{document}: `{command}` is not a command: fix one of them"
            ));
        }
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            if !text.contains(flag) {
                complaints.push(format!("{document}: `{command}` does not know {flag}"));
            }
        }
    }
    assert_no_complaints(&complaints);
    assert!(seen >= 20, "the documents show hardly any command");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookalike.toml");
    std::fs::write(
        &file,
        code_blocks(&read_file("README.md"), "toml").join("\n"),
    )
    .unwrap();
    let output = product_command()
        .args(["up", "--print-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "README.md's settings: {stderr}");
}

#[test]
fn documents_name_files_that_exist() {
    let mut complaints = Vec::new();
    for document in DOCUMENTS {
        let text = read_file(document);
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        let exists = |path: &str| {
            let path = path.split('#').next().unwrap_or_default();
            // Links start at the document's folder; paths in code at the root or below `services/`.
            let folders = [folder, Path::new(""), Path::new("services")];
            let places = folders.map(|folder| project_root().join(folder).join(path));
            path.contains("://") || places.iter().any(|place| place.exists())
        };
        let links = text.split("](").skip(1).filter_map(|rest| {
            let (target, _) = rest.split_once(')')?;
            Some(target)
        });
        let code = text.split('`').skip(1).step_by(2);
        let files =
            code.filter(|code| code.ends_with(".rs") && code.contains('/') && !code.contains(' '));
        for path in links.chain(files) {
            if !exists(path) {
                complaints.push(format!(
                    "{document}: {path} does not exist: fix the document"
                ));
            }
        }
    }
    assert_no_complaints(&complaints);
}

#[test]
fn the_fault_matrix_names_tests_that_exist() {
    let files = our_files();
    let mut complaints = Vec::new();
    let mut named = 0;
    let matrix = read_file("FAULTS.md");
    let rows = matrix.lines().filter(|line| line.starts_with("| "));
    let tests = rows.flat_map(|row| {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next();
        cell.unwrap_or_default().split('`').skip(1).step_by(2)
    });
    for test in tests.filter(|name| name.contains("::")) {
        named += 1;
        let (module, function) = test.rsplit_once("::").unwrap();
        let file = format!("/{}.rs", module.replace("::", "/"));
        let places = [
            "services/system-tests/tests/it",
            "services/watcher/src/keeper/tests",
        ];
        let exists = places.iter().any(|place| {
            let path = files
                .iter()
                .find(|(name, _)| *name == format!("{place}{file}"));
            let text = path.map(|(_, path)| std::fs::read_to_string(path).unwrap());
            text.is_some_and(|text| text.contains(&format!("fn {function}(")))
        });
        if !exists {
            complaints.push(format!(
                "FAULTS.md: there is no test {test}: fix the document"
            ));
        }
    }
    assert_no_complaints(&complaints);
    assert!(named > 50, "FAULTS.md names hardly any test");
}
