//! Outcomes: what the embedder says became of events.

use lookalike_bus::StreamPosition;
use lookalike_proto::{Generation, Outcome, OutcomeState as Became};

use crate::catalog::{self, CatalogRow, FileState};
use crate::disk::FileStat;
use crate::keeper::{Keeper, Now};
use crate::library::observe::begin_generation;
use crate::metrics;

impl Keeper {
    /// Applies a library's outcomes, in their order, and keeps how far they were read.
    pub(crate) fn apply_outcomes(
        &mut self,
        library: usize,
        outcomes: &[(StreamPosition, Outcome)],
        now: Now,
    ) -> Result<(), catalog::Error> {
        for (_, outcome) in outcomes {
            match self.catalog.row_by_id(&outcome.image_id)? {
                Some(row) => {
                    self.catalog.store_last_outcome(outcome, now.wall_nanos())?;
                    self.apply_outcome(library, row, outcome, now)?;
                }
                None => self.remove_unknown_image(library, outcome, now)?,
            }
        }
        if let Some((position, _)) = outcomes.last() {
            self.catalog
                .set_outcomes_read(self.libraries[library].key, position)?;
        }
        Ok(())
    }

    pub(crate) fn apply_outcome(
        &mut self,
        library: usize,
        mut row: CatalogRow,
        outcome: &Outcome,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let generation = outcome.generation;
        if let Became::Deferred { detail } = &outcome.state {
            return self.defer_event(row, generation, detail, now);
        }
        let newest = row.confirmed.max(row.in_flight);
        if row.in_flight == generation {
            row.in_flight = Generation::NONE;
        }
        if generation < newest {
            // A slow worker did an old event after a newer one was sent: whatever it wrote is
            // overwritten by sending the image again.
            if may_have_overwritten(outcome, newest, now) && row.is_sendable() {
                tracing::info!(image = %row.id, "an old event was done late, sending the image again");
                resend_row(&mut row, now);
            }
            return self.catalog.update_row(&row);
        }
        if generation > row.generation {
            // The catalog is older than what it watches over: it was lost or put back.
            row.generation = generation;
            row.confirmed = generation;
            if row.is_sendable() {
                resend_row(&mut row, now);
            }
            return self.catalog.update_row(&row);
        }
        let is_repeated = generation == row.confirmed;
        row.confirmed = generation;
        if generation != row.generation || is_repeated {
            // Something newer was observed since and is yet to be answered.
            return self.catalog.update_row(&row);
        }
        row.is_unsent = false;
        row.state_since_ns = now.wall_nanos();
        match &outcome.state {
            Became::Indexed => {
                row.state = FileState::Indexed;
                row.detail.clear();
                row.content_hash = outcome.content_hash;
                row.retries = 0;
                let waited = (now.wall_nanos() - row.observed_ns) as f64 / 1e9;
                metrics::FILE_TO_SEARCHABLE.observe(waited.max(0.0));
            }
            // A removal that ended so: there is no row, and no file to list.
            Became::Failed { .. } if !row.is_present => {
                self.libraries[library].throughput.add_events(1, now.mono);
                return self.catalog.delete_row(&row.id);
            }
            Became::Failed { code, detail } => {
                let path = String::from_utf8_lossy(&row.path()).into_owned();
                tracing::info!(image = %row.id, path, code, detail, "a file can't be indexed");
                row.state = FileState::Failed;
                row.code.clone_from(code);
                row.detail.clone_from(detail);
                row.content_hash = outcome.content_hash;
                metrics::FAILURES
                    .with_label_values(&[metrics::code_label(code)])
                    .inc();
            }
            Became::Removed if row.is_present => {} // It became ignored, and is out of the index now.
            Became::Removed => {
                self.libraries[library].throughput.add_events(1, now.mono);
                return self.catalog.delete_row(&row.id);
            }
            Became::Superseded { detail } => return self.resend_superseded(row, detail, now),
            Became::Deferred { .. } => unreachable!("answered above"),
        }
        self.libraries[library].throughput.add_events(1, now.mono);
        self.catalog.update_row(&row)
    }

    /// The embedder saw something else than the event told. Usually the watcher will see it too;
    /// where it does not (a cache of a network mount), the event is sent again, later each time.
    pub(crate) fn resend_superseded(
        &mut self,
        mut row: CatalogRow,
        detail: &str,
        now: Now,
    ) -> Result<(), catalog::Error> {
        tracing::debug!(image = %row.id, detail, "the disk shows something else by now, looking again");
        if row.is_sendable() {
            let retries = row.retries + 1;
            resend_row(&mut row, now);
            row.retries = retries;
            row.send_after_ns = retry_at_ns(retries, now);
        }
        self.catalog.update_row(&row)?;
        match self
            .libraries
            .iter()
            .position(|held| held.key == row.library)
        {
            Some(holder) => self.observe_path(holder, &row.path(), false, now),
            None => Ok(()),
        }
    }
}

impl Keeper {
    /// The worker could not do it at the moment: the same is sent again, later each time. Nothing
    /// is confirmed, and nothing was changed that would have to be put right.
    pub(crate) fn defer_event(
        &mut self,
        mut row: CatalogRow,
        generation: Generation,
        detail: &str,
        now: Now,
    ) -> Result<(), catalog::Error> {
        if row.in_flight != generation {
            return Ok(());
        }
        tracing::debug!(image = %row.id, detail, "an event was put off, sending it again later");
        row.in_flight = Generation::NONE;
        row.is_unsent = row.is_sendable();
        row.retries = row.retries.saturating_add(1);
        row.send_after_ns = retry_at_ns(row.retries, now);
        if row.state == FileState::InFlight {
            detail.clone_into(&mut row.detail);
        }
        self.catalog.update_row(&row)
    }
}

impl Keeper {
    /// A row was written for an image that was removed and forgotten: by a slow worker, so it is
    /// removed once more. Before everything was compared once, nothing is known to be unknown.
    pub(crate) fn remove_unknown_image(
        &mut self,
        library: usize,
        outcome: &Outcome,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let held = &self.libraries[library];
        // What was written before this watcher began was found in the index when it did.
        let before = held.active_since_ns.saturating_sub(MAX_CLOCK_SKEW_NS);
        let is_old = outcome.timings.committed_ns < before;
        if outcome.state != Became::Indexed || !held.is_fully_scanned || is_old {
            return Ok(());
        }
        tracing::info!(image = %outcome.image_id, "an unknown image was indexed, removing it");
        // Where it lay is forgotten too. Its id names no picture's file, so nothing lies there.
        let name = outcome.image_id.to_string();
        let mut row = self.new_row(library, name.as_bytes(), FileStat::default(), now)?;
        row.id = outcome.image_id;
        row.is_present = false;
        row.is_removing = true;
        row.was_sent = true;
        row.missing_since_ns = now.wall_nanos();
        row.generation = outcome.generation.max(row.generation);
        begin_generation(&mut row, now);
        self.catalog.insert_row(&row)
    }
}

/// When something that did not go well so often in a row is sent again: up to a minute later.
fn retry_at_ns(retries: u32, now: Now) -> i64 {
    now.wall_nanos() + (250_000_000_i64 << retries.min(8))
}

/// Sends what is known already once more: what is ignored stays so.
pub(crate) fn resend_row(row: &mut CatalogRow, now: Now) {
    let (state, code, detail) = (row.state, row.code.clone(), row.detail.clone());
    begin_generation(row, now);
    if state.is_excluded() {
        (row.state, row.code, row.detail) = (state, code, detail);
    }
}

/// How far the clocks of two machines may be apart.
const MAX_CLOCK_SKEW_NS: i64 = 60_000_000_000;

/// Whether the event that this outcome answers may have been carried out after the one of
/// `newer`. It was not if it was over before that one was observed, with room for clocks that
/// differ; so outcomes that are read again after the catalog was lost send nothing.
fn may_have_overwritten(outcome: &Outcome, newer: Generation, now: Now) -> bool {
    let observed_ns = i64::try_from(newer.get().saturating_mul(1000)).unwrap_or(i64::MAX);
    // Generations that were given while the clock was ahead go on from there.
    let observed_ns = observed_ns.min(now.wall_nanos());
    let over_ns = outcome.timings.committed_ns;
    over_ns == 0 || over_ns > observed_ns.saturating_sub(MAX_CLOCK_SKEW_NS)
}
