//! Runs `lookalike-loadtest generate` as a user does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run_generate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lookalike-loadtest"))
        .arg("generate")
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns all files below a folder, by relative path.
fn read_files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(relative, fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn the_same_seed_gives_the_same_files_however_many_and_however_fast() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let small = ["--width", "96", "--height", "72", "--seed", "9"];
    let make = |out: &Path, count: &str, threads: &str| {
        let out = out.to_str().unwrap();
        let more = ["--out", out, "--count", count, "--threads", threads];
        let output = run_generate(&[&small[..], &more[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(&format!("{count} pictures, ")),
            "{output:?}"
        );
    };
    make(first.path(), "14", "1");
    make(second.path(), "20", "3");
    let (first, second) = (read_files(first.path()), read_files(second.path()));
    assert_eq!((first.len(), second.len()), (14, 20));
    for (path, bytes) in &first {
        assert_eq!(&bytes[..3], [0xff, 0xd8, 0xff], "{path} is a JPEG file");
        assert!(second.get(path) == Some(bytes), "{path} differs");
    }
}

#[test]
fn families_and_sizes_are_as_asked() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let output = run_generate(&[
        "--out",
        folder,
        "--count",
        "6",
        "--families",
        "cat,tiles",
        "--megapixels",
        "0.0048",
        "--progressive",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let paths: Vec<String> = read_files(out.path()).into_keys().collect();
    assert_eq!(paths.len(), 6);
    assert!(
        paths
            .iter()
            .all(|path| path.contains("/cat-") || path.contains("/tiles-"))
    );
}

#[test]
fn wrong_use_and_failures_have_their_exit_codes() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    for wrong in [
        &["--count", "3"][..],
        &["--out", folder, "--families", "dragon"],
        &["--out", folder, "--megapixels", "1", "--width", "9"],
        &["--out", folder, "--quality", "0"],
        &["--out", folder, "--sample-set", "--seed", "3"],
        &["--out", folder, "--grain", "NaN"],
    ] {
        assert_eq!(run_generate(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let file = out.path().join("a-file");
    fs::write(&file, "a file, not a folder").unwrap();
    let output = run_generate(&[
        "--out",
        file.to_str().unwrap(),
        "--count",
        "1",
        "--width",
        "8",
        "--height",
        "8",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("error: cannot create"), "{message}");
}
