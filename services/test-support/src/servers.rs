//! nats-server and Milvus for tests.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use lookalike_servers::{
    ServerFailure, ServerStage, Servers, Settings, WantedServers, fetch_programs,
};

/// Starts of servers. Other programs may take a port between its choice and its use.
const MAX_STARTS: u32 = 3;

/// Addresses of servers that run as long as the process; `None` for one that was not requested.
#[derive(Debug)]
pub struct SharedServers {
    pub nats_url: Option<String>,
    pub milvus_url: Option<String>,
}

impl SharedServers {
    /// Starts servers over the folder `data`. They belong to a thread that lives as long as the
    /// process, because every test has a runtime of its own and the first test's ends first. If a
    /// server exits, the process aborts. One that is stuck, as Milvus after the machine stood still, is
    /// restarted.
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
                watch_servers(&mut servers).await;
            });
        });
        receiver.recv().expect("the servers start")
    }
}

async fn watch_servers(servers: &mut Servers) -> ! {
    loop {
        match servers.next_failure().await {
            ServerFailure::Exited(exited) => {
                eprintln!(
                    "a shared server exited: {} {}\n{:?}",
                    exited.program, exited.status, exited.log_tail
                );
                std::process::abort();
            }
            ServerFailure::Stuck { program, reason } => {
                eprintln!("the shared {program} does not recover, restarting it: {reason}");
                servers.restart(program).await.expect("the server restarts");
            }
        }
    }
}

/// Starts servers that stop when the value is dropped, for tests that kill them.
pub async fn start_servers(data: &Path, selection: WantedServers) -> Servers {
    let settings = Settings::default();
    let print_stage = |stage: ServerStage| eprintln!("{stage}");
    let programs = fetch_programs(&settings, false, selection, &print_stage)
        .await
        .expect("the servers can be fetched");
    let mut starts = 1;
    loop {
        match Servers::start(&settings, &programs, data, selection, &print_stage).await {
            Ok(servers) => return servers,
            Err(error) if starts < MAX_STARTS => {
                eprintln!("starting the servers again with other ports: {error}");
                let _ = std::fs::remove_file(data.join("ports.json"));
                starts += 1;
            }
            Err(error) => panic!("the servers do not start: {error}"),
        }
    }
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
