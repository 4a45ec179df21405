//! The usual system: the FastAPI service and batch script of `loadtest/peers/usual_system.py`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_test_support::Process;
use serde_json::Value;

use crate::bench::peers::environment::PeerEnvironment;

const SCRIPT: &str = "usual_system.py";

/// How long the service may take to import PyTorch and load its model.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// Where the usual system stores its vectors, and the weights of its network.
#[derive(Debug, Clone)]
pub struct UsualSystem {
    pub environment: PeerEnvironment,
    pub milvus_url: String,
    /// A folder with `config.json` and `model.safetensors` of timm.
    pub weights: PathBuf,
}

/// What the batch script reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchResult {
    pub images: u64,
    /// Seconds from the start of the work to searchable, without the import of the libraries.
    pub seconds: f64,
}

impl UsualSystem {
    /// Runs the batch script on a folder, until its pictures can be found.
    pub fn index_folder(&self, folder: &Path) -> anyhow::Result<BatchResult> {
        let arguments = [
            OsStr::new("index"),
            folder.as_os_str(),
            OsStr::new("--milvus"),
            OsStr::new(&self.milvus_url),
            OsStr::new("--weights"),
            self.weights.as_os_str(),
        ];
        let line = self.environment.run_script(SCRIPT, &arguments)?;
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("{SCRIPT} printed no JSON: {line}"))?;
        let number = |key: &str| {
            let value = answer[key].as_f64();
            value.with_context(|| format!("{SCRIPT} reported no {key}"))
        };
        Ok(BatchResult {
            images: number("images")? as u64,
            seconds: number("seconds")?,
        })
    }

    /// Starts the service and returns its process and address.
    pub async fn start_service(&self, log: &Path) -> anyhow::Result<(Process, String)> {
        let mut command = self.environment.command(SCRIPT);
        command
            .args(["serve", "--milvus", &self.milvus_url, "--weights"])
            .arg(&self.weights);
        let mut process = Process::start(command, log).context("cannot start the usual system")?;
        let started = Instant::now();
        loop {
            if let Some(url) = process.logged_url("address=") {
                return Ok((process, url));
            }
            if let Some(status) = process.exit_status() {
                anyhow::bail!(
                    "the usual system exited with {status}: {}",
                    process.log_tail()
                );
            }
            anyhow::ensure!(
                started.elapsed() < START_TIMEOUT,
                "the usual system did not start within {} s: {}",
                START_TIMEOUT.as_secs(),
                process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
