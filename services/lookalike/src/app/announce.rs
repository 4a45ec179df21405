//! What `up` prints while it runs: addresses, indexing progress, and changes of the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lookalike_bus::StatusView;
use lookalike_chassis::stdio;
use lookalike_client::RunningInstance;
use lookalike_proto::LibraryName;
use lookalike_watcher::Watcher;

use super::progress::UpProgress;

const INDEXING_UPDATE_INTERVAL: Duration = Duration::from_millis(250);
const MODEL_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A bar appears again when more files than this are in flight.
const MAX_IN_FLIGHT_WITHOUT_BAR: u64 = 8;

/// Writes `up.json` for other commands, and prints the addresses on standard output.
pub(super) fn announce_addresses(
    running: &RunningInstance,
    data_dir: &Path,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    device: &str,
) {
    if let Err(error) = running.write_to(data_dir) {
        tracing::warn!(
            %error,
            "cannot write up.json: other commands will not find this lookalike by its data folder"
        );
    }
    let url = &running.url;
    stdio::print_line(&format!("page     {url}/"));
    stdio::print_line(&format!("API      {url}/docs"));
    for (name, root) in libraries {
        stdio::print_line(&format!("library  {name} ({})", root.display()));
    }
    stdio::print_line(&format!("data     {}", data_dir.display()));
    stdio::print_line(&format!("model    {device}"));
}

/// Shows indexing progress, forever: a bar whenever more than a few files are in flight.
pub(super) async fn show_indexing(progress: &UpProgress, watcher: &Watcher) {
    let mut status = watcher.subscribe_status();
    let mut bar = Some(progress.start_indexing_bar());
    let mut tick = tokio::time::interval(INDEXING_UPDATE_INTERVAL);
    loop {
        tick.tick().await;
        let libraries = status.borrow_and_update().clone();
        if libraries.is_empty() {
            continue;
        }
        match &mut bar {
            Some(indexing) => {
                if indexing.update_counts(&libraries) {
                    let summary = bar
                        .take()
                        .map(|bar| bar.finish_with_summary(&libraries))
                        .unwrap_or_default();
                    progress.print_line(&summary);
                }
            }
            None => {
                let in_flight: u64 = libraries.iter().map(|l| l.counts.in_flight).sum();
                if in_flight > MAX_IN_FLIGHT_WITHOUT_BAR {
                    bar = Some(progress.start_indexing_bar());
                }
            }
        }
    }
}

/// Prints a line, forever, whenever the embedder `instance` has rolled over to another model.
pub(super) async fn announce_model_changes(
    progress: &UpProgress,
    status: StatusView,
    instance: &str,
    mut device: String,
) {
    loop {
        tokio::time::sleep(MODEL_POLL_INTERVAL).await;
        let embedders = status.embedders().into_iter();
        let mut own = embedders.filter(|embedder| embedder.instance == instance);
        if let Some(own) = own.next().filter(|own| own.device != device) {
            progress.print_line(&format!("model    {}", own.device));
            device = own.device;
        }
    }
}
