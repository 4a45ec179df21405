//! The history of one file: its state, its last outcome, and what it waits for.

use lookalike_bus::{FileHistory, LastOutcome};
use lookalike_proto::{Generation, ImageId, Outcome, OutcomeState, RelativePath, unescape_path};

use super::id::LibraryId;
use super::requests::image_from_row;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{Catalog, CatalogRow};
use crate::clock::Now;
use crate::disk::FileKind;
use crate::paths::split_path;
use crate::rules;

impl Library {
    /// Returns the history of an image by its id, or of a file by its path.
    pub(super) fn file_history(
        &mut self,
        id: Option<ImageId>,
        path: Option<String>,
        tick: &mut Tick<'_>,
    ) -> Result<Option<FileHistory>> {
        let row = match (&id, &path) {
            (Some(id), _) => {
                let row = tick.catalog.row_by_id(id)?;
                row.filter(|row| row.library == self.key)
            }
            (None, Some(path)) => match self.last_row_at(path.as_bytes(), tick.catalog)? {
                Some(row) => Some(row),
                None => match unescape_path(path) {
                    Some(path) => self.last_row_at(&path, tick.catalog)?,
                    None => None,
                },
            },
            (None, None) => None,
        };
        let Some(row) = row else {
            return Ok(path.and_then(|path| self.history_without_row(&path, tick)));
        };
        let last = tick.catalog.last_outcome(&row.id)?;
        let image = image_from_row(&row);
        Ok(Some(FileHistory {
            id: image.id,
            library: self.name.to_string(),
            path: image.path,
            state: image.state,
            code: row.code.clone(),
            detail: row.detail.clone(),
            since_ns: row.state_since_ns,
            size: row.stat.size,
            mtime_ns: row.stat.mtime_ns,
            first_seen_ns: row.first_seen_ns,
            observed_ns: row.observed_ns,
            sent_ns: row.sent_ns,
            content_hash: image.content_hash,
            generation: image.generation,
            confirmed: image.confirmed,
            attempt: row.attempt,
            last_outcome: last
                .map(|(outcome, confirmed_ns)| last_outcome_report(&outcome, confirmed_ns)),
            waits_for: self.describe_wait(&row, tick),
        }))
    }

    /// Returns what a file waits for, as the end of the sentence "It waits …"; empty: for nothing.
    fn describe_wait(&self, row: &CatalogRow, tick: &Tick<'_>) -> String {
        if let Some(text) = describe_busy_file(self.id, &row.path(), tick) {
            return text;
        }
        if tick.content_checks.contains_image(&row.id) {
            return "for its content to be compared with the index: only its rights, owner or link \
                    count seem to have changed, and new pictures go first"
                .to_owned();
        }
        describe_event_wait(row, tick.now)
    }

    /// Returns the row of the file at a path, or of the last one that was there.
    fn last_row_at(&self, path: &[u8], catalog: &Catalog) -> Result<Option<CatalogRow>> {
        if let Some(row) = self.row_at(path, catalog)? {
            return Ok(Some(row));
        }
        let (dir, name) = split_path(path);
        catalog.missing_file_at(self.key, dir, name)
    }

    /// Returns the history of a file that the catalog does not list: it is in a folder that is not
    /// entered, or it is still being written.
    fn history_without_row(&mut self, path: &str, tick: &mut Tick<'_>) -> Option<FileHistory> {
        if RelativePath::new(path).is_err() || !self.root.is_present() {
            return None;
        }
        let mut history = FileHistory {
            library: self.name.to_string(),
            path: path.to_owned(),
            state: "ignored".to_owned(),
            ..FileHistory::default()
        };
        let (dir, _) = split_path(path.as_bytes());
        let enters_system_folders = tick.settings.enter_system_folders;
        let is_skipped = |part: &&[u8]| {
            !part.is_empty() && !rules::is_entered_folder(part, enters_system_folders)
        };
        if let Some(part) = dir.split(|byte| *byte == b'/').find(is_skipped) {
            let folder = lookalike_proto::path_to_text(part);
            if part.starts_with(b".") {
                history.code = "hidden".to_owned();
                history.detail =
                    format!("It is in the hidden folder {folder}, which is not entered.");
            } else {
                history.code = "system_folder".to_owned();
                history.detail =
                    format!("It is in the system folder {folder}, which is not entered.");
            }
            return Some(history);
        }
        if self.rules_if_entered(dir, tick).is_none() {
            history.code = "ignore_file".to_owned();
            history.detail =
                "It is in a folder that a .lookalikeignore or a .nomedia excludes.".to_owned();
            return Some(history);
        }
        // Do not follow symbolic links: files behind them are not part of the library.
        let is_file = matches!(
            self.root.stat_below(path.as_bytes()),
            Ok(Some(FileKind::File(_)))
        );
        history.state = "settling".to_owned();
        history.waits_for = match describe_busy_file(self.id, path.as_bytes(), tick) {
            Some(text) => text,
            None => "The watcher has not recorded it yet: it is still being written, or \
                     its folder was not scanned since it was created."
                .to_owned(),
        };
        is_file.then_some(history)
    }
}

fn last_outcome_report(outcome: &Outcome, confirmed_ns: i64) -> LastOutcome {
    let state = match outcome.state {
        OutcomeState::Indexed => "indexed",
        OutcomeState::Removed => "removed",
        OutcomeState::Failed { .. } => "failed",
        OutcomeState::Superseded { .. } => "superseded",
        OutcomeState::Deferred { .. } => "deferred",
    };
    LastOutcome {
        generation: outcome.generation.get(),
        state: state.to_owned(),
        deliveries: outcome.deliveries,
        reused: outcome.reused,
        model: outcome.model.clone(),
        received_ns: outcome.timings.received_ns,
        read_ns: outcome.timings.read_ns,
        decoded_ns: outcome.timings.decoded_ns,
        embedded_ns: outcome.timings.embedded_ns,
        committed_ns: outcome.timings.committed_ns,
        confirmed_ns,
    }
}

/// Returns what the file at a path waits for while it is written again and again.
fn describe_busy_file(library: LibraryId, path: &[u8], tick: &Tick<'_>) -> Option<String> {
    let busy = tick.inbox.find_busy_file(library, path)?;
    Some(format!(
        "for the end of its writes: it is still being written, with {} reports of changes in the \
         last {} seconds. It is indexed when it has rested for {} ms, and until then at intervals \
         that grow to ten minutes",
        busy.reports,
        busy.busy_for.as_secs(),
        busy.required_rest.as_millis()
    ))
}

/// Returns what the event of a file waits for; empty: for nothing.
fn describe_event_wait(row: &CatalogRow, now: Now) -> String {
    let is_delayed = row.is_unsent && row.send_after_ns > now.wall_nanos();
    let text = if row.in_flight != Generation::NONE && row.stream_sequence == 0 {
        "for NATS to store its event"
    } else if row.in_flight != Generation::NONE {
        "for an embedder to handle its event"
    } else if is_delayed && !row.detail.is_empty() {
        return format!("to be sent again: {}", row.detail);
    } else if is_delayed {
        "to be sent again: the embedder saw another file than the watcher"
    } else if row.is_unsent {
        "to be sent"
    } else if !row.is_present && !row.is_removing {
        "to be found elsewhere; otherwise it is removed from the index"
    } else {
        ""
    };
    text.to_owned()
}
