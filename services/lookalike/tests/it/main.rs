//! Runs the program as a process against the tests' own servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fetching;
mod hub;
mod listing;
mod misbehaving;
mod proxies;
mod wheels;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hub::FakeHub;

/// A home folder with a cache, and the environment of processes that use it.
struct Machine {
    folder: tempfile::TempDir,
    hub: String,
    settings: Vec<(&'static str, String)>,
}

impl Machine {
    fn new(hub: &FakeHub) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            hub: hub.url(),
            settings: vec![
                ("LOOKALIKE_MODELS_STALL_TIMEOUT", "20s".into()),
                ("LOOKALIKE_MODELS_MAX_RETRY_INTERVAL", "20ms".into()),
                ("LOOKALIKE_MODELS_MAX_ATTEMPTS", "4".into()),
            ],
        }
    }

    fn with_env(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Gives up soon when the hub sends nothing.
    fn with_short_stall(self) -> Self {
        self.with_env("LOOKALIKE_MODELS_STALL_TIMEOUT", "500ms")
    }

    fn build_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookalike"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.folder.path())
            .env(
                "LOOKALIKE_SERVERS_CACHE_DIR",
                self.folder.path().join("cache"),
            )
            .env("LOOKALIKE_DATA_DIR", self.folder.path().join("data"))
            .env("HF_ENDPOINT", &self.hub)
            .current_dir(self.folder.path());
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        command
    }

    fn run_to_end(&self, words: &[&str]) -> Output {
        self.build_command(words).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its output.
    #[track_caller]
    fn run_ok(&self, words: &[&str]) -> String {
        let output = self.run_to_end(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code, and returns its last line on stderr.
    #[track_caller]
    fn run_err(&self, code: i32, words: &[&str]) -> String {
        let output = self.run_to_end(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        message.lines().last().unwrap_or_default().to_owned()
    }

    fn model_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join("cache/models").join(name)
    }
}

fn random_bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Sorted names of the entries of a folder.
fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
