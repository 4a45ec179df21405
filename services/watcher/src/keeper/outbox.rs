//! The outbox: events to publish, and how their publishing ended.
//!
//! Life of a deferred event: `defer_event` in `keeper/outcome.rs` handles the deferred outcome and
//! sets `send_after_ns`, with a delay that grows with each retry. `outbox_rows` in
//! `catalog/outbox.rs` returns the row when it is due. `tasks/relay.rs` publishes the event again.

use lookalike_bus::StreamPosition;
use lookalike_proto::{FileEvent, FileEventKind, Generation, ImageId, RelativePath};

use super::Keeper;
use crate::catalog::{self, CatalogRow};
use crate::clock::Now;
use crate::inbox::{EventDisposition, OverdueEvent, PublishReport};
use crate::library::Library;
use crate::library::tick::Tick;
use crate::metrics;

type Result<T> = std::result::Result<T, catalog::Error>;

/// How long after a failed publishing an event is sent again.
const REPUBLISH_DELAY_NS: i64 = 200_000_000;

impl Keeper {
    /// How many more events may be in flight.
    pub(super) fn remaining_in_flight(&self) -> Result<usize> {
        // Outcomes of libraries that another watcher holds do not arrive here.
        let keys = self.libraries.active_keys();
        let are_all_active = keys.len() == self.libraries.len();
        let keys = (!are_all_active).then_some(&keys[..]);
        let in_flight = self.catalog.count_in_flight(keys)?;
        Ok(self.settings.max_in_flight.saturating_sub(in_flight))
    }

    pub(super) fn sendable_rows(&self, now: Now, limit: usize) -> Result<Vec<CatalogRow>> {
        let keys = self.libraries.active_keys();
        self.catalog.outbox_rows(&keys, now.wall_nanos(), limit)
    }

    /// Returns events to publish. They count as in flight from now on.
    pub(super) fn take_events(&mut self, limit: usize, now: Now) -> Result<Vec<FileEvent>> {
        let limit = limit.min(self.remaining_in_flight()?);
        let rows = self.sendable_rows(now, limit)?;
        let (libraries, mut tick) = self.borrow_for_tick(now);
        let mut events = Vec::new();
        for row in rows {
            let library = libraries.library_of_row(&row);
            let library = library.expect("only rows of active libraries are sendable");
            events.extend(library.take_event(row, &mut tick)?);
        }
        Ok(events)
    }

    pub(super) fn record_published(&mut self, report: &PublishReport, now: Now) -> Result<()> {
        let (id, generation) = (&report.image_id, report.generation);
        if let Some(position) = &report.stored_at {
            // If its outcome arrived first, the event is not in flight any more.
            if self.catalog.store_position(id, generation, position)? {
                metrics::EVENTS_PUBLISHED.inc();
            }
            return Ok(());
        }
        let Some(mut row) = self.catalog.row_by_id(id)? else {
            return Ok(());
        };
        if row.in_flight != generation {
            return Ok(());
        }
        row.in_flight = Generation::NONE;
        row.is_unsent = row.is_sendable();
        row.send_after_ns = now.wall_nanos() + REPUBLISH_DELAY_NS;
        self.catalog.update_event(&row)
    }

    /// Lists events that were sent before `before_ns` and have no outcome.
    pub(super) fn overdue_events(
        &self,
        before_ns: i64,
        limit: usize,
        now: Now,
    ) -> Result<Vec<OverdueEvent>> {
        let rows = self
            .catalog
            .overdue_rows(before_ns, now.wall_nanos(), limit)?;
        let events = rows.into_iter().map(|row| OverdueEvent {
            image_id: row.id,
            generation: row.in_flight,
            position: StreamPosition {
                stream_created_ns: row.stream_created_ns,
                sequence: row.stream_sequence,
            },
        });
        Ok(events.collect())
    }

    /// Gives a pending event more time, and sends a lost one again.
    pub(super) fn resolve_overdue(
        &mut self,
        image_id: &ImageId,
        generation: Generation,
        disposition: EventDisposition,
        now: Now,
    ) -> Result<()> {
        let Some(mut row) = self.catalog.row_by_id(image_id)? else {
            return Ok(());
        };
        if row.in_flight != generation {
            return Ok(());
        }
        match disposition {
            EventDisposition::Pending => row.sent_ns = now.wall_nanos(),
            EventDisposition::Lost => {
                tracing::info!(image = %image_id, "an event was lost; sending it again");
                row.in_flight = Generation::NONE;
                row.is_unsent = row.is_sendable();
            }
        }
        self.catalog.update_event(&row)
    }
}

impl Library {
    /// Returns the event of a row, and marks it as in flight.
    fn take_event(
        &mut self,
        mut row: CatalogRow,
        tick: &mut Tick<'_>,
    ) -> Result<Option<FileEvent>> {
        let path = String::from_utf8(row.path()).ok();
        let path = path.and_then(|path| RelativePath::new(path).ok());
        let Some(path) = path else {
            debug_assert!(false, "files with an unusable path are ignored, not sent");
            row.is_unsent = false;
            tick.catalog.update_event(&row)?;
            return Ok(None);
        };
        let kind = if row.is_present && !row.state.is_excluded() {
            FileEventKind::Put
        } else {
            FileEventKind::Remove
        };
        // The embedder removes no image whose file it sees. If the watcher knows that the file at
        // the path is not this image, the event names a stat that no file has.
        let (size, mtime_ns) =
            if kind == FileEventKind::Remove && self.is_replaced_on_disk(&row, tick)? {
                (u64::MAX, 0)
            } else {
                (row.stat.size, row.stat.mtime_ns)
            };
        row.attempt += 1;
        row.was_sent = true;
        row.is_unsent = false;
        row.in_flight = row.generation;
        row.sent_ns = tick.now.wall_nanos();
        row.stream_created_ns = 0;
        row.stream_sequence = 0;
        tick.catalog.update_event(&row)?;
        Ok(Some(FileEvent {
            image_id: row.id,
            library: self.name.clone(),
            path,
            kind,
            generation: row.generation,
            attempt: row.attempt,
            size,
            mtime_ns,
            observed_at_ns: row.observed_ns,
        }))
    }

    /// Whether the path of an image to be removed is known to contain something else: another
    /// image, an ignored file, or what only a link leads to.
    fn is_replaced_on_disk(&mut self, row: &CatalogRow, tick: &mut Tick<'_>) -> Result<bool> {
        if row.is_present {
            return Ok(true);
        }
        let path = row.path();
        if self.row_at(&path, tick.catalog)?.is_some() {
            return Ok(true);
        }
        if self.rules_if_entered(&row.dir, tick).is_none() {
            return Ok(self.root.is_present()); // A file there is ignored.
        }
        Ok(matches!(self.root.stat_below(&path), Ok(None)) && self.root.is_present())
    }
}
