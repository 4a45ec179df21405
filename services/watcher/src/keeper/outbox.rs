//! The outbox: events to publish, and what became of their publishing.

use lookalike_bus::StreamPosition;
use lookalike_proto::{FileEvent, FileEventKind, Generation, ImageId, RelativePath};

use crate::catalog::{self, CatalogRow};
use crate::inbox::{EventDisposition, OverdueEvent, PublishReport};
use crate::keeper::{Keeper, Now};

impl Keeper {
    /// How many more events may be under way.
    pub(crate) fn remaining_in_flight(&self) -> Result<usize, catalog::Error> {
        // Nobody answers here for libraries that another watcher holds.
        let held = (self.active_keys.len() < self.libraries.len()).then_some(&self.active_keys[..]);
        let under_way = self.catalog.count_in_flight(held)?;
        Ok(self.settings.max_in_flight.saturating_sub(under_way))
    }

    pub(crate) fn sendable_rows(
        &self,
        now: Now,
        limit: usize,
    ) -> Result<Vec<CatalogRow>, catalog::Error> {
        self.catalog
            .outbox_rows(&self.active_keys, now.wall_nanos(), limit)
    }

    /// Events to publish; from now on they are under way.
    pub(crate) fn take_events(
        &mut self,
        limit: usize,
        now: Now,
    ) -> Result<Vec<FileEvent>, catalog::Error> {
        let limit = limit.min(self.remaining_in_flight()?);
        let mut events = Vec::new();
        for mut row in self.sendable_rows(now, limit)? {
            let position = self.libraries.iter().position(|l| l.key == row.library);
            let library = position.expect("only rows of held libraries are asked for");
            let path = String::from_utf8(row.path())
                .ok()
                .and_then(|p| RelativePath::new(p).ok());
            let Some(path) = path else {
                // Only files with a usable name are ever to be sent.
                debug_assert!(false, "a row without a usable path is to be sent");
                row.is_unsent = false;
                self.catalog.update_row(&row)?;
                continue;
            };
            let kind = if row.is_present && !row.state.is_excluded() {
                FileEventKind::Put
            } else {
                FileEventKind::Remove
            };
            // The embedder removes nothing whose very file it sees. Where the watcher knows that
            // what lies there is not this image, no file may count as it.
            let (size, mtime_ns) =
                if kind == FileEventKind::Remove && self.is_replaced_on_disk(&row, now)? {
                    (u64::MAX, 0)
                } else {
                    (row.stat.size, row.stat.mtime_ns)
                };
            row.attempt += 1;
            row.was_sent = true;
            row.is_unsent = false;
            row.in_flight = row.generation;
            row.sent_ns = now.wall_nanos();
            row.stream_created_ns = 0;
            row.stream_sequence = 0;
            events.push(FileEvent {
                image_id: row.id,
                library: self.libraries[library].name.clone(),
                path,
                kind,
                generation: row.generation,
                attempt: row.attempt,
                size,
                mtime_ns,
                observed_at_ns: row.observed_ns,
            });
            self.catalog.update_row(&row)?;
        }
        Ok(events)
    }

    /// Whether something is known to lie where an image that is to be removed lay (or lies, and
    /// is ignored): another image, or what only a link leads to.
    pub(crate) fn is_replaced_on_disk(
        &mut self,
        row: &CatalogRow,
        now: Now,
    ) -> Result<bool, catalog::Error> {
        if row.is_present {
            return Ok(true);
        }
        if self
            .catalog
            .file_at(row.library, &row.dir, &row.name)?
            .is_some()
        {
            return Ok(true);
        }
        let Some(library) = self.libraries.iter().position(|l| l.key == row.library) else {
            return Ok(false);
        };
        if self.rules_if_entered(library, &row.dir, now).is_none() {
            return Ok(self.is_root_present(library)); // Whatever lies there, it is ignored.
        }
        Ok(
            matches!(self.stat_below_root(library, &row.path()), Ok(None))
                && self.is_root_present(library),
        )
    }

    pub(crate) fn record_published(
        &mut self,
        published: &PublishReport,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let Some(mut row) = self.catalog.row_by_id(&published.image_id)? else {
            return Ok(());
        };
        if row.in_flight != published.generation {
            return Ok(()); // Its outcome came first.
        }
        match &published.stored_at {
            Some(position) => {
                row.stream_created_ns = position.stream_created_ns;
                row.stream_sequence = position.sequence;
                crate::metrics::EVENTS_PUBLISHED.inc();
            }
            None => {
                row.in_flight = Generation::NONE;
                row.is_unsent = row.is_sendable();
                row.send_after_ns = now.wall_nanos() + 200_000_000;
            }
        }
        self.catalog.update_row(&row)
    }

    /// Events without an answer since before `before_ns`.
    pub(crate) fn overdue_events(
        &self,
        before_ns: i64,
        limit: usize,
        now: Now,
    ) -> Result<Vec<OverdueEvent>, catalog::Error> {
        let rows = self
            .catalog
            .overdue_rows(before_ns, now.wall_nanos(), limit)?;
        let overdue = rows.into_iter().map(|row| OverdueEvent {
            image_id: row.id,
            generation: row.in_flight,
            position: StreamPosition {
                stream_created_ns: row.stream_created_ns,
                sequence: row.stream_sequence,
            },
        });
        Ok(overdue.collect())
    }

    /// What was found out about an overdue event: one that waits is given time, one that was
    /// lost is sent again.
    pub(crate) fn resolve_overdue(
        &mut self,
        id: &ImageId,
        generation: Generation,
        fate: EventDisposition,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let Some(mut row) = self.catalog.row_by_id(id)? else {
            return Ok(());
        };
        if row.in_flight != generation {
            return Ok(());
        }
        match fate {
            EventDisposition::Pending => row.sent_ns = now.wall_nanos(),
            EventDisposition::Lost => {
                tracing::info!(image = %id, "an event was lost, sending it again");
                row.in_flight = Generation::NONE;
                row.is_unsent = row.is_sendable();
            }
        }
        self.catalog.update_row(&row)
    }
}
