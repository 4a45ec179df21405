//! `doctor` finds what is really wrong with a machine, within its time limit.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{SystemWorld, product_command, sample_pictures};

/// Returns `doctor` for a new installation with a library of one picture.
fn doctor_command(dir: &Path) -> Command {
    doctor_command_at(dir, "127.0.0.1:0")
}

fn doctor_command_at(dir: &Path, listen: &str) -> Command {
    let library = dir.join("pictures");
    std::fs::create_dir_all(&library).unwrap();
    std::fs::copy(&sample_pictures()[0], library.join("a.jpg")).unwrap();
    let mut command = product_command();
    command
        .current_dir(dir)
        .args(["doctor", "--json", "--listen", listen])
        .arg(format!("shop={}", library.display()))
        .arg("--data-dir")
        .arg(dir.join("data"));
    command
}

/// Runs `doctor`. Returns its checks, and whether it succeeded.
#[track_caller]
fn run_doctor(command: &mut Command) -> (Vec<Value>, bool) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let code = output.status.code().unwrap();
    assert_eq!(report["ok"], code == 0, "{report:#} {stderr}");
    (report["checks"].as_array().unwrap().clone(), code == 0)
}

/// Returns the first finding of a check.
#[track_caller]
fn finding<'a>(checks: &'a [Value], check: &str) -> &'a Value {
    let found = checks.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {checks:#?}"))
}

/// Requires that a check failed, with words in its message and in its remedy.
#[track_caller]
fn assert_failure(checks: &[Value], check: &str, says: &str, remedy: &str) {
    let is_this = |finding: &&Value| finding["check"] == check && finding["status"] == "failure";
    let failed = checks.iter().find(is_this);
    let failed = failed.unwrap_or_else(|| panic!("{check} did not fail: {checks:#?}"));
    let text = |key: &str| failed[key].as_str().unwrap().to_owned();
    assert!(text("message").contains(says), "{says:?}: {failed}");
    assert!(text("remedy").contains(remedy), "{remedy:?}: {failed}");
}

#[test]
fn a_new_installation_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let (checks, _) = run_doctor(&mut doctor_command(dir.path()));
    for check in [
        "data folder",
        "port",
        "library",
        "device",
        "model",
        "inotify",
    ] {
        let finding = finding(&checks, check);
        assert_ne!(finding["status"], "failure", "{finding}");
    }
    let library = finding(&checks, "library")["message"].as_str().unwrap();
    assert!(library.contains("1 file in 1 folder"), "{library}");
    assert!(
        !dir.path().join("data").exists(),
        "it must leave nothing behind"
    );
    let mut plain = product_command();
    plain
        .current_dir(dir.path())
        .args(["doctor", "--device", "cuda:9", "--data-dir", "data"]);
    let output = plain.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let failure = text.lines().skip_while(|line| !line.starts_with("failure"));
    let lines: Vec<&str> = failure.take(2).collect();
    assert!(lines[0].contains("device"), "{text}");
    assert!(lines[1].trim().starts_with("→ lookalike up"), "{text}");
}

#[test]
fn a_taken_port_names_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (checks, _) = run_doctor(&mut doctor_command_at(dir.path(), &address));
    assert_failure(
        &checks,
        "port",
        &format!("(process {})", std::process::id()),
        "lookalike up --listen 127.0.0.1:",
    );
}

#[test]
fn folders_that_cannot_be_used_are_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let mut command = product_command();
    command
        .current_dir(dir.path())
        .args([
            "doctor",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "gone=missing",
        ])
        .args(["--data-dir", "file/data"])
        .env("LOOKALIKE_SERVERS_CACHE_DIR", "file/cache")
        .env("LOOKALIKE_UPLOADS_ALLOW_DELETIONS", "gone")
        .env("LOOKALIKE_UPLOADS_TRASH_DIR", "file/trash")
        .env("LOOKALIKE_SERVERS_PYTHON", dir.path().join("no-python"));
    let (checks, succeeded) = run_doctor(&mut command);
    assert!(!succeeded);
    assert_failure(&checks, "data folder", "file/data", "--data-dir");
    assert_failure(
        &checks,
        "cache folder",
        "file",
        "LOOKALIKE_SERVERS_CACHE_DIR",
    );
    assert_failure(&checks, "library", "gone", "ls -ld");
    assert_failure(&checks, "uploads", "gone", "ls -ld");
    assert_failure(
        &checks,
        "trash folder",
        "file/trash",
        "LOOKALIKE_UPLOADS_TRASH_DIR",
    );
    assert_failure(&checks, "python", "no-python", "python3");
    // A folder that lookalike would write into and watch.
    let mut watched = product_command();
    watched
        .current_dir(dir.path())
        .args(["doctor", "--json", "--listen", "127.0.0.1:0", "all=."])
        .args(["--data-dir", "data"]);
    let (checks, _) = run_doctor(&mut watched);
    assert_failure(
        &checks,
        "data folder",
        "folder that it watches",
        "--data-dir",
    );
}

#[test]
fn a_low_limit_of_descriptors_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = doctor_command(dir.path());
    let lower = || {
        let limit = libc::rlimit {
            rlim_cur: 300,
            rlim_max: 300,
        };
        // SAFETY: the call only reads the struct.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(lower) };
    let (checks, _) = run_doctor(&mut command);
    assert_failure(&checks, "descriptors", "may open 300", "prlimit");
}

#[test]
fn servers_that_refuse_or_hang_are_findings() {
    let dir = tempfile::tempdir().unwrap();
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut command = doctor_command(dir.path());
    command
        .args(["--nats-url", "nats://127.0.0.1:1", "--timeout", "4s"])
        .args(["--milvus-url", &format!("http://{address}")]);
    let started_at = Instant::now();
    let (checks, _) = run_doctor(&mut command);
    assert_failure(&checks, "nats", "127.0.0.1:1", "nats.url");
    assert_failure(&checks, "milvus", "", "milvus.url");
    assert!(started_at.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_running_lookalike_passes() {
    let mut world = SystemWorld::new("doctor");
    world.copy_file(&sample_pictures()[0], "a.jpg");
    world.start_up().await;
    world.wait_until_settled().await;
    let mut command = product_command();
    command
        .args(["doctor", "--json", "--listen"])
        .arg(world.url.trim_start_matches("http://"))
        .args(["--nats-url", &world.direct_nats_url()])
        .args(["--milvus-url", &world.direct_milvus_url()])
        .arg("--data-dir")
        .arg(world.data_dir())
        .env("LOOKALIKE_NATS_NAMESPACE", &world.namespace)
        .env("LOOKALIKE_MILVUS_NAMESPACE", &world.namespace)
        .current_dir(world.dir.path());
    let running = tokio::task::spawn_blocking(move || run_doctor(&mut command));
    let (checks, _) = running.await.unwrap();
    for (check, says) in [
        ("port", "the running lookalike"),
        ("nats", "JetStream answers"),
        ("milvus", "in service"),
        ("service", "1 file"),
        ("model", "lookalike-mini is in service"),
        ("library", "photos"),
    ] {
        let finding = finding(&checks, check);
        assert_eq!(finding["status"], "ok", "{finding}");
        let message = finding["message"].as_str().unwrap();
        assert!(message.contains(says), "{says:?}: {message}");
    }
    world.stop_up().await;
}
