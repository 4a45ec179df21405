//! Answers to questions about a library: its failures, one file's life, and what the index is to
//! be compared with.

use lookalike_bus::{
    Failure, FailurePage, KnownImage, KnownPage, LastAnswer, Life, MOST_ANSWER_BYTES, MOST_IDS,
    WatcherAnswer, WatcherQuestion,
};
use lookalike_proto::{Generation, ImageId, Outcome, State as Became};

use super::observe::{self, split};
use super::outcome::send_again;
use super::{Keeper, Now};
use crate::catalog::{self, Row, State};
use crate::rules;

type Result<T> = std::result::Result<T, catalog::Error>;

impl Keeper {
    pub(super) fn reply(
        &mut self,
        library: usize,
        question: WatcherQuestion,
        now: Now,
    ) -> Result<WatcherAnswer> {
        let answer = match question {
            WatcherQuestion::Failures {
                after,
                limit,
                ignored,
                code,
            } => match after.map(|id| id.parse()).transpose() {
                Ok(after) => {
                    let page = self.failures(library, after, limit, ignored, code.as_deref())?;
                    WatcherAnswer::Failures(page)
                }
                Err(_) => refuse("after is not an image id"),
            },
            WatcherQuestion::Retry { ids, code } => match self.failed(library, ids, code)? {
                Some(rows) => WatcherAnswer::Retried(self.retry(rows, now)?),
                None => refuse(NOT_IDS),
            },
            WatcherQuestion::Discard { ids, code } => match self.failed(library, ids, code)? {
                Some(rows) => WatcherAnswer::Discarded(self.discard(rows, now)?),
                None => refuse(NOT_IDS),
            },
            WatcherQuestion::Life { id, path } => match id.map(|id| id.parse()).transpose() {
                Ok(id) => WatcherAnswer::Life(self.life(library, id, path, now)?.map(Box::new)),
                Err(_) => refuse("id is not an image id"),
            },
            WatcherQuestion::Known { after, limit } => {
                match after.map(|id| id.parse()).transpose() {
                    Ok(after) => WatcherAnswer::Known(self.known(library, after, limit)?),
                    Err(_) => refuse("after is not an image id"),
                }
            }
            WatcherQuestion::KnownOf { ids } => match parse(&ids) {
                Some(ids) => WatcherAnswer::Known(self.known_of(library, &ids)?),
                None => refuse(NOT_IDS),
            },
            WatcherQuestion::Resend { ids } => match parse(&ids) {
                Some(ids) => WatcherAnswer::Resent(self.resend(library, &ids, now)?),
                None => refuse(NOT_IDS),
            },
            WatcherQuestion::Scan => {
                self.plan_whole_scan(library, "somebody asked", now);
                WatcherAnswer::Scanning
            }
            WatcherQuestion::Confirm if self.confirm_root(library, now)? => WatcherAnswer::Scanning,
            WatcherQuestion::Confirm => refuse("no folder lies at the library's root"),
        };
        Ok(answer)
    }

    fn failures(
        &self,
        library: usize,
        after: Option<ImageId>,
        limit: usize,
        ignored: bool,
        code: Option<&str>,
    ) -> Result<FailurePage> {
        let held = &self.libraries[library];
        let limit = limit.clamp(1, MOST_IDS);
        // One more than asked for tells whether there are more.
        let (mut rows, total) =
            self.catalog
                .failures(held.key, after.as_ref(), limit + 1, ignored, code)?;
        let mut more = rows.len() > limit;
        rows.truncate(limit);
        let name = held.name.as_str();
        let failures = within(rows.iter().map(|row| failure(row, name)), &mut more);
        Ok(FailurePage {
            failures,
            total,
            more,
        })
    }

    /// The failed files that are meant: these, or all, with this code or any, a limited number at
    /// once. `None`: what was given are no ids.
    fn failed(
        &self,
        library: usize,
        ids: Vec<String>,
        code: Option<String>,
    ) -> Result<Option<Vec<Row>>> {
        let key = self.libraries[library].key;
        let is_named = !ids.is_empty() || code.as_deref() == Some(DISCARDED);
        let ids = if ids.is_empty() {
            self.catalog.failed(key, code.as_deref(), MOST_A_TURN)?
        } else {
            match parse(&ids) {
                Some(ids) => ids,
                None => return Ok(None),
            }
        };
        let mut rows = Vec::new();
        for id in ids {
            let row = self.catalog.by_id(&id)?.filter(|row| {
                let is_meant = match row.state {
                    State::Failed => true,
                    // Only when it is named: "all that failed" does not mean these.
                    State::Discarded => is_named,
                    _ => false,
                };
                row.library == key
                    && row.present
                    && is_meant
                    && code.as_ref().is_none_or(|code| row.code == *code)
            });
            rows.extend(row);
        }
        Ok(Some(rows))
    }

    fn retry(&mut self, rows: Vec<Row>, now: Now) -> Result<u64> {
        let count = rows.len() as u64;
        for mut row in rows {
            observe::send(&mut row, now);
            self.catalog.update(&row)?;
        }
        Ok(count)
    }

    /// Leaves files alone until they change. The index has no row of a file that failed.
    fn discard(&mut self, rows: Vec<Row>, now: Now) -> Result<u64> {
        let failed = rows.into_iter().filter(|row| row.state == State::Failed);
        let mut count = 0;
        for mut row in failed {
            count += 1;
            row.state = State::Discarded;
            row.detail = format!(
                "Left alone by somebody's wish; it had failed: {}",
                row.detail
            );
            row.code = DISCARDED.to_owned();
            row.since_ns = now.nanos();
            self.catalog.update(&row)?;
        }
        Ok(count)
    }

    fn known(&self, library: usize, after: Option<ImageId>, limit: usize) -> Result<KnownPage> {
        let limit = limit.clamp(1, MOST_IDS);
        let key = self.libraries[library].key;
        let mut rows = self.catalog.page(key, after.as_ref(), limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(self.known_page(library, &rows, more))
    }

    fn known_of(&self, library: usize, ids: &[ImageId]) -> Result<KnownPage> {
        let key = self.libraries[library].key;
        let mut rows = Vec::new();
        for id in ids {
            rows.extend(self.catalog.by_id(id)?.filter(|row| row.library == key));
        }
        rows.sort_by_key(|row| row.id);
        Ok(self.known_page(library, &rows, false))
    }

    fn known_page(&self, library: usize, rows: &[Row], mut more: bool) -> KnownPage {
        let images = within(rows.iter().map(known), &mut more);
        KnownPage {
            ready: self.is_whole(library),
            scanning: self.scans.any_of(library),
            more,
            images,
        }
    }

    /// Sends again what the index lacks or has wrong, unless that is about to be sent anyway.
    fn resend(&mut self, library: usize, ids: &[ImageId], now: Now) -> Result<u64> {
        let key = self.libraries[library].key;
        let mut resent = 0;
        for id in ids {
            let row = self.catalog.by_id(id)?;
            let waits = |row: &Row| row.unsent || row.in_flight != Generation::NONE;
            if let Some(mut row) =
                row.filter(|row| row.library == key && row.is_to_be_told() && !waits(row))
            {
                send_again(&mut row, now);
                self.catalog.update(&row)?;
                resent += 1;
            }
        }
        Ok(resent)
    }

    fn life(
        &mut self,
        library: usize,
        id: Option<ImageId>,
        path: Option<String>,
        now: Now,
    ) -> Result<Option<Life>> {
        let key = self.libraries[library].key;
        let row = match (&id, &path) {
            (Some(id), _) => self.catalog.by_id(id)?.filter(|row| row.library == key),
            (None, Some(path)) => {
                let (dir, name) = split(path.as_bytes());
                let there = self.catalog.at(key, dir, name)?;
                match there {
                    Some(row) => Some(row),
                    None => self.catalog.gone_from(key, dir, name)?,
                }
            }
            (None, None) => None,
        };
        let Some(row) = row else {
            return Ok(path.and_then(|path| self.life_without_row(library, &path, now)));
        };
        let last = self.catalog.last_outcome(&row.id)?;
        let image = known(&row);
        Ok(Some(Life {
            id: image.id,
            library: self.libraries[library].name.to_string(),
            path: image.path,
            state: image.state,
            code: row.code.clone(),
            detail: row.detail.clone(),
            since_ns: row.since_ns,
            size: row.facts.size,
            mtime_ns: row.facts.mtime_ns,
            first_seen_ns: row.first_seen_ns,
            observed_ns: row.observed_ns,
            sent_ns: row.sent_ns,
            content_hash: image.content_hash,
            generation: image.generation,
            confirmed: image.confirmed,
            attempt: row.attempt,
            last: last.map(|(outcome, confirmed_ns)| last_answer(&outcome, confirmed_ns)),
            waits_for: waits_for(&row, now),
        }))
    }

    /// A file that the catalog does not list: one in a folder that is not entered, or one that
    /// is still being written.
    fn life_without_row(&mut self, library: usize, path: &str, now: Now) -> Option<Life> {
        let name = self.libraries[library].name.to_string();
        let told = |state: &str, code: &str, detail: &str, waits_for: &str| Life {
            library: name.clone(),
            path: path.to_owned(),
            state: state.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            waits_for: waits_for.to_owned(),
            ..Life::default()
        };
        if lookalike_proto::RelativePath::new(path).is_err() || !self.root_is_there(library) {
            return None;
        }
        let (dir, _) = split(path.as_bytes());
        let enters = |part: &[u8]| part.is_empty() || rules::enters(part);
        if !dir.split(|byte| *byte == b'/').all(enters) {
            let detail = "It lies in a folder that is not entered (hidden, or a system's own).";
            return Some(told("ignored", "hidden", detail, ""));
        }
        if self.enters(library, dir, now).is_none() {
            let detail = "It lies in a folder that a rule of a .lookalikeignore leaves out.";
            return Some(told("ignored", "ignore_file", detail, ""));
        }
        // What only a link leads to does not lie there, and is not looked at.
        match self.look(library, path.as_bytes()) {
            Ok(Some(crate::disk::Thing::File(_))) => Some(told(
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
const MOST_A_TURN: usize = lookalike_bus::MOST_FILES_AT_ONCE;

/// The code of a failed file that somebody wants to be left alone.
const DISCARDED: &str = "discarded";

const NOT_IDS: &str = "ids must be at most 1,000 image ids";

fn refuse(why: &str) -> WatcherAnswer {
    WatcherAnswer::Refused(why.to_owned())
}

/// As many as there may be, if all are ids.
fn parse(ids: &[String]) -> Option<Vec<ImageId>> {
    if ids.len() > MOST_IDS {
        return None;
    }
    ids.iter().map(|id| id.parse().ok()).collect()
}

/// As many items as one answer holds, at least one; sets `more` where some are left out.
fn within<T: serde::Serialize>(items: impl Iterator<Item = T>, more: &mut bool) -> Vec<T> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for item in items {
        bytes += serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        if bytes > MOST_ANSWER_BYTES && !taken.is_empty() {
            *more = true;
            break;
        }
        taken.push(item);
    }
    taken
}

fn failure(row: &Row, library: &str) -> Failure {
    Failure {
        id: row.id.to_string(),
        library: library.to_owned(),
        path: String::from_utf8_lossy(&row.path()).into_owned(),
        state: row.state.word().to_owned(),
        code: row.code.clone(),
        detail: row.detail.clone(),
        size: row.facts.size,
        since_ms: row.since_ns / 1_000_000,
    }
}

fn known(row: &Row) -> KnownImage {
    let state = match (row.present, row.removing) {
        (true, _) => row.state.word(),
        (false, true) => "removing",
        (false, false) => "vanished",
    };
    KnownImage {
        id: row.id.to_string(),
        path: String::from_utf8_lossy(&row.path()).into_owned(),
        content_hash: row.content_hash.map(|hash| hash.to_string()),
        generation: row.generation.get(),
        confirmed: row.confirmed.get(),
        state: state.to_owned(),
        busy: row.unsent || row.in_flight != Generation::NONE,
        size: row.facts.size,
    }
}

fn last_answer(outcome: &Outcome, confirmed_ns: i64) -> LastAnswer {
    let state = match outcome.state {
        Became::Indexed => "indexed",
        Became::Removed => "removed",
        Became::Failed { .. } => "failed",
        Became::Superseded { .. } => "superseded",
        Became::PutOff { .. } => "put_off",
    };
    LastAnswer {
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

fn waits_for(row: &Row, now: Now) -> String {
    let text = if row.in_flight != Generation::NONE && row.sent_sequence == 0 {
        "for NATS to take its event"
    } else if row.in_flight != Generation::NONE {
        "for an embedder to answer its event"
    } else if row.unsent && row.not_before_ns > now.nanos() && !row.detail.is_empty() {
        return format!("for a moment, to be sent again: {}", row.detail);
    } else if row.unsent && row.not_before_ns > now.nanos() {
        "for a moment, to be sent again: the worker did not see what the watcher saw"
    } else if row.unsent {
        "for its turn to be sent"
    } else if !row.present && !row.removing {
        "to turn up elsewhere; else it is removed from the index"
    } else {
        ""
    };
    text.to_owned()
}
