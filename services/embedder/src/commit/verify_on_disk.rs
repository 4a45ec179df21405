//! Right before anything is written: is the disk still what the events tell?
//!
//! The files of each library are looked at on their own, and a batch waits for a folder only for a
//! moment: what lies in a slow or hanging one is looked at beside, and comes with a later batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lookalike_proto::{FileEvent, LibraryName};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout_at;

use crate::commit::committer::{PreparedEvent, RowChange};
use crate::read::file;
use crate::read::library_reader::LibraryReader;

/// How long a batch waits for the folders that its files lie in.
const VERIFY_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a look holds that took longer than that.
const VERIFIED_TTL: Duration = Duration::from_secs(5);

/// Files that are looked at beside.
#[derive(Default)]
pub struct PendingVerifications {
    tasks: FuturesUnordered<JoinHandle<Vec<PreparedEvent>>>,
}

impl PendingVerifications {
    /// Whether nothing is looked at.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What has been looked at next, with what is to be done by now. Dropping the future loses
    /// nothing; `None` only where nothing is looked at.
    pub async fn next_batch(&mut self) -> Option<Vec<PreparedEvent>> {
        self.tasks.next().await.map(unwrap_joined)
    }
}

/// Looks at the files of a batch: what may be committed now. What does not fit any more is not
/// written.
pub async fn verify_batch(
    batch: Vec<PreparedEvent>,
    pending: &mut PendingVerifications,
) -> Vec<PreparedEvent> {
    let mut now = Vec::with_capacity(batch.len());
    let mut by_library: HashMap<LibraryName, (Arc<LibraryReader>, Vec<PreparedEvent>)> =
        HashMap::new();
    for one in batch {
        match &one.change {
            RowChange::Put(folder, _)
                if one
                    .verified_at
                    .is_none_or(|when| when.elapsed() >= VERIFIED_TTL) =>
            {
                let group = by_library.entry(one.event().library.clone());
                let group = group.or_insert_with(|| (folder.clone(), Vec::new()));
                group.1.push(one);
            }
            _ => now.push(one),
        }
    }
    let until = tokio::time::Instant::now() + VERIFY_TIMEOUT;
    let looks: Vec<_> = by_library
        .into_values()
        .map(|(folder, group)| tokio::spawn(verify_group(folder, group)))
        .collect();
    for mut look in looks {
        match timeout_at(until, &mut look).await {
            Ok(looked) => now.extend(unwrap_joined(looked)),
            Err(_) => pending.tasks.push(look),
        }
    }
    now
}

async fn verify_group(
    reader: Arc<LibraryReader>,
    mut group: Vec<PreparedEvent>,
) -> Vec<PreparedEvent> {
    let events: Vec<FileEvent> = group.iter().map(|one| one.event().clone()).collect();
    let looked = reader.run_blocking(move |root, sign| {
        let checked = events.iter().map(|event| {
            let checked = file::verify_unchanged(root, event);
            sign.record_progress();
            checked
        });
        checked.collect::<Vec<_>>()
    });
    match looked.await {
        Ok(results) => {
            for (one, result) in group.iter_mut().zip(results) {
                one.verified_at = Some(Instant::now());
                if let Err(mismatch) = result {
                    one.change = mismatch.into();
                }
            }
        }
        Err(away) => {
            for one in &mut group {
                one.change = RowChange::Defer(away.0.clone());
            }
        }
    }
    group
}

/// Panics of ours go on to the caller.
fn unwrap_joined(looked: Result<Vec<PreparedEvent>, JoinError>) -> Vec<PreparedEvent> {
    match looked {
        Ok(group) => group,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
