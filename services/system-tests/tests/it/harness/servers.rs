//! One nats-server and one Milvus for all tests.

use std::path::Path;
use std::sync::{OnceLock, mpsc};

use lookalike_servers::{ServerStage, Servers, Settings, WantedServers};

/// Where they listen.
pub struct SharedServers {
    pub nats_url: String,
    pub milvus_url: String,
}

/// Starts them at the first call. They belong to a thread that lives as long as the process, and
/// die with it.
pub fn shared_servers() -> &'static SharedServers {
    static SHARED: OnceLock<SharedServers> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
                remove_stale_data(base);
                let data = base.join(format!("system-tests-{}", std::process::id()));
                let settings = Settings::default();
                let print_stage = |stage: ServerStage| eprintln!("{stage}");
                let programs = lookalike_servers::fetch_programs(
                    &settings,
                    false,
                    WantedServers::ALL,
                    &print_stage,
                )
                .await
                .unwrap();
                let mut servers = Servers::start(
                    &settings,
                    &programs,
                    &data,
                    WantedServers::ALL,
                    &print_stage,
                )
                .await
                .unwrap();
                sender
                    .send(SharedServers {
                        nats_url: servers.nats_url().unwrap().to_owned(),
                        milvus_url: servers.milvus_url().unwrap().to_owned(),
                    })
                    .unwrap();
                let exited = servers.next_exit().await;
                eprintln!(
                    "a shared server ended: {} {}\n{:?}",
                    exited.program, exited.status, exited.log_tail
                );
                std::process::abort();
            });
        });
        receiver.recv().expect("the servers start")
    })
}

/// Servers of one test's own, for those who kill them; they live as long as the value does.
pub async fn own_servers(data: &Path, selection: WantedServers) -> Servers {
    let settings = Settings::default();
    let programs = lookalike_servers::fetch_programs(&settings, false, selection, &|_| {})
        .await
        .unwrap();
    Servers::start(&settings, &programs, data, selection, &|_| {})
        .await
        .unwrap()
}

/// Data of runs whose process is gone.
fn remove_stale_data(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("system-tests-")
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
