//! The rules of the house that no compiler keeps: which crate may use which, what is not to be
//! found in code that ships, and that the papers say what is so.
//!
//! Each complaint names the place and what to do. Change a rule here only together with
//! `ARCHITECTURE.md`, and for `DOORS` with `deny.toml`.

mod code;
mod papers;
mod reasons;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::files_below;

/// The crates of ours that a crate may use, at most. `lookalike` may use all that stand here.
const ARROWS: &[(&str, &[&str])] = &[
    ("lookalike-proto", &[]),
    ("lookalike-chassis", &[]),
    ("lookalike-bus", &["proto", "chassis"]),
    ("lookalike-index", &["chassis"]),
    ("lookalike-vision", &["chassis"]),
    ("lookalike-servers", &["chassis"]),
    ("lookalike-watcher", &["bus", "proto", "chassis"]),
    (
        "lookalike-embedder",
        &["bus", "vision", "index", "proto", "chassis"],
    ),
    (
        "lookalike-search",
        &["bus", "vision", "index", "proto", "chassis"],
    ),
    ("lookalike-painter", &[]),
    ("lookalike-loadtest", &["painter"]),
];

/// What only tests may use beyond that.
const TEST_ARROWS: &[(&str, &[&str])] = &[("lookalike-index", &["servers"])];

/// Which crate alone names an outside one.
const DOORS: &[(&str, &str)] = &[
    ("burn", "lookalike-vision"),
    ("image", "lookalike-vision"),
    ("jpeg-decoder", "lookalike-vision"),
    ("fast_image_resize", "lookalike-vision"),
    ("kamadak-exif", "lookalike-vision"),
    ("tokenizers", "lookalike-vision"),
    ("milvus-sdk-rust", "lookalike-index"),
    ("async-nats", "lookalike-bus"),
    ("notify", "lookalike-watcher"),
    ("ignore", "lookalike-watcher"),
    ("rusqlite", "lookalike-watcher"),
    ("poem", "lookalike-search"),
    ("poem-openapi", "lookalike-search"),
    ("multer", "lookalike-search"),
];

fn project_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

fn read_file(path: &str) -> String {
    let file = project_root().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path} can't be read: {error}"))
}

#[track_caller]
fn assert_no_complaints(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What cargo knows of our own crates, without touching the network.
fn cargo_metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(project_root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages_by_name(metadata: &Value) -> BTreeMap<String, &Value> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package))
        .collect()
}

/// Names of the crates that a package's manifest names, and whether only its tests do.
fn dependencies_of(package: &Value) -> Vec<(&str, bool)> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .map(|one| (one["name"].as_str().unwrap(), one["kind"] == "dev"))
        .collect()
}

#[test]
fn crates_depend_only_on_those_allowed() {
    let metadata = cargo_metadata();
    let packages = packages_by_name(&metadata);
    let allows = |rules: &[(&str, &[&str])], from: &str, to: &str| {
        let to = to.trim_start_matches("lookalike-");
        rules
            .iter()
            .any(|(crate_name, allowed)| *crate_name == from && allowed.contains(&to))
    };
    let mut complaints = Vec::new();
    for (name, package) in &packages {
        let is_top = matches!(&name[..], "lookalike" | "lookalike-system-tests");
        if !is_top && !ARROWS.iter().any(|(known, _)| known == name) {
            complaints.push(format!(
                "{name} is new: say in ARROWS and in ARCHITECTURE.md what it may use"
            ));
        }
        for (used, only_tests) in dependencies_of(package) {
            if !packages.contains_key(used) {
                continue;
            }
            let may = match &name[..] {
                "lookalike" => ARROWS.iter().any(|(known, _)| *known == used),
                "lookalike-system-tests" => only_tests || used == "lookalike",
                name => allows(ARROWS, name, used) || only_tests && allows(TEST_ARROWS, name, used),
            };
            if !may {
                complaints.push(format!(
                    "{name} uses {used}, which ARCHITECTURE.md does not let it: move what it \
                     needs to a crate below both, or let `lookalike` bring them together"
                ));
            }
        }
    }
    assert_no_complaints(&complaints);
}

#[test]
fn one_door_per_outside_system() {
    let metadata = cargo_metadata();
    let deny = read_file("deny.toml");
    let mut complaints = Vec::new();
    for (name, package) in packages_by_name(&metadata) {
        for (used, _) in dependencies_of(package) {
            let door = DOORS.iter().find(|(outside, _)| *outside == used);
            if let Some((_, keeper)) = door.filter(|(_, keeper)| *keeper != name) {
                complaints.push(format!(
                    "{name} names {used}: only {keeper} may; add what is missing to {keeper}"
                ));
            }
        }
    }
    for (outside, keeper) in DOORS {
        if !deny.contains(&format!(
            "{{ crate = \"{outside}\", wrappers = [\"{keeper}\""
        )) {
            complaints.push(format!(
                "deny.toml does not give {outside} to {keeper}: add it to [bans]"
            ));
        }
    }
    assert_no_complaints(&complaints);
}

#[test]
fn cargo_run_at_the_root_is_the_product() {
    let metadata = cargo_metadata();
    let packages = packages_by_name(&metadata);
    let members = metadata["workspace_default_members"].as_array().unwrap();
    assert_eq!(
        members[..],
        [packages["lookalike"]["id"].clone()],
        "`cargo run` at the root must mean `lookalike`: mend default-members in Cargo.toml"
    );
}

#[test]
fn every_crate_says_what_it_is_for() {
    let metadata = cargo_metadata();
    let mut complaints = Vec::new();
    for (name, package) in packages_by_name(&metadata) {
        for target in package["targets"].as_array().unwrap() {
            let file = target["src_path"].as_str().unwrap();
            if !std::fs::read_to_string(file).unwrap().starts_with("//!") {
                complaints.push(format!(
                    "{name}: {file} does not begin with `//!`: say what it is for, and what it \
                     may assume"
                ));
            }
        }
    }
    assert_no_complaints(&complaints);
}

/// Our files, by their paths from the root. What was built, and what hides, is not ours.
fn our_files() -> Vec<(String, PathBuf)> {
    let root = project_root();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The settings file is that of whoever works here.
        let is_ours = !name.starts_with('.') && name != "target" && name != "lookalike.toml";
        if path.is_dir() && (is_ours || name == ".ci") {
            files.extend(files_below(&path));
        } else if path.is_file() && is_ours {
            files.push(path);
        }
    }
    let from_root = |path: &PathBuf| {
        let path = path.strip_prefix(&root).unwrap();
        path.to_string_lossy().into_owned()
    };
    files
        .into_iter()
        .map(|path| (from_root(&path), path))
        .collect()
}
