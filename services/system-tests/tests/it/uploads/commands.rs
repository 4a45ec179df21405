//! `lookalike upload` and `lookalike remove`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::harness::product_command;

fn client_command(world: &SystemWorld, arguments: &[&str]) -> Command {
    let mut command = product_command();
    command
        .args(arguments)
        .args(["--url", &world.url])
        .current_dir(world.dir.path());
    command
}

/// Runs a command with this standard input, without blocking the connections of this process.
async fn run_with_input(mut command: Command, input: Vec<u8>) -> Output {
    let run = move || {
        let command = command.stdin(Stdio::piped());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&input).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn run(
    world: &SystemWorld,
    arguments: &[&str],
    input: &[u8],
) -> (Option<i32>, String, String) {
    let output = run_with_input(client_command(world, arguments), input.to_vec()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn commands_upload_and_remove() {
    let mut world = world_with_uploads("upload-commands", true);
    world.start_up().await;
    world.wait_until_settled().await;
    for number in 0..3 {
        fs::write(
            world.dir.path().join(format!("{number}.jpg")),
            sample(number),
        )
        .unwrap();
    }
    fs::write(world.dir.path().join("notes.jpg"), "no picture").unwrap();

    let (code, stdout, stderr) = run(
        &world,
        &["upload", "0.jpg", "--library", "photos", "--folder", "2026"],
        b"",
    )
    .await;
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "photos/2026/0.jpg: indexed\n"),
        "{stderr}"
    );
    let listed = b"0.jpg\x001.jpg\0";
    let arguments = ["upload", "--files-from", "-", "-0", "--folder", "2026"];
    let (code, stdout, stderr) = run(&world, &arguments, listed).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "photos/2026/0.jpg: indexed (it was there before)\nphotos/2026/1.jpg: indexed\n"
    );
    let (code, stdout, stderr) = run(&world, &["upload", "-", "--json"], &sample(2)).await;
    assert_eq!(code, Some(0), "{stderr}");
    let uploads: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(uploads["uploads"][0]["state"], "indexed");
    assert_eq!(uploads["uploads"][0]["file"], "-");

    // A bad picture delays no other one; a missing file and wrong settings are wrong use.
    let (code, stdout, stderr) = run(
        &world,
        &["upload", "notes.jpg", "2.jpg", "--no-wait", "--folder", "b"],
        b"",
    )
    .await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stdout.contains("notes.jpg: refused") && stdout.contains("photos/b/2.jpg: stored"),
        "{stdout}"
    );
    assert!(stderr.contains("1 of 2 pictures"), "{stderr}");
    let (code, _, stderr) = run(&world, &["upload", "missing.jpg"], b"").await;
    assert_eq!(code, Some(2), "{stderr}");
    let (code, _, stderr) = run(&world, &["upload", "0.jpg", "--library", "other"], b"").await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("no library is called other"), "{stderr}");
    assert_eq!(run(&world, &["upload"], b"").await.0, Some(2));

    let (code, stdout, stderr) = run(&world, &["remove", "photos/2026/0.jpg"], b"").await;
    assert_eq!(code, Some(0), "{stderr}");
    let trashed = stdout
        .trim_end()
        .strip_prefix("photos/2026/0.jpg: moved to ")
        .unwrap();
    assert_eq!(fs::read(trashed).unwrap(), sample(0));
    let unknown = "0".repeat(32);
    let (code, _, stderr) = run(&world, &["remove", &unknown, "--json"], b"").await;
    assert_eq!(code, Some(1), "{stderr}");
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn a_bad_file_stops_no_other_upload() {
    let mut world = world_with_uploads("upload-bad-files", false);
    world.start_up().await;
    world.wait_until_settled().await;
    let dir = world.dir.path();
    fs::write(dir.join("0.jpg"), sample(0)).unwrap();
    fs::write(dir.join("1.jpg"), sample(1)).unwrap();
    // The service refuses the names of hidden files.
    fs::write(dir.join(".hidden.jpg"), sample(2)).unwrap();
    fs::create_dir(dir.join("subfolder")).unwrap();

    let arguments = ["upload", "subfolder", ".hidden.jpg", "0.jpg"];
    let (code, stdout, stderr) = run(&world, &arguments, b"").await;
    assert_eq!(code, Some(1), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{stdout}");
    assert!(
        lines[0].starts_with("subfolder: cannot be read: "),
        "{stdout}"
    );
    assert!(lines[1].starts_with(".hidden.jpg: refused: "), "{stdout}");
    assert_eq!(lines[2], "photos/0.jpg: indexed");
    assert!(stderr.contains("2 of 3 pictures"), "{stderr}");

    let arguments = ["upload", "missing.jpg", "1.jpg", "--json"];
    let (code, stdout, stderr) = run(&world, &arguments, b"").await;
    assert_eq!(code, Some(2), "{stderr}");
    let uploads: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(uploads["uploads"][0]["state"], "unreadable");
    assert_eq!(uploads["uploads"][1]["state"], "indexed");
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}
