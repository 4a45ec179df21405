//! One nats-server and one Milvus for all tests.

use std::path::Path;
use std::sync::{OnceLock, mpsc};

use lookalike_servers::{Servers, Settings, Stage, Wanted};

/// Where they listen.
pub struct Shared {
    pub nats_url: String,
    pub milvus_url: String,
}

/// Starts them at the first call. They belong to a thread that lives as long as the process, and
/// die with it.
pub fn shared_servers() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (told, started) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
                remove_left_overs(base);
                let data = base.join(format!("system-tests-{}", std::process::id()));
                let settings = Settings::default();
                let tell = |stage: Stage| eprintln!("{stage}");
                let programs = lookalike_servers::fetch(&settings, false, Wanted::ALL, &tell)
                    .await
                    .unwrap();
                let mut servers = Servers::start(&settings, &programs, &data, Wanted::ALL, &tell)
                    .await
                    .unwrap();
                told.send(Shared {
                    nats_url: servers.nats_url().unwrap().to_owned(),
                    milvus_url: servers.milvus_url().unwrap().to_owned(),
                })
                .unwrap();
                let exited = servers.exited().await;
                eprintln!(
                    "a shared server ended: {} {}\n{:?}",
                    exited.program, exited.status, exited.log_tail
                );
                std::process::abort();
            });
        });
        started.recv().expect("the servers start")
    })
}

/// Servers of one test's own, for those who kill them; they live as long as the value does.
pub async fn own_servers(data: &Path, wanted: Wanted) -> Servers {
    let settings = Settings::default();
    let programs = lookalike_servers::fetch(&settings, false, wanted, &|_| {})
        .await
        .unwrap();
    Servers::start(&settings, &programs, data, wanted, &|_| {})
        .await
        .unwrap()
}

/// Data of runs whose process is gone.
fn remove_left_overs(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix("system-tests-")
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
