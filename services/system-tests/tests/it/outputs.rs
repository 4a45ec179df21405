//! Commands whose output accepts no text: a full disk, a reader that has gone.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::harness::{SystemWorld, product_command, sample_pictures};

fn full_device() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("Linux has /dev/full").into()
}

/// Returns a pipe that nothing reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[track_caller]
fn assert_output_error(name: &[&str], output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name:?}: {stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("lookalike: cannot write to standard output"),
        "{name:?}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{name:?}: {stderr}");
}

/// Runs a command twice: on a full disk it fails in one line, and without a reader it ends quietly.
fn check_outputs(name: &[&str], command: impl Fn() -> Command) {
    let full = command().stdout(full_device()).output().unwrap();
    assert_output_error(name, &full);
    let closed = command().stdout(closed_pipe()).output().unwrap();
    let stderr = String::from_utf8_lossy(&closed.stderr);
    assert_eq!(closed.status.code(), Some(0), "{name:?}: {stderr}");
    assert!(!stderr.contains("lookalike:"), "{name:?}: {stderr}");
}

#[test]
fn commands_without_a_service_report_a_full_output() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "search"],
        &["up", "--help"],
        &["completions", "bash"],
        &["completions", "fish"],
        &["up", "--print-config"],
        &["status", "--print-config"],
        &["config"],
        &["config", "--json"],
        &["config", "get", "http.listen"],
        &["config", "default"],
        &["config", "docs"],
        &["man"],
        &["models"],
        &["models", "list", "--json"],
        &["models", "fetch", "lookalike-mini"],
        &["models", "fetch", "lookalike-mini", "--json"],
    ] {
        check_outputs(arguments, || {
            let mut command = product_command();
            command
                .args(arguments)
                .current_dir(dir.path())
                .env("LOOKALIKE_SERVERS_CACHE_DIR", dir.path().join("cache"));
            command
        });
    }
}

#[test]
fn a_full_standard_error_changes_no_exit_code() {
    for (arguments, code) in [
        (&["status", "--url", "http://127.0.0.1:1"][..], 1),
        (&["search"], 2),
        (&["no-such-command"], 2),
        (&["search", "--id", "x"], 2),
    ] {
        for stderr in [full_device(), closed_pipe()] {
            let mut command = product_command();
            let status = command.args(arguments).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn commands_of_a_running_lookalike_report_a_full_output() {
    let mut world = SystemWorld::with_up("outputs").await;
    let picture = std::fs::read(&sample_pictures()[0]).unwrap();
    std::fs::write(world.photos.join("good.jpg"), &picture).unwrap();
    std::fs::write(world.photos.join("short.jpg"), &picture[..1000]).unwrap();
    std::fs::write(world.photos.join("notes.txt"), "no picture").unwrap();
    world.wait_until_settled().await;
    for arguments in [
        &["status"][..],
        &["status", "--watch"],
        &["search", "good.jpg"],
        &["facets"],
        &["export"],
        &["failures"],
        &["failures", "--code", "empty"],
        &["failures", "--ignored"],
        &["failures", "show", "short.jpg"],
        &["failures", "retry", "--all"],
        &["failures", "discard", "--code", "truncated"],
        &["why", "notes.txt"],
        &["confirm", "photos"],
        &["models", "list"],
    ] {
        for json in [&[][..], &["--json"]] {
            let arguments: Vec<&str> = arguments.iter().chain(json).copied().collect();
            check_outputs(&arguments, || {
                let mut command = product_command();
                command
                    .args(&arguments)
                    .arg("--data-dir")
                    .arg(world.data_dir())
                    .current_dir(&world.photos);
                command
            });
        }
    }
    world.wait_until_settled().await;
    for json in [&[][..], &["--json"]] {
        let arguments: Vec<&str> = ["audit"].iter().chain(json).copied().collect();
        check_outputs(&arguments, || {
            let mut command = product_command();
            command
                .args(&arguments)
                .args(["--nats-url", &world.direct_nats_url()])
                .args(["--milvus-url", &world.direct_milvus_url()])
                .env("LOOKALIKE_NATS_NAMESPACE", &world.namespace)
                .env("LOOKALIKE_MILVUS_NAMESPACE", &world.namespace)
                .current_dir(world.dir.path());
            command
        });
    }
    world.stop_up().await;
}
