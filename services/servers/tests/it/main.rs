//! Real servers from real wheels. The first run fills the user's cache folder, which later runs
//! reuse. Data folders are created in the target folder and removed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fetching;
mod over_a_data_folder;
mod parent_death;
#[cfg(target_os = "linux")]
mod sockets;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lookalike_servers::{Programs, Settings, WantedServers, fetch_programs};

/// Creates a data folder that is removed on drop.
fn data_folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Settings for tests; `LOOKALIKE_CACHE_DIR` applies as in the product.
fn test_settings() -> Settings {
    Settings {
        cache_dir: std::env::var_os("LOOKALIKE_CACHE_DIR").map(PathBuf::from),
        ..Settings::default()
    }
}

async fn fetch_wanted(wanted: WantedServers) -> Programs {
    fetch_programs(&test_settings(), false, wanted, &|stage| {
        eprintln!("{stage}")
    })
    .await
    .unwrap()
}

const ONLY_NATS: WantedServers = WantedServers {
    nats: true,
    milvus: false,
};

/// Returns whether a process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    if cfg!(target_os = "linux") {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        return state.is_some_and(|state| state != "Z");
    }
    // SAFETY: signal 0 only checks for existence.
    unsafe { libc::kill(pid.cast_signed(), 0) == 0 }
}

/// Waits for the condition, at most `limit`.
#[track_caller]
fn assert_within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a script that simulates a misbehaving program. The tests do not write it themselves,
/// because a file cannot be executed while another test's forked child has it open for writing.
fn script_path(name: &str) -> PathBuf {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripts");
    std::path::Path::new(scripts).join(name)
}
