//! The Milvus that all tests share.

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

/// Address of another server to test, if one is configured.
pub(crate) fn external_url() -> Option<String> {
    std::env::var("LOOKALIKE_TEST_MILVUS").ok()
}

/// Returns the address of the shared Milvus. The first call starts it; it ends with this process.
pub(crate) fn shared_url() -> &'static str {
    static URL: LazyLock<String> = LazyLock::new(|| {
        if let Some(url) = external_url() {
            return url;
        }
        let (tell, told) = mpsc::channel();
        // This thread and runtime live as long as the process. Every test has its own runtime,
        // which would end with the test.
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

/// Starts a Milvus with its data in this folder.
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

/// Creates an empty folder for a Milvus in cargo's temporary folder. Removes the data of an earlier
/// run first.
pub(crate) fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("index-{name}"));
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{folder:?}");
    }
    folder
}

/// Returns a namespace that no other test or earlier run uses.
pub(crate) fn unique_namespace(test: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    format!("{test}_{:x}", now.as_millis())
}
