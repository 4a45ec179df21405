//! The outbox: events to publish, and what became of their publishing.

use lookalike_bus::StreamPosition;
use lookalike_proto::{FileEvent, Generation, ImageId, Kind, RelativePath};

use super::{Keeper, Now};
use crate::catalog::{self, Row};
use crate::inbox::{Fate, Overdue, Published};

impl Keeper {
    /// How many more events may be under way.
    pub(super) fn room(&self) -> Result<usize, catalog::Error> {
        // Nobody answers here for libraries that another watcher holds.
        let held = (self.keys.len() < self.libraries.len()).then_some(&self.keys[..]);
        let under_way = self.catalog.in_flight(held)?;
        Ok(self.settings.max_in_flight.saturating_sub(under_way))
    }

    pub(super) fn to_send(&self, now: Now, limit: usize) -> Result<Vec<Row>, catalog::Error> {
        self.catalog.outbox(&self.keys, now.nanos(), limit)
    }

    /// Events to publish; from now on they are under way.
    pub(super) fn hand_out(
        &mut self,
        limit: usize,
        now: Now,
    ) -> Result<Vec<FileEvent>, catalog::Error> {
        let limit = limit.min(self.room()?);
        let mut events = Vec::new();
        for mut row in self.to_send(now, limit)? {
            let position = self.libraries.iter().position(|l| l.key == row.library);
            let library = position.expect("only rows of held libraries are asked for");
            let path = String::from_utf8(row.path())
                .ok()
                .and_then(|p| RelativePath::new(p).ok());
            let Some(path) = path else {
                // Only files with a usable name are ever to be sent.
                debug_assert!(false, "a row without a usable path is to be sent");
                row.unsent = false;
                self.catalog.update(&row)?;
                continue;
            };
            let kind = if row.present && !row.state.is_left_out() {
                Kind::Put
            } else {
                Kind::Remove
            };
            // The embedder removes nothing whose very file it sees. Where the watcher knows that
            // what lies there is not this image, no file may count as it.
            let (size, mtime_ns) =
                if kind == Kind::Remove && self.is_not_what_lies_there(&row, now)? {
                    (u64::MAX, 0)
                } else {
                    (row.facts.size, row.facts.mtime_ns)
                };
            row.attempt += 1;
            row.told = true;
            row.unsent = false;
            row.in_flight = row.generation;
            row.sent_ns = now.nanos();
            row.sent_created = 0;
            row.sent_sequence = 0;
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
            self.catalog.update(&row)?;
        }
        Ok(events)
    }

    /// Whether something is known to lie where an image that is to be removed lay (or lies, and
    /// is ignored): another image, or what only a link leads to.
    fn is_not_what_lies_there(&mut self, row: &Row, now: Now) -> Result<bool, catalog::Error> {
        if row.present {
            return Ok(true);
        }
        if self.catalog.at(row.library, &row.dir, &row.name)?.is_some() {
            return Ok(true);
        }
        let Some(library) = self.libraries.iter().position(|l| l.key == row.library) else {
            return Ok(false);
        };
        if self.enters(library, &row.dir, now).is_none() {
            return Ok(self.root_is_there(library)); // Whatever lies there, it is ignored.
        }
        Ok(matches!(self.look(library, &row.path()), Ok(None)) && self.root_is_there(library))
    }

    pub(super) fn note_published(
        &mut self,
        published: &Published,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let Some(mut row) = self.catalog.by_id(&published.image_id)? else {
            return Ok(());
        };
        if row.in_flight != published.generation {
            return Ok(()); // Its outcome came first.
        }
        match &published.stored {
            Some(position) => {
                row.sent_created = position.stream_created_ns;
                row.sent_sequence = position.sequence;
                crate::metrics::EVENTS_PUBLISHED.inc();
            }
            None => {
                row.in_flight = Generation::NONE;
                row.unsent = row.is_to_be_told();
                row.not_before_ns = now.nanos() + 200_000_000;
            }
        }
        self.catalog.update(&row)
    }

    /// Events without an answer since before `before_ns`.
    pub(super) fn overdue(
        &self,
        before_ns: i64,
        limit: usize,
        now: Now,
    ) -> Result<Vec<Overdue>, catalog::Error> {
        let rows = self.catalog.overdue(before_ns, now.nanos(), limit)?;
        let overdue = rows.into_iter().map(|row| Overdue {
            image_id: row.id,
            generation: row.in_flight,
            position: StreamPosition {
                stream_created_ns: row.sent_created,
                sequence: row.sent_sequence,
            },
        });
        Ok(overdue.collect())
    }

    /// What was found out about an overdue event: one that waits is given time, one that was
    /// lost is sent again.
    pub(super) fn note_checked(
        &mut self,
        id: &ImageId,
        generation: Generation,
        fate: Fate,
        now: Now,
    ) -> Result<(), catalog::Error> {
        let Some(mut row) = self.catalog.by_id(id)? else {
            return Ok(());
        };
        if row.in_flight != generation {
            return Ok(());
        }
        match fate {
            Fate::Waiting => row.sent_ns = now.nanos(),
            Fate::Lost => {
                tracing::info!(image = %id, "an event was lost, sending it again");
                row.in_flight = Generation::NONE;
                row.unsent = row.is_to_be_told();
            }
        }
        self.catalog.update(&row)
    }
}
