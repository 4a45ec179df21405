//! Requests to a library that arrive over the bus: its failures, retries, and the catalog's content
//! to compare the index with.

use lookalike_bus::{
    CatalogImage, CatalogPage, FileFailure, FileFailurePage, MAX_FILES_PER_REQUEST,
    MAX_REPLY_BYTES, MAX_REQUEST_IDS, WatcherReply, WatcherRequest,
};
use lookalike_proto::{Generation, ImageId, path_to_text};

use super::scan_queue::ScanQueue;
use super::tick::Tick;
use super::{Library, Result};
use crate::catalog::{Catalog, CatalogRow, FileState};
use crate::clock::Now;

/// The code of a failed file that a user excluded until it changes.
const DISCARDED_CODE: &str = "discarded";

const INVALID_IDS: &str = "ids must be at most 1,000 image ids";

impl Library {
    pub fn handle_watcher_request(
        &mut self,
        request: WatcherRequest,
        tick: &mut Tick<'_>,
    ) -> Result<WatcherReply> {
        let reply = match request {
            WatcherRequest::Failures {
                after,
                limit,
                ignored,
                code,
            } => match parse_id(after) {
                Ok(after) => {
                    let code = code.as_deref();
                    let page = self.failure_page(after, limit, ignored, code, tick.catalog)?;
                    WatcherReply::Failures(page)
                }
                Err(_) => refuse_request("after is not an image id"),
            },
            WatcherRequest::Retry { ids, code } => {
                match self.select_failed_rows(&ids, code.as_deref(), tick.catalog)? {
                    Some(rows) => WatcherReply::Retried(retry_rows(rows, tick)?),
                    None => refuse_request(INVALID_IDS),
                }
            }
            WatcherRequest::Discard { ids, code } => {
                match self.select_failed_rows(&ids, code.as_deref(), tick.catalog)? {
                    Some(rows) => WatcherReply::Discarded(discard_rows(rows, tick)?),
                    None => refuse_request(INVALID_IDS),
                }
            }
            WatcherRequest::FileHistory { id, path } => match parse_id(id) {
                Ok(id) => {
                    let history = self.file_history(id, path, tick)?;
                    WatcherReply::FileHistory(history.map(Box::new))
                }
                Err(_) => refuse_request("id is not an image id"),
            },
            WatcherRequest::CatalogPage { after, limit } => match parse_id(after) {
                Ok(after) => {
                    let page = self.catalog_page(after, limit, tick.catalog, tick.scans)?;
                    WatcherReply::CatalogPage(page)
                }
                Err(_) => refuse_request("after is not an image id"),
            },
            WatcherRequest::CatalogImages { ids } => match parse_ids(&ids) {
                Some(ids) => {
                    let page = self.catalog_images(&ids, tick.catalog, tick.scans)?;
                    WatcherReply::CatalogPage(page)
                }
                None => refuse_request(INVALID_IDS),
            },
            WatcherRequest::Resend { ids } => match parse_ids(&ids) {
                Some(ids) => {
                    WatcherReply::Resent(self.resend_images(&ids, tick.catalog, tick.now)?)
                }
                None => refuse_request(INVALID_IDS),
            },
            WatcherRequest::Scan => {
                self.plan_full_scan("a user requested it", tick);
                WatcherReply::Scanning
            }
            WatcherRequest::Confirm if self.overlapping.is_some() => {
                refuse_request("the library's root folder overlaps another library")
            }
            WatcherRequest::Confirm if self.confirm_root(tick)? => WatcherReply::Scanning,
            WatcherRequest::Confirm => refuse_request("the library's root folder does not exist"),
        };
        Ok(reply)
    }

    fn failure_page(
        &self,
        after: Option<ImageId>,
        limit: usize,
        with_ignored: bool,
        code: Option<&str>,
        catalog: &Catalog,
    ) -> Result<FileFailurePage> {
        let limit = limit.clamp(1, MAX_REQUEST_IDS);
        // One row above the limit shows whether there are more.
        let (mut rows, total) =
            catalog.failure_page(self.key, after.as_ref(), limit + 1, with_ignored, code)?;
        let mut more = rows.len() > limit;
        rows.truncate(limit);
        let library = self.name.as_str();
        let failures = rows.iter().map(|row| failure_from_row(row, library));
        let failures = take_within_limit(failures, &mut more);
        Ok(FileFailurePage {
            failures,
            total,
            has_more: more,
        })
    }

    /// Returns the failed files with these ids, or (without ids) with this code or any, at most
    /// [`MAX_FILES_PER_REQUEST`]. `None`: an id is invalid.
    fn select_failed_rows(
        &self,
        ids: &[String],
        code: Option<&str>,
        catalog: &Catalog,
    ) -> Result<Option<Vec<CatalogRow>>> {
        // "All failed files" does not include discarded ones; they must be named.
        let with_discarded = !ids.is_empty() || code == Some(DISCARDED_CODE);
        let ids = if ids.is_empty() {
            catalog.failed_ids(self.key, code, MAX_FILES_PER_REQUEST)?
        } else {
            match parse_ids(ids) {
                Some(ids) => ids,
                None => return Ok(None),
            }
        };
        let mut rows = Vec::new();
        for id in ids {
            let row = catalog.row_by_id(&id)?.filter(|row| {
                let is_selected = match row.state {
                    FileState::Failed => true,
                    FileState::Discarded => with_discarded,
                    _ => false,
                };
                row.library == self.key
                    && row.is_present
                    && is_selected
                    && code.is_none_or(|code| row.code == code)
            });
            rows.extend(row);
        }
        Ok(Some(rows))
    }

    fn catalog_page(
        &self,
        after: Option<ImageId>,
        limit: usize,
        catalog: &Catalog,
        scans: &ScanQueue,
    ) -> Result<CatalogPage> {
        let limit = limit.clamp(1, MAX_REQUEST_IDS);
        let mut rows = catalog.image_page(self.key, after.as_ref(), limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(self.build_catalog_page(&rows, more, scans))
    }

    fn catalog_images(
        &self,
        ids: &[ImageId],
        catalog: &Catalog,
        scans: &ScanQueue,
    ) -> Result<CatalogPage> {
        let mut rows = Vec::new();
        for id in ids {
            let row = catalog.row_by_id(id)?;
            rows.extend(row.filter(|row| row.library == self.key));
        }
        rows.sort_by_key(|row| row.id);
        Ok(self.build_catalog_page(&rows, false, scans))
    }

    fn build_catalog_page(
        &self,
        rows: &[CatalogRow],
        mut more: bool,
        scans: &ScanQueue,
    ) -> CatalogPage {
        let images = take_within_limit(rows.iter().map(image_from_row), &mut more);
        CatalogPage {
            ready: self.is_complete(),
            scanning: scans.has_scan_of(self.id),
            more,
            images,
        }
    }

    /// Sends images again that are missing or wrong in the index, unless they are about to be sent
    /// anyway; their number.
    fn resend_images(&self, ids: &[ImageId], catalog: &mut Catalog, now: Now) -> Result<u64> {
        let mut resent = 0;
        for id in ids {
            let Some(mut row) = catalog.row_by_id(id)? else {
                continue;
            };
            if row.library == self.key && row.is_sendable() && !is_busy(&row) {
                row.begin_resend(now);
                catalog.update_row(&row)?;
                resent += 1;
            }
        }
        Ok(resent)
    }
}

fn retry_rows(rows: Vec<CatalogRow>, tick: &mut Tick<'_>) -> Result<u64> {
    let count = rows.len() as u64;
    for mut row in rows {
        row.begin_generation(tick.now);
        tick.catalog.update_row(&row)?;
    }
    Ok(count)
}

/// Excludes failed files until they change. The index has no rows of them.
fn discard_rows(rows: Vec<CatalogRow>, tick: &mut Tick<'_>) -> Result<u64> {
    let failed = rows.into_iter();
    let failed = failed.filter(|row| row.state == FileState::Failed);
    let mut count = 0;
    for mut row in failed {
        count += 1;
        row.state = FileState::Discarded;
        row.detail = format!("Discarded by a user; it had failed: {}", row.detail);
        row.code = DISCARDED_CODE.to_owned();
        row.state_since_ns = tick.now.wall_nanos();
        tick.catalog.update_row(&row)?;
    }
    Ok(count)
}

fn refuse_request(message: &str) -> WatcherReply {
    WatcherReply::Refused(message.to_owned())
}

fn parse_id(
    id: Option<String>,
) -> std::result::Result<Option<ImageId>, <ImageId as std::str::FromStr>::Err> {
    id.map(|id| id.parse()).transpose()
}

/// Returns the ids if all are valid and there are not too many.
fn parse_ids(ids: &[String]) -> Option<Vec<ImageId>> {
    if ids.len() > MAX_REQUEST_IDS {
        return None;
    }
    ids.iter().map(|id| id.parse().ok()).collect()
}

/// Returns as many items as one reply can carry, at least one. Sets `more` if some are left.
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
        path: path_to_text(&row.path()).into_owned(),
        state: row.state.as_str().to_owned(),
        code: row.code.clone(),
        detail: row.detail.clone(),
        size: row.stat.size,
        since_ms: row.state_since_ns / 1_000_000,
    }
}

pub(super) fn image_from_row(row: &CatalogRow) -> CatalogImage {
    let state = match (row.is_present, row.is_removing) {
        (true, _) => row.state.as_str(),
        (false, true) => "removing",
        (false, false) => "missing",
    };
    CatalogImage {
        id: row.id.to_string(),
        path: path_to_text(&row.path()).into_owned(),
        content_hash: row.content_hash.map(|hash| hash.to_string()),
        generation: row.generation.get(),
        confirmed: row.confirmed.get(),
        state: state.to_owned(),
        busy: is_busy(row),
        size: row.stat.size,
    }
}

/// Whether an event must be sent, or is in flight.
fn is_busy(row: &CatalogRow) -> bool {
    row.is_unsent || row.in_flight != Generation::NONE
}
