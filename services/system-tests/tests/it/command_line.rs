//! Wrong use and wrong settings: one clear line, and an exit code that scripts can rely on.

use std::process::{Command, Output};

use crate::harness::product_command;

fn run_command(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[track_caller]
fn assert_fails(command: &mut Command, code: i32, says: &[&str]) {
    let output = run_command(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    for word in says {
        assert!(
            last.contains(word),
            "{word:?} is not in the last line of:\n{stderr}"
        );
    }
}

#[test]
fn wrong_settings_are_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let up_at = |listen: &str| {
        let mut command = product_command();
        command
            .current_dir(dir.path())
            .args(["up", "--data-dir", "data", "--listen", listen]);
        command
    };
    let up = || up_at("127.0.0.1:0");
    assert_fails(&mut up(), 2, &["./images", "lookalike up"]);
    assert_fails(
        up().arg("x=/does/not/exist"),
        2,
        &["library x", "does not exist"],
    );
    assert_fails(up().arg("Not A Name=/tmp"), 2, &["is not a library name"]);
    assert_fails(
        up().env("LOOKALIKE_NATS_URI", "x"),
        2,
        &["LOOKALIKE_NATS_URI", "uri"],
    );
    assert_fails(
        up().env("LOOKALIKE_WATCH_SETTLE_INTERVAL", "soon"),
        2,
        &["LOOKALIKE_WATCH_SETTLE_INTERVAL", "duration"],
    );
    assert_fails(
        up().env("LOOKALIKE_WATCH_RESCAN_INTERVAL", "0s"),
        2,
        &["LOOKALIKE_WATCH_RESCAN_INTERVAL", "too short"],
    );
    std::fs::create_dir(dir.path().join("images")).unwrap();
    assert_fails(&mut up_at("nonsense"), 2, &["nonsense"]);
    assert_fails(
        up().arg("all=."),
        2,
        &["folder that it watches", "library all", "--data-dir"],
    );
    assert_fails(
        up().env("LOOKALIKE_SERVERS_CACHE_DIR", "images/cache"),
        2,
        &["folder that it watches", "servers.cache_dir"],
    );
    assert_fails(
        up().args(["--model", "no-such-model"]),
        2,
        &["no-such-model", "lookalike-mini"],
    );
    assert_fails(up().args(["--log", "a=b=c"]), 2, &["log.filter"]);
    std::fs::write(dir.path().join("lookalike.toml"), "[nats]\nnonsense = 1").unwrap();
    assert_fails(&mut up(), 2, &["lookalike.toml", "nonsense"]);
    std::fs::write(dir.path().join("lookalike.toml"), "[nats").unwrap();
    assert_fails(&mut up(), 2, &["lookalike.toml", "TOML"]);
}

#[test]
fn a_taken_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("images")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = product_command();
    command
        .current_dir(dir.path())
        .args(["up", "--data-dir", "data", "--listen", &address]);
    assert_fails(&mut command, 2, &[&address, "--listen"]);
}

#[test]
fn servers_that_do_not_answer_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("images")).unwrap();
    let mut watch = product_command();
    watch
        .current_dir(dir.path())
        .args(["watch", "--data-dir", "data", "--listen", "127.0.0.1:0"])
        .args(["--nats-url", "nats://127.0.0.1:1"])
        .env("LOOKALIKE_NATS_CONNECT_TIMEOUT", "500ms");
    assert_fails(&mut watch, 1, &["nats://127.0.0.1:1", "--nats-url"]);
    for command in [
        &["status"][..],
        &["failures"],
        &["failures", "retry", "--all"],
        &["why", "a.jpg"],
        &["confirm", "photos"],
        &["facets"],
        &["export"],
        &["watch-events"],
    ] {
        let mut ask = product_command();
        ask.args(command).args(["--url", "http://127.0.0.1:1"]);
        assert_fails(&mut ask, 1, &["http://127.0.0.1:1", "--url"]);
    }
}

#[test]
fn without_python_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("images")).unwrap();
    let mut command = product_command();
    command
        .current_dir(dir.path())
        .args(["up", "--data-dir", "data", "--listen", "127.0.0.1:0"])
        .env("LOOKALIKE_SERVERS_CACHE_DIR", dir.path().join("cache"))
        .env("PATH", dir.path());
    assert_fails(&mut command, 1, &["python3", "--nats-url", "--milvus-url"]);
    let mut offline = product_command();
    offline
        .current_dir(dir.path())
        .args([
            "up",
            "--offline",
            "--data-dir",
            "data",
            "--listen",
            "127.0.0.1:0",
        ])
        .env("LOOKALIKE_SERVERS_CACHE_DIR", dir.path().join("cache"));
    assert_fails(&mut offline, 1, &["--offline"]);
}

#[test]
fn print_config_shows_where_each_value_came_from() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("lookalike.toml"),
        "[watch]\nsettle_interval = '2s'",
    )
    .unwrap();
    let mut command = product_command();
    command
        .current_dir(dir.path())
        .args(["up", "--print-config", "--listen", "127.0.0.1:9"])
        .env("LOOKALIKE_MILVUS_PASSWORD", "hush")
        .env("LOOKALIKE_EMBED_MAX_IN_FLIGHT", "7");
    let output = run_command(&mut command);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.unwrap_or_else(|| panic!("no {key} in\n{text}"))
            .to_owned()
    };
    assert!(line("settle_interval = \"2s\"").contains("# lookalike.toml"));
    assert!(line("listen = \"127.0.0.1:9\"").contains("# --listen"));
    assert!(line("max_in_flight = 7").contains("# environment LOOKALIKE_EMBED_MAX_IN_FLIGHT"));
    assert!(line("move_timeout").contains("# default"));
    assert!(!text.contains("hush"));
}

#[test]
fn help_is_worth_reading() {
    for arguments in [
        &["--help"][..],
        &["up", "--help"],
        &["search", "--help"],
        &["why", "--help"],
        &["failures", "--help"],
        &["failures", "retry", "--help"],
    ] {
        let output = run_command(product_command().args(arguments));
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().lines().count() > 10);
    }
    let codes = run_command(product_command().args(["failures", "retry", "--help"])).stdout;
    assert!(String::from_utf8(codes).unwrap().contains("truncated"));
    assert_eq!(
        run_command(product_command().arg("nonsense")).status.code(),
        Some(2)
    );
    // No selection never means everything.
    assert_eq!(
        run_command(product_command().args(["failures", "retry"]))
            .status
            .code(),
        Some(2)
    );
}
