//! A lookalike that starts everything itself, in a data folder of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::process::{self, ProductProcess};

/// How long everything may take to start, on a busy machine and with nothing fetched yet.
const START_TIMEOUT: Duration = Duration::from_secs(600);

/// How long it may take to leave.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `lookalike up`; killed when dropped, and its servers with it.
#[derive(Debug)]
pub struct UpProcess {
    process: ProductProcess,
    up_json: Value,
}

impl UpProcess {
    /// Runs `up` in the folder `dir` with these arguments, on any free port, and waits until it
    /// answers. What it keeps goes to `data_dir`, which must be new, and what it says to `log`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(
        program: &Path,
        arguments: &[std::ffi::OsString],
        dir: &Path,
        data_dir: &Path,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = process::product_command(program);
        command
            .arg("up")
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .current_dir(dir);
        let mut process = ProductProcess::start(command, log)?;
        let up_json_path = data_dir.join("up.json");
        let started = Instant::now();
        let up_json = loop {
            if let Ok(text) = std::fs::read(&up_json_path) {
                break serde_json::from_slice(&text)?;
            }
            if let Some(status) = process.exit_status() {
                anyhow::bail!("`up` ended with {status}: {}", process.log_tail());
            }
            anyhow::ensure!(
                started.elapsed() < START_TIMEOUT,
                "the servers did not start within {} s: {}",
                START_TIMEOUT.as_secs(),
                process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Ok(Self { process, up_json })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where one of its parts is: `url`, `nats_url` or `milvus_url`.
    ///
    /// # Errors
    /// When it does not say.
    pub fn address_of(&self, key: &str) -> anyhow::Result<&str> {
        self.up_json[key]
            .as_str()
            .with_context(|| format!("`up` does not tell its {key}"))
    }

    /// Makes sure that it still runs.
    ///
    /// # Errors
    /// When it ended, with the last that it said.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.process.exit_status() {
            Some(status) => anyhow::bail!("`up` ended with {status}: {}", self.process.log_tail()),
            None => Ok(()),
        }
    }

    /// Lets it leave, then makes sure that it is gone.
    pub async fn stop(mut self) {
        // Its servers die with it, but they know nothing of being told to first.
        self.process.send_signal(libc::SIGTERM);
        let started = Instant::now();
        while self.process.exit_status().is_none() && started.elapsed() < STOP_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.process.kill();
    }
}
