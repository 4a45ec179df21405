//! A library's folder, a running lookalike, and what must hold between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lookalike_index::{Consistency, Filter, Image, Index, ModelIdentity};
use lookalike_vision::Model;
use reqwest::Response;
use serde_json::Value;

use super::{Process, eventually, files_below, program, shared_servers};

/// How long a folder of a few hundred files may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One test's world.
pub struct World {
    /// Everything of this test.
    pub dir: tempfile::TempDir,
    /// The library's folder; the library is called `photos`.
    pub photos: PathBuf,
    /// Distinct on the shared servers.
    pub namespace: String,
    /// The running `up`, where there is one.
    pub up: Option<Process>,
    /// Its address.
    pub url: String,
    client: reqwest::Client,
}

impl World {
    /// An empty folder, nothing running.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let photos = dir.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        Self {
            photos,
            namespace: format!("t{}_{number}", std::process::id()),
            up: None,
            url: String::new(),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(30))
                .build()
                .unwrap(),
            dir,
        }
    }

    /// An empty folder with `up` running over it.
    pub async fn started(name: &str) -> Self {
        let mut world = Self::new(name);
        world.start().await;
        world
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A role on the shared servers, in this world's namespace.
    pub fn command(&self, role: &str) -> std::process::Command {
        let shared = shared_servers();
        let mut command = program();
        command
            .arg(role)
            .arg(format!("photos={}", self.photos.display()))
            .args(["--listen", "127.0.0.1:0", "--log", "info,async_nats=warn"])
            .args([
                "--nats-url",
                &shared.nats_url,
                "--milvus-url",
                &shared.milvus_url,
            ])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env("LOOKALIKE_NATS_NAMESPACE", &self.namespace)
            .env("LOOKALIKE_MILVUS_NAMESPACE", &self.namespace)
            // Streams reserve what they may take, and many tests share one server.
            .env("LOOKALIKE_NATS_EVENTS_MAX_BYTES", "16MiB")
            .env("LOOKALIKE_NATS_OUTCOMES_MAX_BYTES", "16MiB")
            .current_dir(self.dir.path());
        command
    }

    /// Starts `up` and waits until it would answer a search.
    pub async fn start(&mut self) {
        // What a killed one left says where nobody listens any more.
        let _ = std::fs::remove_file(self.data_dir().join("up.json"));
        let mut up = Process::start(self.command("up"), &self.dir.path().join("up.log"));
        let file = self.data_dir().join("up.json");
        let running: Value = eventually("`up` says where it runs", PATIENCE, || {
            assert!(up.is_running(), "it ended:\n{}", up.log());
            let text = std::fs::read(&file).map_err(|e| e.to_string());
            async { serde_json::from_slice(&text?).map_err(|e| e.to_string()) }
        })
        .await;
        self.url = running["url"].as_str().unwrap().to_owned();
        self.up = Some(up);
        eventually("it is ready", PATIENCE, || async {
            let response = self.get_raw("/readyz").await;
            let status = response.status();
            let text = response.text().await.unwrap();
            if status.is_success() {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    }

    /// kill -9 of the running `up`.
    pub fn kill(&mut self) {
        self.up.take().expect("it runs").kill();
    }

    /// Ctrl-C; it must end well.
    pub async fn stop(&mut self) {
        let mut up = self.up.take().expect("it runs");
        let status = up.interrupt().await;
        assert!(status.success(), "it ended with {status}:\n{}", up.log());
    }

    /// Copies a file into the folder, under a path below it.
    pub fn copy(&self, from: &Path, to: &str) {
        let to = self.photos.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }

    pub async fn get_raw(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.get_raw(path).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    pub async fn post(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).body(body);
        let response = request
            .header("content-type", "application/octet-stream")
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// The hits of a search by a picture's bytes, best first.
    pub async fn search(&self, picture: &[u8], limit: u32) -> Vec<Value> {
        let (status, body) = self
            .post(&format!("/v1/search/image?limit={limit}"), picture.to_vec())
            .await;
        assert_eq!(status, 200, "{body}");
        body["hits"].as_array().unwrap().clone()
    }

    /// A metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get_raw("/metrics").await.text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until every file in the folder has become something, and nothing is under way.
    pub async fn settled(&self) -> Value {
        let on_disk = files_below(&self.photos).len() as u64;
        eventually("every file has become something", PATIENCE, || async {
            let stats = self.get("/v1/stats").await;
            let count = |key: &str| stats[key].as_u64().unwrap();
            assert_eq!(
                count("on_disk"),
                count("indexed") + count("failed") + count("ignored") + count("in_flight"),
                "{stats}"
            );
            let libraries = stats["libraries"].as_array().unwrap();
            let is_scanning =
                libraries.is_empty() || libraries.iter().any(|l| l["scanning"] == true);
            if count("on_disk") == on_disk && count("in_flight") == 0 && !is_scanning {
                Ok(stats)
            } else {
                Err(format!("{on_disk} files on disk, and {stats}"))
            }
        })
        .await
    }

    /// A connection to this world's rows that does not go through the product's service.
    pub async fn index(&self) -> Index {
        let description = Model::load_description("lookalike-mini").unwrap();
        let settings = lookalike_index::Settings {
            url: shared_servers().milvus_url.clone(),
            namespace: self.namespace.clone(),
            ..Default::default()
        };
        let identity = ModelIdentity {
            name: description.name.clone(),
            dimension: description.dimension,
            checksum: description.checksum.clone(),
            preprocessing: description.fingerprint(),
        };
        Index::open(&settings, &identity).await.unwrap()
    }

    /// Every row, by id.
    pub async fn rows(&self) -> BTreeMap<String, Image> {
        let index = self.index().await;
        let mut rows = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = index
                .list(
                    &Filter::default(),
                    after.as_deref(),
                    1000,
                    Consistency::Strong,
                )
                .await
                .unwrap();
            let Some(last) = page.last() else { return rows };
            after = Some(last.id.clone());
            for image in page {
                assert!(
                    rows.insert(image.id.clone(), image).is_none(),
                    "an id twice"
                );
            }
        }
    }

    /// Promise 1: the rows are the folder's pictures, path by path and byte by byte, and every
    /// other file is listed with a reason. Waits for the way of the last change.
    pub async fn assert_index_equals_folder(&self) {
        self.settled().await;
        eventually("the index equals the folder", PATIENCE, || async {
            let listed = self.get("/v1/failures?limit=1000&ignored=true").await;
            let reasons: BTreeMap<String, String> = listed["failures"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| {
                    (
                        f["path"].as_str().unwrap().to_owned(),
                        f["code"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            let mut wanted = BTreeSet::new();
            for file in files_below(&self.photos) {
                let path = file
                    .strip_prefix(&self.photos)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                if reasons.get(&path).is_some_and(|code| !code.is_empty()) {
                    continue;
                }
                let hash = blake3::hash(&std::fs::read(&file).unwrap()).to_string();
                wanted.insert((path, hash));
            }
            let rows = self.rows().await;
            let there: BTreeSet<_> = rows
                .values()
                .map(|row| (row.path.clone(), row.content_hash.clone()))
                .collect();
            if there == wanted && rows.len() == wanted.len() {
                return Ok(());
            }
            let missing: Vec<_> = wanted.difference(&there).take(5).collect();
            let extra: Vec<_> = there.difference(&wanted).take(5).collect();
            Err(format!(
                "missing {missing:?}, too many {extra:?}, {} rows",
                rows.len()
            ))
        })
        .await;
    }

    /// The row at a path.
    pub async fn row_at(&self, path: &str) -> Image {
        let rows = self.rows().await;
        rows.into_values()
            .find(|row| row.path == path)
            .unwrap_or_else(|| panic!("no row at {path}"))
    }
}
