//! Runs `lookalike-loadtest bench` as a user does, without any server.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use crate::checkout_root;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

fn run_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lookalike-loadtest"))
        .arg("bench")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn wrong_use_exits_with_2_and_says_what_to_write() {
    const URL: [&str; 3] = ["search", "--url", "http://127.0.0.1:1"];
    for (wrong, message) in [
        (&["search", "--url", "127.0.0.1:8080"][..], "http://"),
        (&["search", "--rate", "3"], "--url"),
        (&[&URL[..], &["--rate", "0"]].concat(), "0.01 to 100000"),
        (
            &[&URL[..], &["--rate", "3", "--clients", "2"]].concat(),
            "--clients",
        ),
        (
            &[&URL[..], &["--mix", "upload=60,photo=3"]].concat(),
            "upload=60,id=30,text=10",
        ),
        (&[&URL[..], &["--seconds", "0"]].concat(), "--seconds"),
        (&[&URL[..], &["--header", "secret"]].concat(), "Name: value"),
        (&["index", "--hnsw", "16"], "16/200"),
        (&["index", "--rows", "3"], "1000"),
        (&["network", "--batches", "1000"], "--batches"),
        (&["decode", "--photos", "/nonexistent"], "No such file"),
        (&["decode", "--photos", FILE], "this is not a folder"),
        (&["decode", "--dir", "/nonexistent"], "'--dir <DIR>'"),
        (
            &["changes", "--program", "/nonexistent/lookalike"],
            "No such file",
        ),
        (
            &["changes", "--program", env!("CARGO_MANIFEST_DIR")],
            "this is a folder",
        ),
        (
            &[&URL[..], &["--texts", "/nonexistent"]].concat(),
            "'--texts <FILE>'",
        ),
        (
            &[&URL[..], &["--ingest-into", FILE]].concat(),
            "this is not a folder",
        ),
        (
            &["network", "--device", "cuda:99"],
            "\"cuda:99\" is not available",
        ),
        (&["network", "--models", "nosuch"], "efficientnet-lite0"),
        (&["dance"], "dance"),
        (&[], "Usage"),
    ] {
        let output = run_bench(wrong);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {stderr}");
        assert!(stderr.contains(message), "{wrong:?}: {stderr}");
    }
}

#[test]
fn failures_exit_with_1_and_give_advice() {
    let photos = checkout_root().join("images");
    let photos = photos.to_str().unwrap();
    for (arguments, message) in [
        (
            &["search", "--url", "http://127.0.0.1:1"][..],
            "is \"lookalike up\" running?",
        ),
        (
            &["changes", "--photos", photos, "--program", FILE],
            "cannot run",
        ),
        (
            &["changes", "--photos", photos, "--program", "/bin/false"],
            "/bin/false is no lookalike program",
        ),
        (
            &["decode", "--photos", photos, "--program", "/bin/echo"],
            "/bin/echo is no lookalike program",
        ),
        (
            &["ingest", "--photos", photos, "--program", "/bin/cat"],
            "/bin/cat is no lookalike program",
        ),
    ] {
        let output = run_bench(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

#[test]
fn rows_that_cannot_be_measured_are_listed_with_the_reason() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("report");
    // Nothing is measured with the program, but it is checked first.
    let program = out.path().join("lookalike");
    std::fs::write(&program, "#!/bin/sh\necho lookalike 0\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let output = run_bench(&[
        "network",
        "--quick",
        "--photos",
        checkout_root().join("images").to_str().unwrap(),
        "--program",
        program.to_str().unwrap(),
        "--peers",
        "/nonexistent/peers",
        "--out",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("ResNet-34, batch 8 ÷ ONNX Runtime, f32"),
        "{stdout}"
    );
    let report = std::fs::read(folder.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= 13, "{}", rows.len());
    for row in rows {
        assert_eq!(row["verdict"], "not measured", "{row}");
        let reason = row["reason"].as_str().unwrap();
        assert!(
            reason.contains("lookalike-loadtest bench peers"),
            "{reason}"
        );
        assert!(row["bar"].is_number(), "{row}");
    }
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("lookalike-loadtest bench peers"), "{page}");
}
