//! The one Milvus of all tests.

use std::{
    path::{Path, PathBuf},
    sync::{LazyLock, mpsc},
    time::{SystemTime, UNIX_EPOCH},
};

use lookalike_servers::{Servers, Settings, WantedServers, fetch_programs};

pub(crate) const MILVUS: WantedServers = WantedServers {
    nats: false,
    milvus: true,
};

/// Another server to test against, if one is given.
pub(crate) fn external_url() -> Option<String> {
    std::env::var("LOOKALIKE_TEST_MILVUS").ok()
}

/// Its address. The first to ask starts it; it dies with this process.
pub(crate) fn shared_url() -> &'static str {
    static URL: LazyLock<String> = LazyLock::new(|| {
        if let Some(url) = external_url() {
            return url;
        }
        let (tell, told) = mpsc::channel();
        // A thread and a runtime that live as long as the process: every test has a runtime of
        // its own, and the first test's ends first.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
            runtime.block_on(async {
                let servers = start_milvus(&empty_folder("shared")).await;
                let url = servers.milvus_url().expect("it was wanted").to_owned();
                tell.send(url).expect("the asking thread waits");
                std::future::pending::<()>().await;
                drop(servers);
            });
        });
        told.recv().expect("Milvus starts")
    });
    &URL
}

/// Starts a Milvus over this folder.
pub(crate) async fn start_milvus(folder: &Path) -> Servers {
    let settings = Settings::default();
    let programs = fetch_programs(&settings, false, MILVUS, &|stage| eprintln!("{stage}"))
        .await
        .expect("Milvus can be fetched");
    Servers::start(&settings, &programs, folder, MILVUS, &|stage| {
        eprintln!("{stage}");
    })
    .await
    .expect("Milvus starts")
}

/// An empty folder for a Milvus, in cargo's folder for such things. What an earlier run left is
/// removed first, so that no more than one run's data stays.
pub(crate) fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("index-{name}"));
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{folder:?}");
    }
    folder
}

/// A namespace that no other test has, nor an earlier run against the same server.
pub(crate) fn unique_namespace(test: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    format!("{test}_{:x}", now.as_millis())
}
