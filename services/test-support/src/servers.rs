//! nats-server and Milvus for tests.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use lookalike_servers::{ServerStage, Servers, Settings, WantedServers, fetch_programs};

/// Addresses of servers that run as long as the process; `None` for one that was not requested.
#[derive(Debug)]
pub struct SharedServers {
    pub nats_url: Option<String>,
    pub milvus_url: Option<String>,
}

impl SharedServers {
    /// Starts servers over the folder `data`. They belong to a thread that lives as long as the
    /// process, because every test has a runtime of its own and the first test's ends first. If a
    /// server exits, the process aborts.
    pub fn start(data: PathBuf, selection: WantedServers) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
            runtime.block_on(async {
                let mut servers = start_servers(&data, selection).await;
                let shared = Self {
                    nats_url: servers.nats_url().map(str::to_owned),
                    milvus_url: servers.milvus_url().map(str::to_owned),
                };
                sender.send(shared).expect("the calling thread waits");
                let exited = servers.next_exit().await;
                eprintln!(
                    "a shared server exited: {} {}\n{:?}",
                    exited.program, exited.status, exited.log_tail
                );
                std::process::abort();
            });
        });
        receiver.recv().expect("the servers start")
    }
}

/// Starts servers that stop when the value is dropped, for tests that kill them.
pub async fn start_servers(data: &Path, selection: WantedServers) -> Servers {
    let settings = Settings::default();
    let print_stage = |stage: ServerStage| eprintln!("{stage}");
    let programs = fetch_programs(&settings, false, selection, &print_stage)
        .await
        .expect("the servers can be fetched");
    Servers::start(&settings, &programs, data, selection, &print_stage)
        .await
        .expect("the servers start")
}

/// Returns a data folder in `base` for this process, and removes those of processes that are gone.
pub fn data_folder(base: &Path, name: &str) -> PathBuf {
    let prefix = format!("{name}-");
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let pid = folder.strip_prefix(&prefix);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    base.join(format!("{prefix}{}", std::process::id()))
}
