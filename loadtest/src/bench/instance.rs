//! A lookalike that a measurement starts for itself: `lookalike up` with one library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::Client;
use serde_json::Value;

use crate::product::rest;
use crate::product::up::UpProcess;

/// Name of the library.
pub const LIBRARY: &str = "photos";

/// How long the service may take to become ready, with the download of its servers and model.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long indexing may make no progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// How often the counts are read. The watcher publishes them every 250 ms at most.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// How often the index is asked for a new file. A shorter interval would take time from its indexing.
const SEARCHABLE_INTERVAL: Duration = Duration::from_millis(4);

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A running `lookalike up`. Dropping it kills it and its servers.
#[derive(Debug)]
pub struct BenchInstance {
    up: UpProcess,
    pub url: String,
    /// The watched folder.
    pub library: PathBuf,
    client: Client,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct InstanceOptions {
    pub program: PathBuf,
    /// Contains the library, the data and the log.
    pub dir: PathBuf,
    /// A name or folder; `None` for the default model.
    pub model: Option<OsString>,
}

impl InstanceOptions {
    pub fn library(&self) -> PathBuf {
        self.dir.join("library")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl BenchInstance {
    /// Starts lookalike with the library folder, which is created if it is missing, and waits until it
    /// is ready for searches. Data of an earlier start in the same folder is used again.
    pub async fn start(options: &InstanceOptions) -> anyhow::Result<Self> {
        let library = options.library();
        std::fs::create_dir_all(&library)
            .with_context(|| format!("cannot create {}", library.display()))?;
        let data_dir = options.data_dir();
        // A killed `up` leaves the file behind.
        let _ = std::fs::remove_file(data_dir.join("up.json"));
        let mut named_library = OsString::from(format!("{LIBRARY}="));
        named_library.push(&library);
        let mut arguments = vec![named_library];
        if let Some(model) = &options.model {
            arguments.extend(["--model".into(), model.clone()]);
        }
        let log = options.dir.join("up.log");
        let up =
            UpProcess::start(&options.program, &arguments, &options.dir, &data_dir, &log).await?;
        let url = up.address_of("url")?.to_owned();
        let client = Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            .no_proxy()
            .build()?;
        let mut instance = Self {
            up,
            url,
            library,
            client,
        };
        instance.wait_until_ready().await?;
        Ok(instance)
    }

    pub fn pid(&self) -> u32 {
        self.up.pid()
    }

    pub fn milvus_url(&self) -> anyhow::Result<String> {
        Ok(self.up.address_of("milvus_url")?.to_owned())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            self.up.ensure_running()?;
            let response = self.client.get(format!("{}/readyz", self.url)).send().await;
            if response.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            anyhow::ensure!(
                started.elapsed() < READY_TIMEOUT,
                "the service was not ready within {} s",
                READY_TIMEOUT.as_secs()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).query(query);
        let response = request.send().await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        anyhow::ensure!(
            status.is_success(),
            "{path} returned {status}: {}",
            body["detail"]
        );
        Ok(body)
    }

    /// Asks the watcher to compare the folder with its list of files.
    pub async fn request_scan(&self) -> anyhow::Result<()> {
        let url = format!("{}/v1/libraries/{LIBRARY}/scan", self.url);
        let response = self.client.post(url).send().await?;
        anyhow::ensure!(
            response.status().is_success(),
            "the scan was refused with {}",
            response.status()
        );
        Ok(())
    }

    /// Waits until lookalike reports `files` files and none in flight, and returns its counts.
    pub async fn wait_until_at_rest(&mut self, files: u64) -> anyhow::Result<Value> {
        let (mut processed, mut last_change) = (String::new(), Instant::now());
        loop {
            self.up.ensure_running()?;
            let stats = self.get_json("/v1/stats", &[]).await?;
            let Err(why) = rest::check_at_rest(&stats, 1, files) else {
                return Ok(stats);
            };
            anyhow::ensure!(
                !why.contains("watch_polled"),
                "lookalike polls {}, because its file system does not report changes; choose a \
                 folder on a local disk with --dir",
                self.library.display()
            );
            let counts = format!(
                "{} {} {}",
                stats["on_disk"], stats["indexed"], stats["failed"]
            );
            if counts != processed {
                (processed, last_change) = (counts, Instant::now());
            }
            anyhow::ensure!(
                last_change.elapsed() < STALL_TIMEOUT,
                "nothing was indexed for {} s: {why}",
                STALL_TIMEOUT.as_secs()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the index returns a new file, read with the consistency of searches. `path` is
    /// relative to the library.
    pub async fn wait_until_searchable(&self, path: &str, timeout: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        let query = [("library", LIBRARY), ("path_prefix", path), ("limit", "1")];
        loop {
            let page = self.get_json("/v1/images", &query).await?;
            if page["images"][0]["path"] == path {
                return Ok(());
            }
            anyhow::ensure!(
                started.elapsed() < timeout,
                "{path} was not searchable within {} s",
                timeout.as_secs()
            );
            tokio::time::sleep(SEARCHABLE_INTERVAL).await;
        }
    }

    /// Fails with the last log lines if the process has exited.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        self.up.ensure_running()
    }

    /// Stops lookalike and its servers in order.
    pub async fn stop(self) {
        self.up.stop().await;
    }
}

/// Returns the folder of a run's instance.
pub fn instance_options(
    program: &Path,
    work_dir: &Path,
    name: &str,
    model: Option<OsString>,
) -> anyhow::Result<InstanceOptions> {
    let dir = work_dir.join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(InstanceOptions {
        program: program.to_owned(),
        dir,
        model,
    })
}
