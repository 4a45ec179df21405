//! Outcomes: what the embedder says became of events.

use lookalike_bus::StreamPosition;
use lookalike_proto::{Generation, Outcome, State as Became};

use super::observe::send;
use super::{Keeper, Now};
use crate::catalog::{self, Row, State};
use crate::metrics;

impl Keeper {
    /// Applies a library's outcomes, in their order, and keeps how far they were read.
    pub(super) fn apply_outcomes(
        &mut self,
        library: usize,
        outcomes: &[(StreamPosition, Outcome)],
        now: Now,
    ) -> Result<(), catalog::Error> {
        for (_, outcome) in outcomes {
            if let Some(row) = self.catalog.by_id(&outcome.image_id)? {
                self.apply(library, row, outcome, now)?;
            }
        }
        if let Some((position, _)) = outcomes.last() {
            self.catalog
                .set_outcomes_read(self.libraries[library].key, position)?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        library: usize,
        mut row: Row,
        outcome: &Outcome,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let generation = outcome.generation;
        if row.in_flight == generation {
            row.in_flight = Generation::NONE;
        }
        if generation < row.confirmed {
            // A slow worker did an old event after a newer one was answered: whatever it wrote
            // is overwritten by sending the image again.
            tracing::info!(image = %row.id, "an old event was done late, sending the image again");
            let (state, code, detail) = (row.state, row.code.clone(), row.detail.clone());
            send(&mut row, now);
            if state == State::Ignored {
                (row.state, row.code, row.detail) = (state, code, detail);
            }
            return self.catalog.update(&row);
        }
        let is_repeated = generation == row.confirmed;
        row.confirmed = generation;
        if generation != row.generation || is_repeated {
            // Something newer was observed since and is yet to be answered.
            return self.catalog.update(&row);
        }
        row.unsent = false;
        row.since_ns = now.nanos();
        match &outcome.state {
            Became::Indexed => {
                row.state = State::Indexed;
                row.content_hash = outcome.content_hash;
                row.retries = 0;
                let waited = (now.nanos() - row.observed_ns) as f64 / 1e9;
                metrics::FILE_TO_SEARCHABLE.observe(waited.max(0.0));
            }
            Became::Failed { code, detail } => {
                let path = String::from_utf8_lossy(&row.path()).into_owned();
                tracing::info!(image = %row.id, path, code, detail, "a file can't be indexed");
                row.state = State::Failed;
                row.code.clone_from(code);
                row.detail.clone_from(detail);
                row.content_hash = outcome.content_hash;
                metrics::FAILURES
                    .with_label_values(&[metrics::known_code(code)])
                    .inc();
            }
            Became::Removed if row.present => {} // It became ignored, and is out of the index now.
            Became::Removed => {
                self.libraries[library].settled.add(1, now.mono);
                return self.catalog.delete(&row.id);
            }
            Became::Superseded { detail } => return self.look_again(row, detail, now),
        }
        self.libraries[library].settled.add(1, now.mono);
        self.catalog.update(&row)
    }

    /// The embedder saw something else than the event told. Usually the watcher will see it too;
    /// where it does not (a cache of a network mount), the event is sent again, later each time.
    fn look_again(&mut self, mut row: Row, detail: &str, now: Now) -> Result<(), catalog::Error> {
        tracing::debug!(image = %row.id, detail, "the disk shows something else by now, looking again");
        if row.present || row.removing {
            let retries = row.retries + 1;
            send(&mut row, now);
            row.retries = retries;
            row.not_before_ns = now.nanos() + (250_000_000_i64 << retries.min(8));
        }
        self.catalog.update(&row)?;
        match self
            .libraries
            .iter()
            .position(|held| held.key == row.library)
        {
            Some(holder) => self.observe(holder, &row.path(), false, now),
            None => Ok(()),
        }
    }
}
