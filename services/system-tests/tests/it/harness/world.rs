//! The world of one test: its folders, its lookalike processes, and requests to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lookalike_test_support::servers::SharedServers;
use lookalike_vision::BUNDLED_MODEL;
use reqwest::Response;
use serde_json::Value;

use super::{
    JetStream, Process, Proxy, eventually, jpeg_variant, product_command, sample_pictures,
    shared_servers,
};

/// Time limit for indexing a few hundred files on a slow and busy machine.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Each role as a process of its own.
pub struct RoleProcesses {
    pub watch: Process,
    pub embed: Process,
    pub serve: Process,
}

impl RoleProcesses {
    /// Interrupts all roles; each must exit with success.
    pub async fn stop_roles(mut self) {
        for process in [&mut self.serve, &mut self.embed, &mut self.watch] {
            let status = process.interrupt_process().await;
            assert!(status.success(), "{status}\n{}", process.log());
        }
    }
}

/// The folders, processes and settings of one test.
pub struct SystemWorld {
    /// The folder of everything else.
    pub dir: tempfile::TempDir,
    /// The folder of the library `photos`.
    pub photos: PathBuf,
    /// The data folder of the roles.
    pub data: PathBuf,
    /// Names and folders of all libraries.
    pub libraries: Vec<(String, PathBuf)>,
    /// Environment variables of every role.
    pub settings: Vec<(&'static str, String)>,
    /// The log filter of the roles.
    pub log: &'static str,
    /// Servers of this test's own; if unset, the shared ones are used.
    pub own_nats_url: Option<String>,
    pub own_milvus_url: Option<String>,
    /// Whether `up` starts the servers.
    pub up_has_servers: bool,
    /// The path of the data folder outside the roles' mount namespace, if they have one.
    pub visible_data_dir: Option<PathBuf>,
    /// The address of a proxy that the roles use instead of the server.
    pub nats_url: Option<String>,
    pub milvus_url: Option<String>,
    /// Unique on the shared servers.
    pub namespace: String,
    /// Counts the worlds; selects the pair of shared servers.
    number: u32,
    /// The running `up`, if any.
    pub up: Option<Process>,
    /// The address of the service.
    pub url: String,
    client: reqwest::Client,
}

impl SystemWorld {
    /// Creates an empty library; no process is started.
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
            data: dir.path().join("data"),
            libraries: vec![("photos".to_owned(), photos.clone())],
            settings: Vec::new(),
            log: "info,async_nats=warn",
            own_nats_url: None,
            own_milvus_url: None,
            up_has_servers: false,
            visible_data_dir: None,
            nats_url: None,
            milvus_url: None,
            photos,
            namespace: format!("t{}_{number}", std::process::id()),
            number,
            up: None,
            url: String::new(),
            client: reqwest::Client::builder()
                .timeout(SETTLE_TIMEOUT)
                .build()
                .unwrap(),
            dir,
        }
    }

    /// Creates an empty library and starts `up`.
    pub async fn with_up(name: &str) -> Self {
        let mut world = Self::new(name);
        world.start_up().await;
        world
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// Adds a library and returns its folder.
    pub fn add_library(&mut self, name: &str) -> PathBuf {
        let root = self.dir.path().join(name);
        std::fs::create_dir(&root).unwrap();
        self.libraries.push((name.to_owned(), root.clone()));
        root
    }

    /// Sets an environment variable of every role that is started from now on.
    pub fn set_variable(&mut self, variable: &'static str, value: &str) {
        self.settings.push((variable, value.to_owned()));
    }

    /// Returns the address of the server itself, even if the roles use a proxy.
    pub fn direct_nats_url(&self) -> String {
        let own = self.own_nats_url.clone();
        own.or_else(|| self.shared_servers().nats_url.clone())
            .unwrap()
    }

    /// Returns the address of the server itself, even if the roles use a proxy.
    pub fn direct_milvus_url(&self) -> String {
        let own = self.own_milvus_url.clone();
        own.or_else(|| self.shared_servers().milvus_url.clone())
            .unwrap()
    }

    /// Puts a proxy between the roles and NATS.
    pub fn proxy_nats(&mut self) -> Proxy {
        let proxy = Proxy::in_front_of(&self.direct_nats_url()).unwrap();
        self.nats_url = Some(proxy.url("nats"));
        proxy
    }

    /// Puts a proxy between the roles and Milvus.
    pub fn proxy_milvus(&mut self) -> Proxy {
        let proxy = Proxy::in_front_of(&self.direct_milvus_url()).unwrap();
        self.milvus_url = Some(proxy.url("http"));
        proxy
    }

    fn shared_servers(&self) -> &'static SharedServers {
        shared_servers(self.number as usize)
    }

    /// Returns access to this test's streams.
    pub fn jetstream(&self) -> JetStream {
        JetStream::new(&self.direct_nats_url(), &self.namespace)
    }

    /// Returns a command that runs a role with this test's servers and namespace.
    pub fn role_command(&self, role: &str) -> Command {
        let mut command = product_command();
        command.arg(role);
        for (name, root) in &self.libraries {
            command.arg(format!("{name}={}", root.display()));
        }
        if !self.up_has_servers {
            let nats_url = self.nats_url.clone();
            let milvus_url = self.milvus_url.clone();
            command
                .arg("--nats-url")
                .arg(nats_url.unwrap_or_else(|| self.direct_nats_url()))
                .arg("--milvus-url")
                .arg(milvus_url.unwrap_or_else(|| self.direct_milvus_url()));
        }
        command
            .args(["--listen", "127.0.0.1:0", "--log", self.log])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env("LOOKALIKE_NATS_NAMESPACE", &self.namespace)
            .env("LOOKALIKE_MILVUS_NAMESPACE", &self.namespace)
            // Streams reserve their maximum size, and many tests share one server.
            .env("LOOKALIKE_NATS_MAX_EVENTS_BYTES", "4MiB")
            .env("LOOKALIKE_NATS_MAX_OUTCOMES_BYTES", "4MiB")
            .env("LOOKALIKE_SAVED_SEARCHES_MAX_BYTES", "1MiB")
            .env("LOOKALIKE_SAVED_SEARCHES_MAX_MATCHES_BYTES", "1MiB");
        // A new index gets the bundled model: nothing is downloaded, and debug builds index fast.
        if self.up_has_servers {
            command.env("LOOKALIKE_VISION_MODEL", BUNDLED_MODEL);
        } else {
            command
                .env("LOOKALIKE_OFFLINE", "true")
                .env("LOOKALIKE_SERVERS_CACHE_DIR", self.dir.path().join("cache"));
        }
        command
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        command
    }

    /// Runs `lookalike confirm photos` against the running `up`.
    pub async fn confirm_photos(&self) {
        let mut command = product_command();
        command
            .args(["confirm", "photos", "--data-dir"])
            .arg(self.data_dir());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }

    /// Runs `lookalike audit`; returns the printed report and whether it exited with success.
    pub async fn run_audit(&self, arguments: &[&str]) -> (Value, bool) {
        let mut command = product_command();
        command
            .args(["audit", "--json"])
            .args(arguments)
            .args(["--nats-url", &self.direct_nats_url()])
            .args(["--milvus-url", &self.direct_milvus_url()])
            .env("LOOKALIKE_NATS_NAMESPACE", &self.namespace)
            .env("LOOKALIKE_MILVUS_NAMESPACE", &self.namespace)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let printed = serde_json::from_slice(&output.stdout);
        let printed = printed.unwrap_or_else(|error| panic!("{error}: {stderr}"));
        (printed, output.status.success())
    }

    /// Starts a role; its log has the role's name.
    pub fn start_role(&self, role: &str) -> Process {
        self.start_command(self.role_command(role), role)
    }

    /// Starts a command; its log has this name.
    pub fn start_command(&self, command: Command, name: &str) -> Process {
        Process::start(command, &self.dir.path().join(format!("{name}.log"))).unwrap()
    }

    /// Starts the three roles and waits until the service has logged its address.
    pub async fn start_roles(&mut self) -> RoleProcesses {
        let roles = RoleProcesses {
            watch: self.start_role("watch"),
            embed: self.start_role("embed"),
            serve: self.start_role("serve"),
        };
        self.url = roles.serve.read_address("address=").await;
        roles
    }

    /// Starts `up` and waits until it is ready for searches.
    pub async fn start_up(&mut self) {
        // A killed `up` leaves the file behind.
        let _ = std::fs::remove_file(self.data_dir().join("up.json"));
        let up = self.start_role("up");
        self.wait_for_up(up).await;
    }

    /// Waits until the `up` of this process is ready for searches.
    pub async fn wait_for_up(&mut self, mut up: Process) {
        let seen = self.visible_data_dir.clone();
        let file = seen.unwrap_or_else(|| self.data_dir()).join("up.json");
        let running: Value = eventually("`up` writes up.json", SETTLE_TIMEOUT, || {
            assert!(up.is_running(), "it exited:\n{}", up.log());
            let text = std::fs::read(&file).map_err(|e| e.to_string());
            async { serde_json::from_slice(&text?).map_err(|e| e.to_string()) }
        })
        .await;
        let text = |key: &str| running[key].as_str().unwrap().to_owned();
        self.url = text("url");
        if self.up_has_servers {
            self.own_nats_url = Some(text("nats_url"));
            self.own_milvus_url = Some(text("milvus_url"));
        }
        self.up = Some(up);
        self.wait_until_ready().await;
    }

    /// Waits until the service is ready for searches.
    pub async fn wait_until_ready(&self) {
        eventually("it is ready", SETTLE_TIMEOUT, || {
            self.try_get_text("/readyz")
        })
        .await;
    }

    /// Sends SIGKILL to the running `up`.
    pub fn kill_up(&mut self) {
        self.up.take().expect("it runs").kill_process();
    }

    /// Interrupts the running `up`; it must exit with success.
    pub async fn stop_up(&mut self) {
        let mut up = self.up.take().expect("it runs");
        let status = up.interrupt_process().await;
        assert!(status.success(), "it exited with {status}:\n{}", up.log());
    }

    /// Adds `count` pictures to a folder below the root, each with different content.
    pub fn add_pictures(&self, folder: &str, count: usize) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let samples = sample_pictures();
        let folder = self.photos.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let bytes = std::fs::read(&samples[number % samples.len()]).unwrap();
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let file = folder.join(format!("{number}.jpg"));
            std::fs::write(file, jpeg_variant(&bytes, next as usize)).unwrap();
        }
    }

    /// Copies a file to a path below the root.
    pub fn copy_file(&self, from: &Path, to: &str) {
        let to = self.photos.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }

    /// Returns the body of a successful response, or an error message.
    async fn try_get_text(&self, path: &str) -> Result<String, String> {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.send().await.map_err(|e| e.to_string())?;
        let status = response.status();
        let text = response.text().await.map_err(|e| e.to_string())?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(format!("{path}: {status} {text}"))
        }
    }

    /// Returns the JSON of a successful response, or an error message.
    pub async fn try_get(&self, path: &str) -> Result<Value, String> {
        let text = self.try_get_text(path).await?;
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    pub async fn get_response(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let response = self.get_response(path).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    pub async fn post_response(&self, path: &str, body: Vec<u8>) -> Response {
        let request = self.client.post(format!("{}{path}", self.url)).body(body);
        request
            .header("content-type", "application/octet-stream")
            .send()
            .await
            .unwrap()
    }

    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let response = self.post_response(path, body).await;
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Searches by a picture's bytes and returns the hits, best first.
    pub async fn search_by_picture(&self, picture: &[u8], limit: u32) -> Vec<Value> {
        let (status, body) = self
            .post_bytes(&format!("/v1/search/image?limit={limit}"), picture.to_vec())
            .await;
        assert_eq!(status, 200, "{body}");
        body["hits"].as_array().unwrap().clone()
    }

    /// Returns the value of a metric. `name` includes the labels, if any.
    pub async fn read_metric(&self, name: &str) -> f64 {
        let text = self.get_response("/metrics").await.text().await.unwrap();
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
}
