//! Right before anything is written: is the disk still what the events tell?
//!
//! The files of each library are looked at on their own, and a batch waits for a folder only for a
//! moment: what lies in a slow or hanging one is looked at beside, and comes with a later batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lookalike_proto::{FileEvent, Library};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout_at;

use crate::commit::{Action, Ready};
use crate::file;
use crate::folder::Folder;

/// How long a batch waits for the folders that its files lie in.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a look holds that took longer than that.
const HOLDS: Duration = Duration::from_secs(5);

/// Files that are looked at beside.
#[derive(Default)]
pub struct Aside {
    looks: FuturesUnordered<JoinHandle<Vec<Ready>>>,
}

impl Aside {
    /// Whether nothing is looked at.
    pub fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }

    /// What has been looked at next, with what is to be done by now. Dropping the future loses
    /// nothing; `None` only where nothing is looked at.
    pub async fn next(&mut self) -> Option<Vec<Ready>> {
        self.looks.next().await.map(joined)
    }
}

/// Looks at the files of a batch: what may be committed now. What does not fit any more is not
/// written.
pub async fn disk(batch: Vec<Ready>, aside: &mut Aside) -> Vec<Ready> {
    let mut now = Vec::with_capacity(batch.len());
    let mut by_library: HashMap<Library, (Arc<Folder>, Vec<Ready>)> = HashMap::new();
    for one in batch {
        match &one.action {
            Action::Put(folder, _) if one.checked.is_none_or(|when| when.elapsed() >= HOLDS) => {
                let group = by_library.entry(one.event().library.clone());
                let group = group.or_insert_with(|| (folder.clone(), Vec::new()));
                group.1.push(one);
            }
            _ => now.push(one),
        }
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    let looks: Vec<_> = by_library
        .into_values()
        .map(|(folder, group)| tokio::spawn(look(folder, group)))
        .collect();
    for mut look in looks {
        match timeout_at(until, &mut look).await {
            Ok(looked) => now.extend(joined(looked)),
            Err(_) => aside.looks.push(look),
        }
    }
    now
}

async fn look(folder: Arc<Folder>, mut group: Vec<Ready>) -> Vec<Ready> {
    let events: Vec<FileEvent> = group.iter().map(|one| one.event().clone()).collect();
    let looked = folder.run(move |root, sign| {
        let checked = events.iter().map(|event| {
            let checked = file::check(root, event);
            sign.give();
            checked
        });
        checked.collect::<Vec<_>>()
    });
    match looked.await {
        Ok(results) => {
            for (one, result) in group.iter_mut().zip(results) {
                one.checked = Some(Instant::now());
                if let Err(mismatch) = result {
                    one.action = mismatch.into();
                }
            }
        }
        Err(away) => {
            for one in &mut group {
                one.action = Action::PutOff(away.0.clone());
            }
        }
    }
    group
}

/// Panics of ours go on to the caller.
fn joined(looked: Result<Vec<Ready>, JoinError>) -> Vec<Ready> {
    match looked {
        Ok(group) => group,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
