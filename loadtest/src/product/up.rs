//! Runs `lookalike up`, which starts all roles and servers, in a data folder of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_test_support::Process;
use lookalike_test_support::process::{product_command, send_signal};
use serde_json::Value;

/// How long the start may take on a busy machine when the servers must be downloaded.
const START_TIMEOUT: Duration = Duration::from_secs(600);

const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `lookalike up`. Dropping it kills it and its servers.
#[derive(Debug)]
pub struct UpProcess {
    process: Process,
    up_json: Value,
}

impl UpProcess {
    /// Runs `up` in the folder `dir` with these arguments on a free port, and waits until it listens.
    /// It stores its data in `data_dir`, which must be new, and its output in `log`.
    pub async fn start(
        program: &Path,
        arguments: &[std::ffi::OsString],
        dir: &Path,
        data_dir: &Path,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = product_command(program);
        command
            .arg("up")
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .current_dir(dir);
        let mut process = Process::start(command, log)
            .with_context(|| format!("cannot start {}", program.display()))?;
        let up_json_path = data_dir.join("up.json");
        let started = Instant::now();
        let up_json = loop {
            if let Ok(text) = std::fs::read(&up_json_path) {
                break serde_json::from_slice(&text)?;
            }
            if let Some(status) = process.exit_status() {
                anyhow::bail!(
                    "`lookalike up` exited with {status}: {}",
                    process.log_tail()
                );
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

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns an address from `up.json`: `url`, `nats_url` or `milvus_url`.
    pub fn address_of(&self, key: &str) -> anyhow::Result<&str> {
        self.up_json[key]
            .as_str()
            .with_context(|| format!("up.json contains no {key}"))
    }

    /// Fails with the last log lines if the process has exited.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.process.exit_status() {
            Some(status) => anyhow::bail!(
                "`lookalike up` exited with {status}: {}",
                self.process.log_tail()
            ),
            None => Ok(()),
        }
    }

    /// Sends SIGTERM, waits for the exit, and kills the process after a timeout.
    pub async fn stop(mut self) {
        // A killed `up` kills its servers. SIGTERM lets it stop them in order.
        // The process may have exited already.
        send_signal(self.pid(), libc::SIGTERM);
        let started = Instant::now();
        while self.process.exit_status().is_none() && started.elapsed() < STOP_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.process.kill_process();
    }
}
