//! Rules that no compiler checks: which crate may use which, what must not be in shipped code, and that
//! the documents match the code.
//!
//! Each complaint names the place and the remedy. Change a rule here only together with
//! `ARCHITECTURE.md`, and `DOORS` together with `deny.toml`.

mod code;
mod documents;
mod imports;
mod names;
mod reasons;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::files_below;

/// The workspace crates that each crate may use. `lookalike` may use all crates listed here, except
/// those of `TOOL_CRATES`.
const ARROWS: &[(&str, &[&str])] = &[
    ("lookalike-proto", &[]),
    ("lookalike-chassis", &[]),
    ("lookalike-bus", &["proto", "chassis"]),
    ("lookalike-index", &["chassis"]),
    ("lookalike-kernels", &[]),
    ("lookalike-vision", &["kernels", "chassis"]),
    ("lookalike-servers", &["chassis"]),
    ("lookalike-watcher", &["bus", "proto", "chassis"]),
    ("lookalike-audit", &["bus", "index", "proto", "chassis"]),
    (
        "lookalike-embedder",
        &["audit", "bus", "vision", "index", "proto", "chassis"],
    ),
    (
        "lookalike-search",
        &["bus", "vision", "index", "proto", "chassis"],
    ),
    ("lookalike-models", &["vision", "servers", "chassis"]),
    (
        "lookalike-client",
        &["audit", "bus", "servers", "proto", "chassis"],
    ),
    ("lookalike-sheet", &[]),
    ("lookalike-painter", &[]),
    (
        "lookalike-loadtest",
        &[
            "painter",
            "sheet",
            "test-support",
            "vision",
            "index",
            "chassis",
        ],
    ),
    ("lookalike-test-support", &["servers"]),
];

/// Crates for tests and measurements, which are not part of the product.
const TOOL_CRATES: &[&str] = &[
    "lookalike-painter",
    "lookalike-loadtest",
    "lookalike-test-support",
];

/// The workspace crates that only a crate's tests may use in addition.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("lookalike-bus", &["servers", "test-support"]),
    // `index` with its feature `test-faults`.
    ("lookalike-index", &["servers", "test-support", "index"]),
];

/// Outside crates that only one of our crates may use.
const DOORS: &[(&str, &str)] = &[
    ("burn", "lookalike-vision"),
    ("cubecl", "lookalike-vision"),
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
    ("rmcp", "lookalike-client"),
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

/// Returns cargo's metadata of the workspace, without using the network.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages_by_name(metadata: &Value) -> BTreeMap<String, &Value> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package))
        .collect()
}

/// Returns the names of a package's dependencies, and whether only its tests use them.
fn dependencies_of(package: &Value) -> Vec<(&str, bool)> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .map(|dependency| {
            (
                dependency["name"].as_str().unwrap(),
                dependency["kind"] == "dev",
            )
        })
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
        if !is_top && !ARROWS.iter().any(|(crate_name, _)| crate_name == name) {
            complaints.push(format!(
                "{name} is new: say in ARROWS and in ARCHITECTURE.md what it may use"
            ));
        }
        for (used, only_tests) in dependencies_of(package) {
            if !packages.contains_key(used) {
                continue;
            }
            let may = match &name[..] {
                "lookalike" => {
                    ARROWS.iter().any(|(crate_name, _)| *crate_name == used)
                        && !TOOL_CRATES.contains(&used)
                }
                "lookalike-system-tests" => only_tests || used == "lookalike",
                name => allows(ARROWS, name, used),
            };
            let may = may || only_tests && allows(TEST_ARROWS, name, used);
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
        "`cargo run` at the root must mean `lookalike`: fix default-members in Cargo.toml"
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

/// Returns the files of the project by their paths from the root, without build outputs, hidden files
/// and the crates of others in `vendor`.
fn our_files() -> Vec<(String, PathBuf)> {
    let root = project_root();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // lookalike.toml is the developer's own settings file.
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
        .filter(|(name, _)| !name.contains("/vendor/"))
        .collect()
}
