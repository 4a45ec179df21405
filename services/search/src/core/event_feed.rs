//! What happens to the index, as it happens: the source of `GET /v1/events`.
//!
//! One task follows the stream of outcomes and keeps the newest events in memory. Each reader has only
//! a place in that list, so a hundred readers cost little, and a slow one delays no other: once its
//! place is no longer in the list, it is dropped.
//!
//! | step | where |
//! |---|---|
//! | follow the stream of outcomes | [`follow`] |
//! | keep the newest events; let readers read and resume | [`EventFeed`], [`EventReader`] |

mod follow;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lookalike_bus::StreamPosition;
use lookalike_proto::OutcomeState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use follow::run_event_feed;

use crate::problem::{Code, Problem};

/// Events kept in memory, about 300 bytes each.
const MAX_EVENTS: usize = 10_000;

/// One outcome of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveEvent {
    pub position: StreamPosition,
    pub library: String,
    pub image_id: String,
    pub state: OutcomeState,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// Counts of all libraries together; `None` while they are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub on_disk: Option<u64>,
    pub indexed: Option<u64>,
    pub failed: Option<u64>,
    pub ignored: Option<u64>,
    pub in_flight: Option<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The service stops: readers end.
    is_closed: bool,
    events: VecDeque<Arc<LiveEvent>>,
    /// The number of events that were dropped from the front.
    dropped: u64,
    /// The position before the oldest event: readers may resume after it.
    before: Option<StreamPosition>,
}

impl Ring {
    fn end(&self) -> u64 {
        self.dropped + self.events.len() as u64
    }

    /// Returns the place after the event at `position`, if it is known.
    fn place_after(&self, position: &StreamPosition) -> Option<u64> {
        if self.before.as_ref() == Some(position) {
            return Some(self.dropped);
        }
        let at = self
            .events
            .iter()
            .rposition(|event| event.position == *position)?;
        Some(self.dropped + at as u64 + 1)
    }
}

/// The newest events and the readers' permits.
#[derive(Debug)]
pub(crate) struct EventFeed {
    ring: Mutex<Ring>,
    /// Changes with every event, and when the service stops.
    news: watch::Sender<u64>,
    progress: watch::Sender<Progress>,
    readers: Arc<Semaphore>,
    max_readers: usize,
    max_events: usize,
}

impl EventFeed {
    pub(crate) fn new(max_readers: usize) -> Self {
        Self::with_capacity(max_readers, MAX_EVENTS)
    }

    fn with_capacity(max_readers: usize, max_events: usize) -> Self {
        let max_readers = max_readers.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            ring: Mutex::default(),
            news: watch::channel(0).0,
            progress: watch::channel(Progress::default()).0,
            readers: Arc::new(Semaphore::new(max_readers)),
            max_readers,
            max_events,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the position after which events are known.
    fn start_after(&self, position: StreamPosition) {
        let mut ring = self.lock();
        ring.dropped = ring.end();
        ring.events.clear();
        ring.before = Some(position);
    }

    fn push(&self, event: LiveEvent) {
        let end = {
            let mut ring = self.lock();
            ring.events.push_back(Arc::new(event));
            if ring.events.len() > self.max_events
                && let Some(oldest) = ring.events.pop_front()
            {
                ring.dropped += 1;
                ring.before = Some(oldest.position.clone());
            }
            ring.end()
        };
        self.news.send_replace(end);
    }

    /// Lets all readers end.
    fn close(&self) {
        self.lock().is_closed = true;
        self.news.send_modify(|_| {});
    }

    fn set_progress(&self, progress: Progress) {
        self.progress.send_if_modified(|known| {
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    /// Starts to read after the event at `after`, or with the next event.
    ///
    /// # Errors
    /// If too many readers read already.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        after: Option<&StreamPosition>,
    ) -> Result<EventReader, Problem> {
        let permit = Arc::clone(&self.readers).try_acquire_owned().map_err(|_| {
            Problem::new(
                Code::Overloaded,
                format!(
                    "{} clients read events already (http.max_event_readers)",
                    self.max_readers
                ),
            )
        })?;
        let news = self.news.subscribe();
        let progress = self.progress.subscribe();
        let ring = self.lock();
        let place = match after {
            Some(position) => ring.place_after(position),
            None => Some(ring.end()),
        };
        Ok(EventReader {
            place: place.unwrap_or_else(|| ring.end()),
            has_gap: place.is_none(),
            feed: Arc::clone(self),
            news,
            progress,
            _permit: permit,
        })
    }
}

/// What a reader reads next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextEvent {
    Live(Arc<LiveEvent>),
    Progress(Progress),
    /// Events are missing before the next one, because the reader resumes after one that is no longer
    /// known.
    Gap,
    /// The reader fell too far behind. It reads nothing more.
    TooSlow,
    /// The service stops. Nothing follows.
    Closed,
}

/// One reader's place in the list of events.
#[derive(Debug)]
pub(crate) struct EventReader {
    feed: Arc<EventFeed>,
    /// The number of the next event since the start of the process.
    place: u64,
    has_gap: bool,
    news: watch::Receiver<u64>,
    progress: watch::Receiver<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl EventReader {
    /// Waits for the next event. The future may be dropped without losing one.
    pub(crate) async fn next(&mut self) -> NextEvent {
        if std::mem::take(&mut self.has_gap) {
            return NextEvent::Gap;
        }
        loop {
            // Before the look at the list, so that no event slips through between both.
            self.news.mark_unchanged();
            if let Some(next) = self.read_known() {
                return next;
            }
            tokio::select! {
                biased;
                _ = self.news.changed() => {}
                _ = self.progress.changed() => {
                    return NextEvent::Progress(*self.progress.borrow_and_update());
                }
            }
        }
    }

    fn read_known(&mut self) -> Option<NextEvent> {
        let ring = self.feed.lock();
        let Some(at) = self.place.checked_sub(ring.dropped) else {
            return Some(NextEvent::TooSlow);
        };
        match ring.events.get(usize::try_from(at).ok()?) {
            Some(event) => {
                self.place += 1;
                Some(NextEvent::Live(Arc::clone(event)))
            }
            None => ring.is_closed.then_some(NextEvent::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn position(sequence: u64) -> StreamPosition {
        StreamPosition {
            stream_created_ns: 1,
            sequence,
        }
    }

    fn event(sequence: u64) -> LiveEvent {
        LiveEvent {
            position: position(sequence),
            library: "shop".into(),
            image_id: "00".into(),
            state: OutcomeState::Indexed,
            at_ms: 0,
        }
    }

    /// A feed of at most three events, which holds the events 2, 3 and 4.
    fn full_feed() -> Arc<EventFeed> {
        let feed = Arc::new(EventFeed::with_capacity(4, 3));
        feed.start_after(position(0));
        for sequence in 1..=4 {
            feed.push(event(sequence));
        }
        feed
    }

    /// Reads what is there now: sequence numbers, 0 for a gap, and `None` for the end.
    async fn read_all(reader: &mut EventReader) -> Vec<Option<u64>> {
        let mut read = Vec::new();
        while let Ok(next) = tokio::time::timeout(Duration::from_millis(20), reader.next()).await {
            match next {
                NextEvent::Live(event) => read.push(Some(event.position.sequence)),
                NextEvent::Gap => read.push(Some(0)),
                NextEvent::Progress(_) => {}
                NextEvent::TooSlow | NextEvent::Closed => {
                    read.push(None);
                    break;
                }
            }
        }
        read
    }

    #[tokio::test]
    async fn readers_resume_where_they_stopped() {
        let feed = full_feed();
        for (after, expected) in [
            (None, &[][..]),
            (Some(4), &[]),
            (Some(3), &[Some(4)]),
            (Some(1), &[Some(2), Some(3), Some(4)]),
            // No longer known, from another stream, or from the future.
            (Some(0), &[Some(0)]),
            (Some(9), &[Some(0)]),
        ] {
            let after = after.map(position);
            let mut reader = feed.subscribe(after.as_ref()).unwrap();
            assert_eq!(read_all(&mut reader).await, expected, "{after:?}");
        }
        let other = StreamPosition {
            stream_created_ns: 2,
            sequence: 3,
        };
        let mut reader = feed.subscribe(Some(&other)).unwrap();
        assert_eq!(read_all(&mut reader).await, [Some(0)]);
    }

    #[tokio::test]
    async fn slow_readers_are_dropped_and_delay_no_other() {
        let feed = full_feed();
        let mut slow = feed.subscribe(Some(&position(1))).unwrap();
        let mut fast = feed.subscribe(None).unwrap();
        for sequence in 5..=7 {
            feed.push(event(sequence));
            assert_eq!(read_all(&mut fast).await, [Some(sequence)]);
        }
        assert_eq!(read_all(&mut slow).await, [None]);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_up() {
        let feed = full_feed();
        let mut reader = feed.subscribe(None).unwrap();
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        feed.push(event(5));
        assert_eq!(reading.await.unwrap(), NextEvent::Live(Arc::new(event(5))));
        let mut reader = feed.subscribe(None).unwrap();
        let known = Progress {
            indexed: Some(1),
            ..Progress::default()
        };
        feed.set_progress(known);
        assert_eq!(reader.next().await, NextEvent::Progress(known));
    }

    #[tokio::test]
    async fn readers_end_with_the_service() {
        let feed = full_feed();
        let mut reader = feed.subscribe(Some(&position(3))).unwrap();
        feed.close();
        assert_eq!(read_all(&mut reader).await, [Some(4), None]);
    }

    #[test]
    fn readers_are_limited() {
        let feed = full_feed();
        let readers: Vec<_> = (0..4).map(|_| feed.subscribe(None).unwrap()).collect();
        assert_eq!(feed.subscribe(None).unwrap_err().code, Code::Overloaded);
        drop(readers);
        assert!(feed.subscribe(None).is_ok());
    }
}
