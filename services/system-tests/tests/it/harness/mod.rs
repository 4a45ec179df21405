//! The tests' small language: folders, processes, and what must hold.

mod jetstream;
mod looks;
pub mod namespace;
mod process;
mod proxy;
mod servers;
mod world;

pub use jetstream::JetStream;
pub use process::{Process, product_command};
pub use proxy::{Proxy, Wire};
pub use servers::{own_servers, shared_servers};
pub use world::{RoleProcesses, SETTLE_TIMEOUT, SystemWorld};

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Waits until `check` gives something, looking again every 20 ms; panics with `operation` and the
/// last refusal when `timeout` has passed.
pub async fn eventually<T, F, R>(what: &str, timeout: Duration, mut check: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        let refusal = match check().await {
            Ok(value) => return value,
            Err(refusal) => refusal,
        };
        assert!(
            begun.elapsed() < timeout,
            "{what}: not within {timeout:?}; last: {refusal}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The checkout's own sample pictures.
pub fn sample_pictures() -> Vec<PathBuf> {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let mut pictures = files_below(&images);
    pictures.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    assert!(pictures.len() >= 50, "the sample pictures are missing");
    pictures
}

/// Files that are too many or too free for the project lie beside a checkout, on some machines;
/// `None` where they don't, and the test that needs them says that it was skipped.
pub fn shared_data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(folder);
    if !path.is_dir() {
        eprintln!("SKIPPED: needs the folder shared/data/{folder} beside the checkout");
        return None;
    }
    Some(path.canonicalize().unwrap())
}

/// Every regular file at or below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// A JPEG with other bytes and the same picture: what follows the end marker means nothing.
pub fn jpeg_variant(jpeg: &[u8], number: usize) -> Vec<u8> {
    [jpeg, format!("variant {number}").as_bytes()].concat()
}
