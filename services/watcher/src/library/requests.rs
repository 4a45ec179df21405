//! Answers to questions about a library: its failures, one file's life, and what the index is to
//! be compared with.

use lookalike_bus::{
    CatalogImage, CatalogPage, FileFailure, FileFailurePage, FileHistory, LastOutcome,
    MAX_REPLY_BYTES, MAX_REQUEST_IDS, WatcherReply, WatcherRequest,
};
use lookalike_proto::{Generation, ImageId, Outcome, OutcomeState as Became};

use crate::catalog::{self, CatalogRow, FileState};
use crate::keeper::outcome::resend_row;
use crate::keeper::{Keeper, Now};
use crate::library::observe::{self, split_path};
use crate::rules;

type Result<T> = std::result::Result<T, catalog::Error>;

impl Keeper {
    pub(crate) fn handle_watcher_request(
        &mut self,
        library: usize,
        question: WatcherRequest,
        now: Now,
    ) -> Result<WatcherReply> {
        let answer = match question {
            WatcherRequest::Failures {
                after,
                limit,
                ignored,
                code,
            } => match after.map(|id| id.parse()).transpose() {
                Ok(after) => {
                    let page =
                        self.failure_page(library, after, limit, ignored, code.as_deref())?;
                    WatcherReply::Failures(page)
                }
                Err(_) => refuse_request("after is not an image id"),
            },
            WatcherRequest::Retry { ids, code } => {
                match self.select_failed_rows(library, ids, code)? {
                    Some(rows) => WatcherReply::Retried(self.retry_rows(rows, now)?),
                    None => refuse_request(INVALID_IDS),
                }
            }
            WatcherRequest::Discard { ids, code } => {
                match self.select_failed_rows(library, ids, code)? {
                    Some(rows) => WatcherReply::Discarded(self.discard_rows(rows, now)?),
                    None => refuse_request(INVALID_IDS),
                }
            }
            WatcherRequest::FileHistory { id, path } => match id.map(|id| id.parse()).transpose() {
                Ok(id) => WatcherReply::FileHistory(
                    self.file_history(library, id, path, now)?.map(Box::new),
                ),
                Err(_) => refuse_request("id is not an image id"),
            },
            WatcherRequest::CatalogPage { after, limit } => {
                match after.map(|id| id.parse()).transpose() {
                    Ok(after) => {
                        WatcherReply::CatalogPage(self.catalog_page(library, after, limit)?)
                    }
                    Err(_) => refuse_request("after is not an image id"),
                }
            }
            WatcherRequest::CatalogImages { ids } => match parse_ids(&ids) {
                Some(ids) => WatcherReply::CatalogPage(self.catalog_entries(library, &ids)?),
                None => refuse_request(INVALID_IDS),
            },
            WatcherRequest::Resend { ids } => match parse_ids(&ids) {
                Some(ids) => WatcherReply::Resent(self.resend_images(library, &ids, now)?),
                None => refuse_request(INVALID_IDS),
            },
            WatcherRequest::Scan => {
                self.plan_full_scan(library, "somebody asked", now);
                WatcherReply::Scanning
            }
            WatcherRequest::Confirm if self.confirm_root(library, now)? => WatcherReply::Scanning,
            WatcherRequest::Confirm => refuse_request("no folder lies at the library's root"),
        };
        Ok(answer)
    }

    pub(crate) fn failure_page(
        &self,
        library: usize,
        after: Option<ImageId>,
        limit: usize,
        ignored: bool,
        code: Option<&str>,
    ) -> Result<FileFailurePage> {
        let held = &self.libraries[library];
        let limit = limit.clamp(1, MAX_REQUEST_IDS);
        // One more than asked for tells whether there are more.
        let (mut rows, total) =
            self.catalog
                .failure_page(held.key, after.as_ref(), limit + 1, ignored, code)?;
        let mut more = rows.len() > limit;
        rows.truncate(limit);
        let name = held.name.as_str();
        let failures = take_within_limit(
            rows.iter().map(|row| failure_from_row(row, name)),
            &mut more,
        );
        Ok(FileFailurePage {
            failures,
            total,
            more,
        })
    }

    /// The failed files that are meant: these, or all, with this code or any, a limited number at
    /// once. `None`: what was given are no ids.
    pub(crate) fn select_failed_rows(
        &self,
        library: usize,
        ids: Vec<String>,
        code: Option<String>,
    ) -> Result<Option<Vec<CatalogRow>>> {
        let key = self.libraries[library].key;
        let is_named = !ids.is_empty() || code.as_deref() == Some(DISCARDED_CODE);
        let ids = if ids.is_empty() {
            self.catalog
                .failed_ids(key, code.as_deref(), MAX_FILES_PER_REQUEST)?
        } else {
            match parse_ids(&ids) {
                Some(ids) => ids,
                None => return Ok(None),
            }
        };
        let mut rows = Vec::new();
        for id in ids {
            let row = self.catalog.row_by_id(&id)?.filter(|row| {
                let is_meant = match row.state {
                    FileState::Failed => true,
                    // Only when it is named: "all that failed" does not mean these.
                    FileState::Discarded => is_named,
                    _ => false,
                };
                row.library == key
                    && row.is_present
                    && is_meant
                    && code.as_ref().is_none_or(|code| row.code == *code)
            });
            rows.extend(row);
        }
        Ok(Some(rows))
    }

    pub(crate) fn retry_rows(&mut self, rows: Vec<CatalogRow>, now: Now) -> Result<u64> {
        let count = rows.len() as u64;
        for mut row in rows {
            observe::begin_generation(&mut row, now);
            self.catalog.update_row(&row)?;
        }
        Ok(count)
    }

    /// Leaves files alone until they change. The index has no row of a file that failed.
    pub(crate) fn discard_rows(&mut self, rows: Vec<CatalogRow>, now: Now) -> Result<u64> {
        let failed = rows
            .into_iter()
            .filter(|row| row.state == FileState::Failed);
        let mut count = 0;
        for mut row in failed {
            count += 1;
            row.state = FileState::Discarded;
            row.detail = format!(
                "Left alone by somebody's wish; it had failed: {}",
                row.detail
            );
            row.code = DISCARDED_CODE.to_owned();
            row.state_since_ns = now.wall_nanos();
            self.catalog.update_row(&row)?;
        }
        Ok(count)
    }

    pub(crate) fn catalog_page(
        &self,
        library: usize,
        after: Option<ImageId>,
        limit: usize,
    ) -> Result<CatalogPage> {
        let limit = limit.clamp(1, MAX_REQUEST_IDS);
        let key = self.libraries[library].key;
        let mut rows = self.catalog.image_page(key, after.as_ref(), limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(self.build_catalog_page(library, &rows, more))
    }

    pub(crate) fn catalog_entries(&self, library: usize, ids: &[ImageId]) -> Result<CatalogPage> {
        let key = self.libraries[library].key;
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.catalog.row_by_id(id)?.filter(|row| row.library == key));
        }
        rows.sort_by_key(|row| row.id);
        Ok(self.build_catalog_page(library, &rows, false))
    }

    pub(crate) fn build_catalog_page(
        &self,
        library: usize,
        rows: &[CatalogRow],
        mut more: bool,
    ) -> CatalogPage {
        let images = take_within_limit(rows.iter().map(entry_from_row), &mut more);
        CatalogPage {
            ready: self.is_complete(library),
            scanning: self.scans.has_scan_of(library),
            more,
            images,
        }
    }

    /// Sends again what the index lacks or has wrong, unless that is about to be sent anyway.
    pub(crate) fn resend_images(
        &mut self,
        library: usize,
        ids: &[ImageId],
        now: Now,
    ) -> Result<u64> {
        let key = self.libraries[library].key;
        let mut resent = 0;
        for id in ids {
            let row = self.catalog.row_by_id(id)?;
            let waits = |row: &CatalogRow| row.is_unsent || row.in_flight != Generation::NONE;
            if let Some(mut row) =
                row.filter(|row| row.library == key && row.is_sendable() && !waits(row))
            {
                resend_row(&mut row, now);
                self.catalog.update_row(&row)?;
                resent += 1;
            }
        }
        Ok(resent)
    }

    pub(crate) fn file_history(
        &mut self,
        library: usize,
        id: Option<ImageId>,
        path: Option<String>,
        now: Now,
    ) -> Result<Option<FileHistory>> {
        let key = self.libraries[library].key;
        let row = match (&id, &path) {
            (Some(id), _) => self.catalog.row_by_id(id)?.filter(|row| row.library == key),
            (None, Some(path)) => {
                let (dir, name) = split_path(path.as_bytes());
                let there = self.catalog.file_at(key, dir, name)?;
                match there {
                    Some(row) => Some(row),
                    None => self.catalog.missing_file_at(key, dir, name)?,
                }
            }
            (None, None) => None,
        };
        let Some(row) = row else {
            return Ok(path.and_then(|path| self.history_without_row(library, &path, now)));
        };
        let last = self.catalog.last_outcome(&row.id)?;
        let image = entry_from_row(&row);
        Ok(Some(FileHistory {
            id: image.id,
            library: self.libraries[library].name.to_string(),
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
            waits_for: describe_wait(&row, now),
        }))
    }

    /// A file that the catalog does not list: one in a folder that is not entered, or one that
    /// is still being written.
    pub(crate) fn history_without_row(
        &mut self,
        library: usize,
        path: &str,
        now: Now,
    ) -> Option<FileHistory> {
        let name = self.libraries[library].name.to_string();
        let told = |state: &str, code: &str, detail: &str, waits_for: &str| FileHistory {
            library: name.clone(),
            path: path.to_owned(),
            state: state.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            waits_for: waits_for.to_owned(),
            ..FileHistory::default()
        };
        if lookalike_proto::RelativePath::new(path).is_err() || !self.is_root_present(library) {
            return None;
        }
        let (dir, _) = split_path(path.as_bytes());
        let enters = |part: &[u8]| part.is_empty() || rules::is_entered_folder(part);
        if !dir.split(|byte| *byte == b'/').all(enters) {
            let detail = "It lies in a folder that is not entered (hidden, or a system's own).";
            return Some(told("ignored", "hidden", detail, ""));
        }
        if self.rules_if_entered(library, dir, now).is_none() {
            let detail = "It lies in a folder that a rule of a .lookalikeignore leaves out.";
            return Some(told("ignored", "ignore_file", detail, ""));
        }
        // What only a link leads to does not lie there, and is not looked at.
        match self.stat_below_root(library, path.as_bytes()) {
            Ok(Some(crate::disk::FileKind::File(_))) => Some(told(
                "settling",
                "",
                "",
                "It was not taken in yet: either it is still being written, or the folder has not \
                 been compared since it came.",
            )),
            _ => None,
        }
    }
}

/// Failed files that one question concerns at most; whoever means more asks again.
const MAX_FILES_PER_REQUEST: usize = lookalike_bus::MAX_FILES_PER_REQUEST;

/// The code of a failed file that somebody wants to be left alone.
const DISCARDED_CODE: &str = "discarded";

const INVALID_IDS: &str = "ids must be at most 1,000 image ids";

fn refuse_request(why: &str) -> WatcherReply {
    WatcherReply::Refused(why.to_owned())
}

/// As many as there may be, if all are ids.
fn parse_ids(ids: &[String]) -> Option<Vec<ImageId>> {
    if ids.len() > MAX_REQUEST_IDS {
        return None;
    }
    ids.iter().map(|id| id.parse().ok()).collect()
}

/// As many items as one answer holds, at least one; sets `more` where some are left out.
fn take_within_limit<T: serde::Serialize>(
    items: impl Iterator<Item = T>,
    more: &mut bool,
) -> Vec<T> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for item in items {
        bytes += serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        if bytes > MAX_REPLY_BYTES && !taken.is_empty() {
            *more = true;
            break;
        }
        taken.push(item);
    }
    taken
}

fn failure_from_row(row: &CatalogRow, library: &str) -> FileFailure {
    FileFailure {
        id: row.id.to_string(),
        library: library.to_owned(),
        path: String::from_utf8_lossy(&row.path()).into_owned(),
        state: row.state.as_str().to_owned(),
        code: row.code.clone(),
        detail: row.detail.clone(),
        size: row.stat.size,
        since_ms: row.state_since_ns / 1_000_000,
    }
}

fn entry_from_row(row: &CatalogRow) -> CatalogImage {
    let state = match (row.is_present, row.is_removing) {
        (true, _) => row.state.as_str(),
        (false, true) => "removing",
        (false, false) => "missing",
    };
    CatalogImage {
        id: row.id.to_string(),
        path: String::from_utf8_lossy(&row.path()).into_owned(),
        content_hash: row.content_hash.map(|hash| hash.to_string()),
        generation: row.generation.get(),
        confirmed: row.confirmed.get(),
        state: state.to_owned(),
        busy: row.is_unsent || row.in_flight != Generation::NONE,
        size: row.stat.size,
    }
}

fn last_outcome_report(outcome: &Outcome, confirmed_ns: i64) -> LastOutcome {
    let state = match outcome.state {
        Became::Indexed => "indexed",
        Became::Removed => "removed",
        Became::Failed { .. } => "failed",
        Became::Superseded { .. } => "superseded",
        Became::Deferred { .. } => "deferred",
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

fn describe_wait(row: &CatalogRow, now: Now) -> String {
    let text = if row.in_flight != Generation::NONE && row.stream_sequence == 0 {
        "for NATS to take its event"
    } else if row.in_flight != Generation::NONE {
        "for an embedder to answer its event"
    } else if row.is_unsent && row.send_after_ns > now.wall_nanos() && !row.detail.is_empty() {
        return format!("for a moment, to be sent again: {}", row.detail);
    } else if row.is_unsent && row.send_after_ns > now.wall_nanos() {
        "for a moment, to be sent again: the worker did not see what the watcher saw"
    } else if row.is_unsent {
        "for its turn to be sent"
    } else if !row.is_present && !row.is_removing {
        "to turn up elsewhere; else it is removed from the index"
    } else {
        ""
    };
    text.to_owned()
}
