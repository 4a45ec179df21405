//! Verifies files against their events again, just before their rows are written.
//!
//! Each library is verified by a task of its own, and a batch waits only [`VERIFY_TIMEOUT`] for it.
//! The events of a slower library are committed with a later batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lookalike_proto::{FileEvent, LibraryName};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout_at;

use crate::commit::job::{PreparedEvent, RowChange};
use crate::read::file;
use crate::read::library_reader::LibraryReader;

/// How long a batch waits for the folders of its files.
const VERIFY_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a verification stays valid that took longer than that.
const VERIFIED_TTL: Duration = Duration::from_secs(5);

/// Verifications that a batch did not wait for.
#[derive(Default)]
pub struct PendingVerifications {
    tasks: FuturesUnordered<JoinHandle<Vec<PreparedEvent>>>,
}

impl PendingVerifications {
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns the events of the next verification that ends, or `None` if there is none.
    /// Cancellation safe.
    pub async fn next_batch(&mut self) -> Option<Vec<PreparedEvent>> {
        self.tasks.next().await.map(unwrap_joined)
    }
}

/// Verifies the files of a batch and returns the events to commit now; the others are added to
/// `pending`. An event that does not match its file any more is changed to write nothing.
pub async fn verify_batch(
    batch: Vec<PreparedEvent>,
    pending: &mut PendingVerifications,
) -> Vec<PreparedEvent> {
    let mut verified_now = Vec::with_capacity(batch.len());
    let mut by_library: HashMap<LibraryName, (Arc<LibraryReader>, Vec<PreparedEvent>)> =
        HashMap::new();
    for prepared in batch {
        match &prepared.change {
            RowChange::Put(folder, _)
                if prepared
                    .verified_at
                    .is_none_or(|verified_at| verified_at.elapsed() >= VERIFIED_TTL) =>
            {
                let group = by_library.entry(prepared.event().library.clone());
                let group = group.or_insert_with(|| (folder.clone(), Vec::new()));
                group.1.push(prepared);
            }
            _ => verified_now.push(prepared),
        }
    }
    let until = tokio::time::Instant::now() + VERIFY_TIMEOUT;
    let tasks: Vec<_> = by_library
        .into_values()
        .map(|(folder, group)| tokio::spawn(verify_group(folder, group)))
        .collect();
    for mut task in tasks {
        match timeout_at(until, &mut task).await {
            Ok(verified) => verified_now.extend(unwrap_joined(verified)),
            Err(_) => pending.tasks.push(task),
        }
    }
    verified_now
}

async fn verify_group(
    reader: Arc<LibraryReader>,
    mut group: Vec<PreparedEvent>,
) -> Vec<PreparedEvent> {
    let events: Vec<FileEvent> = group
        .iter()
        .map(|prepared| prepared.event().clone())
        .collect();
    let verifying = reader.run_blocking(move |root, heartbeat| {
        let results = events.iter().map(|event| {
            let result = file::verify_unchanged(root, event);
            heartbeat.record_progress();
            result
        });
        results.collect::<Vec<_>>()
    });
    match verifying.await {
        Ok(results) => {
            for (prepared, result) in group.iter_mut().zip(results) {
                prepared.verified_at = Some(Instant::now());
                if let Err(mismatch) = result {
                    prepared.change = mismatch.into();
                }
            }
        }
        Err(unavailable) => {
            for prepared in &mut group {
                prepared.change = unavailable.clone().into();
            }
        }
    }
    group
}

/// Propagates a panic of the task.
fn unwrap_joined(verified: Result<Vec<PreparedEvent>, JoinError>) -> Vec<PreparedEvent> {
    match verified {
        Ok(group) => group,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
