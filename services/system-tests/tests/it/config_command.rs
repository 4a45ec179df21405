//! `config` shows, checks and explains the settings.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::product_command;

fn run_config(dir: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command: Command = product_command();
    command
        .current_dir(dir)
        .arg("config")
        .args(arguments)
        .env("LOOKALIKE_WATCH_POLL_INTERVAL", "7s")
        .env("LOOKALIKE_MILVUS_PASSWORD", "hush");
    command.output().unwrap()
}

#[track_caller]
fn assert_prints(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn assert_wrong(output: &Output, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for word in says {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
}

#[test]
fn values_have_their_sources() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("lookalike.toml"),
        "[http]\nlisten = '127.0.0.1:9'",
    )
    .unwrap();
    let run = |arguments: &[&str]| run_config(dir.path(), arguments);
    let all = assert_prints(&run(&[]));
    assert!(all.contains("listen = \"127.0.0.1:9\"") && all.contains("# default"));
    assert!(!all.contains("hush"), "{all}");
    let changed = assert_prints(&run(&["--changed"]));
    assert_eq!(changed.lines().count(), 3, "{changed}");
    let json: Value = serde_json::from_str(&assert_prints(&run(&["show", "--json"]))).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let poll = settings
        .iter()
        .find(|setting| setting["key"] == "watch.poll_interval")
        .unwrap();
    assert_eq!(poll["value"], "7s");
    assert_eq!(poll["source"], "environment LOOKALIKE_WATCH_POLL_INTERVAL");
    assert_eq!(
        assert_prints(&run(&["get", "http.listen"])),
        "127.0.0.1:9\n"
    );
    assert_eq!(assert_prints(&run(&["get", "vision.max_side"])), "65000\n");
    assert_eq!(assert_prints(&run(&["get", "nats.url"])), "\n");
    let watch = assert_prints(&run(&["get", "nats.url", "--role", "watch"]));
    assert_eq!(watch, "nats://127.0.0.1:4222\n");
    assert_wrong(&run(&["get", "http.listn"]), &["did you mean http.listen?"]);
}

#[test]
fn a_file_is_checked_without_being_used() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| run_config(dir.path(), arguments);
    assert_wrong(&run(&["check"]), &["there is no lookalike.toml here"]);
    let file = dir.path().join("lookalike.toml");
    for (text, says) in [
        (
            "[watch]\npol_interval = '5s'",
            &["lookalike.toml", "`poll_interval`"][..],
        ),
        ("settle_interval = '5s'", &["`watch.settle_interval`"]),
        (
            "[watch]\npoll_interval = 5",
            &["lookalike.toml", "poll_interval"],
        ),
        (
            "[nats]\nnamespace = 'A'",
            &["lookalike.toml", "nats.namespace"],
        ),
        ("[log]\nfilter = 'a=b=c'", &["log.filter"]),
        ("[libraries]\n'A B' = '/x'", &["A B"]),
        ("[watch", &["TOML"]),
    ] {
        std::fs::write(&file, text).unwrap();
        assert_wrong(&run(&["check"]), says);
        assert_wrong(&run(&["check", file.to_str().unwrap()]), says);
    }
    // The damaged file is no obstacle to a new one.
    let default = assert_prints(&run(&["default"]));
    std::fs::write(&file, &default).unwrap();
    let checked = assert_prints(&run(&["check"]));
    assert!(
        checked.contains("is valid and sets 0 settings"),
        "{checked}"
    );
    assert!(default.contains("# poll_interval = \"15s\""), "{default}");
}

#[test]
fn settings_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| run_config(dir.path(), arguments);
    let section = assert_prints(&run(&["docs", "watch"]));
    assert!(
        section.contains("watch.poll_interval (default \"15s\", LOOKALIKE_WATCH_POLL_INTERVAL)")
    );
    assert!(!section.contains("http."), "{section}");
    let one = assert_prints(&run(&["docs", "http.listen"]));
    assert_eq!(one.lines().count(), 2, "{one}");
    let json = assert_prints(&run(&["docs", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["settings"].as_array().unwrap().len() > 80);
    assert_wrong(&run(&["docs", "wach"]), &["there is no setting wach"]);
}
