//! The language of the tests: folders, processes, and what must hold.

mod assertions;
mod events;
mod jetstream;
pub mod namespace;
mod receiver;
mod searches;
mod servers;
mod tools;
mod world;

pub use events::read_events_until;
pub use jetstream::JetStream;
pub use lookalike_test_support::servers::start_servers;
pub use lookalike_test_support::{Process, Proxy, Wire, eventually};
pub use receiver::{ReceivedRequest, Receiver};
pub use servers::shared_servers;
pub use tools::{clients_folder, node_tools, python_tools, run_tool};
pub use world::{RoleProcesses, SETTLE_TIMEOUT, SystemWorld};

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns a command that runs the product, without any setting from outside.
pub fn product_command() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_lookalike-system-tests"));
    lookalike_test_support::process::product_command(program)
}

/// Returns the sample pictures of the checkout.
pub fn sample_pictures() -> Vec<PathBuf> {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
    let mut pictures = files_below(&images);
    pictures.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    assert!(pictures.len() >= 50, "the sample pictures are missing");
    pictures
}

/// Returns a folder of `shared/data`, which some machines have next to the checkout: files that are too
/// many or too large for the project. Returns `None` on other machines, and prints that the test is
/// skipped.
pub fn shared_data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(folder);
    if !path.is_dir() {
        eprintln!("SKIPPED: needs the folder shared/data/{folder} next to the checkout");
        return None;
    }
    Some(path.canonicalize().unwrap())
}

/// Returns every regular file below a folder, sorted.
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

/// Replaces the folder `to` by a copy of `from`.
pub fn copy_folder(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// Returns a JPEG with other bytes and the same pixels: decoders ignore what follows the end marker.
pub fn jpeg_variant(jpeg: &[u8], number: usize) -> Vec<u8> {
    [jpeg, format!("variant {number}").as_bytes()].concat()
}
