//! Outcomes: what the embedder reports about events.

use lookalike_bus::StreamPosition;
use lookalike_proto::{Generation, Outcome, OutcomeState};

use super::Keeper;
use crate::catalog::{self, Catalog, CatalogRow, FileState};
use crate::clock::Now;
use crate::disk::FileStat;
use crate::library::Library;
use crate::library::id::LibraryId;
use crate::library::tick::Tick;
use crate::metrics;

type Result<T> = std::result::Result<T, catalog::Error>;

/// How far the clocks of two machines may differ.
const MAX_CLOCK_SKEW_NS: i64 = 60_000_000_000;

/// The first delay before an event is sent again; it doubles up to a minute.
const FIRST_RETRY_DELAY_NS: i64 = 250_000_000;

impl Keeper {
    /// Applies a library's outcomes in their order, and stores the position of the last one.
    pub(super) fn apply_outcomes(
        &mut self,
        id: LibraryId,
        outcomes: &[(StreamPosition, Outcome)],
        now: Now,
    ) -> Result<()> {
        let (libraries, mut tick) = self.borrow_for_tick(now);
        for (_, outcome) in outcomes {
            let library = &mut libraries[id];
            let Some(row) = tick.catalog.row_by_id(&outcome.image_id)? else {
                library.remove_unknown_image(outcome, &mut tick)?;
                continue;
            };
            tick.catalog.store_last_outcome(outcome, now.wall_nanos())?;
            let superseded = library.apply_outcome(row, outcome, &mut tick)?;
            if let Some(row) = superseded
                && let Some(id) = libraries.id_of_key(row.library)
            {
                libraries.observe_path(id, &row.path(), false, &mut tick)?;
            }
        }
        if let Some((position, _)) = outcomes.last() {
            tick.catalog
                .set_outcomes_read(libraries[id].key, position)?;
        }
        Ok(())
    }
}

impl Library {
    /// Applies one outcome to its row. Returns the row if its file must be observed again.
    fn apply_outcome(
        &mut self,
        mut row: CatalogRow,
        outcome: &Outcome,
        tick: &mut Tick<'_>,
    ) -> Result<Option<CatalogRow>> {
        let now = tick.now;
        let generation = outcome.generation;
        if let OutcomeState::Deferred { detail } = &outcome.state {
            defer_event(row, generation, detail, tick.catalog, now)?;
            return Ok(None);
        }
        let newest = row.confirmed.max(row.in_flight);
        if row.in_flight == generation {
            row.in_flight = Generation::NONE;
        }
        if generation < newest {
            // A slow worker handled an old event after a newer one was sent. What it wrote is
            // overwritten by sending the image again.
            if may_have_overwritten(outcome, newest, now) && row.is_sendable() {
                tracing::info!(image = %row.id, "an old event was handled late; sending the image again");
                row.begin_resend(now);
            }
        } else if generation > row.generation {
            // The catalog is older than the index: it was lost, or restored from a backup.
            row.generation = generation;
            row.confirmed = generation;
            if row.is_sendable() {
                row.begin_resend(now);
            }
        } else {
            let is_repeated = generation == row.confirmed;
            row.confirmed = generation;
            // A newer generation has its own outcome.
            if generation == row.generation && !is_repeated {
                return self.apply_newest_outcome(row, outcome, tick);
            }
        }
        tick.catalog.update_event(&row)?;
        Ok(None)
    }

    /// Applies the outcome of a row's newest generation.
    fn apply_newest_outcome(
        &mut self,
        mut row: CatalogRow,
        outcome: &Outcome,
        tick: &mut Tick<'_>,
    ) -> Result<Option<CatalogRow>> {
        let now = tick.now;
        row.is_unsent = false;
        row.state_since_ns = now.wall_nanos();
        let mut is_removed = false;
        match &outcome.state {
            OutcomeState::Indexed => {
                row.state = FileState::Indexed;
                row.detail.clear();
                row.content_hash = outcome.content_hash;
                row.retries = 0;
                let seconds = (now.wall_nanos() - row.observed_ns) as f64 / 1e9;
                metrics::FILE_TO_SEARCHABLE.observe(seconds.max(0.0));
            }
            // A removal that failed: there is neither a row in the index nor a file to list.
            OutcomeState::Failed { .. } if !row.is_present => is_removed = true,
            OutcomeState::Failed { code, detail } => {
                mark_failed(&mut row, code, detail);
                row.content_hash = outcome.content_hash;
            }
            // The file is ignored now, and its row has left the index.
            OutcomeState::Removed if row.is_present => {}
            OutcomeState::Removed => is_removed = true,
            OutcomeState::Superseded { detail } => {
                resend_superseded(&mut row, detail, tick.catalog, now)?;
                return Ok(Some(row));
            }
            OutcomeState::Deferred { .. } => {
                debug_assert!(false, "the caller handles deferred events");
            }
        }
        self.throughput.add_event(now.mono);
        if is_removed {
            tick.catalog.delete_row(&row.id)?;
        } else {
            tick.catalog.update_event(&row)?;
        }
        Ok(None)
    }

    /// Removes an image from the index that is not in the catalog: a slow worker wrote its row
    /// after it was removed. Before the first full scan, no image counts as unknown.
    fn remove_unknown_image(&mut self, outcome: &Outcome, tick: &mut Tick<'_>) -> Result<()> {
        // Rows written before the activation were already imported.
        let oldest_ns = self.active_since_ns.saturating_sub(MAX_CLOCK_SKEW_NS);
        let is_old = outcome.timings.committed_ns < oldest_ns;
        if outcome.state != OutcomeState::Indexed || !self.is_fully_scanned || is_old {
            return Ok(());
        }
        tracing::info!(image = %outcome.image_id, "an unknown image was indexed; removing it");
        // The path is unknown; use the image id as a path, because no picture has that name.
        let name = outcome.image_id.to_string();
        let stat = FileStat::default();
        let mut row = self.new_row(name.as_bytes(), stat, tick.catalog, tick.now)?;
        row.id = outcome.image_id;
        row.was_sent = true;
        row.generation = outcome.generation.max(row.generation);
        row.begin_removal(tick.now);
        tick.catalog.insert_row(&row)
    }
}

fn mark_failed(row: &mut CatalogRow, code: &str, detail: &str) {
    let path = lookalike_proto::path_to_text(&row.path()).into_owned();
    tracing::info!(image = %row.id, path, code, detail, "a file cannot be indexed");
    row.state = FileState::Failed;
    row.code = code.to_owned();
    row.detail = detail.to_owned();
    metrics::FAILURES
        .with_label_values(&[metrics::code_label(code)])
        .inc();
}

/// Sends an event again, later each time, because the embedder saw a file that differs from the
/// event. The watcher normally sees the same change; a network mount's cache may hide it for a
/// while.
fn resend_superseded(
    row: &mut CatalogRow,
    detail: &str,
    catalog: &mut Catalog,
    now: Now,
) -> Result<()> {
    tracing::debug!(image = %row.id, detail, "the file differs from its event; observing it again");
    if row.is_sendable() {
        let retries = row.retries + 1;
        row.begin_resend(now);
        row.retries = retries;
        row.send_after_ns = retry_at_ns(retries, now);
    }
    catalog.update_event(row)
}

/// Sends the same event again, later each time, because the worker could not handle it now. Nothing
/// is confirmed and nothing was written.
fn defer_event(
    mut row: CatalogRow,
    generation: Generation,
    detail: &str,
    catalog: &mut Catalog,
    now: Now,
) -> Result<()> {
    if row.in_flight != generation {
        return Ok(());
    }
    tracing::debug!(image = %row.id, detail, "an event was deferred; sending it again later");
    row.in_flight = Generation::NONE;
    row.is_unsent = row.is_sendable();
    row.retries = row.retries.saturating_add(1);
    row.send_after_ns = retry_at_ns(row.retries, now);
    if row.state == FileState::InFlight {
        detail.clone_into(&mut row.detail);
    }
    catalog.update_event(&row)
}

/// When an event is sent again after so many retries in a row.
fn retry_at_ns(retries: u32, now: Now) -> i64 {
    now.wall_nanos() + (FIRST_RETRY_DELAY_NS << retries.min(8))
}

/// Whether the event of this outcome may have been handled after the event of `newer`.
///
/// It was not if it ended before `newer` was observed, allowing for clock skew. So outcomes that
/// are read again after the catalog was lost send nothing.
fn may_have_overwritten(outcome: &Outcome, newer: Generation, now: Now) -> bool {
    let observed_ns = i64::try_from(newer.get().saturating_mul(1000)).unwrap_or(i64::MAX);
    // Generations assigned while the clock was ahead continue from there.
    let observed_ns = observed_ns.min(now.wall_nanos());
    let committed_ns = outcome.timings.committed_ns;
    committed_ns == 0 || committed_ns > observed_ns.saturating_sub(MAX_CLOCK_SKEW_NS)
}
