//! Tracks in-flight deliveries, from arrival to acknowledgement, to extend their ack deadlines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use lookalike_bus::Delivery;
use lookalike_proto::{Outcome, OutcomeState, Timings};
use tokio::sync::OwnedSemaphorePermit;

/// One event in flight. Dropping it releases its permit.
pub struct InFlightEvent {
    pub delivery: Delivery,
    /// When each step was done.
    pub timings: Mutex<Timings>,
    has_outcome: AtomicBool,
    number: u64,
    in_flight: Arc<InFlight>,
    _permit: OwnedSemaphorePermit,
}

impl InFlightEvent {
    /// Records that the outcome of this event is stored.
    pub fn mark_outcome_stored(&self) {
        self.has_outcome.store(true, Ordering::Relaxed);
    }

    /// Returns whether the outcome of this event is stored.
    pub fn has_outcome(&self) -> bool {
        self.has_outcome.load(Ordering::Relaxed)
    }

    /// Builds an outcome with what the event itself determines; the caller adds the rest.
    pub fn build_outcome(&self, state: OutcomeState) -> Outcome {
        let event = &self.delivery.event;
        Outcome {
            image_id: event.image_id,
            library: event.library.clone(),
            generation: event.generation,
            state,
            content_hash: None,
            model: String::new(),
            attributes: None,
            timings: *self.timings.lock().expect("no holder of this lock panics"),
            deliveries: self.delivery.deliveries,
            reused: false,
        }
    }
}

impl Drop for InFlightEvent {
    fn drop(&mut self) {
        self.in_flight.lock_events().remove(&self.number);
    }
}

/// Events by number, with their time of arrival.
type EventsByNumber = HashMap<u64, (Instant, Weak<InFlightEvent>)>;

/// All events in flight.
#[derive(Default)]
pub struct InFlight {
    next_number: AtomicU64,
    events: Mutex<EventsByNumber>,
}

impl InFlight {
    fn lock_events(&self) -> MutexGuard<'_, EventsByNumber> {
        self.events
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Starts tracking a delivery; `permit` is held until the event is dropped.
    pub fn track_delivery(
        self: &Arc<Self>,
        delivery: Delivery,
        permit: OwnedSemaphorePermit,
    ) -> Arc<InFlightEvent> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let timings = Timings {
            received_ns: delivery.received_ns,
            ..Default::default()
        };
        let event = Arc::new(InFlightEvent {
            delivery,
            timings: Mutex::new(timings),
            has_outcome: AtomicBool::new(false),
            number,
            in_flight: self.clone(),
            _permit: permit,
        });
        self.lock_events()
            .insert(number, (Instant::now(), Arc::downgrade(&event)));
        event
    }

    pub fn len(&self) -> usize {
        self.lock_events().len()
    }

    /// Returns the events that are in flight now.
    pub fn list_events(&self) -> Vec<Arc<InFlightEvent>> {
        let events = self.lock_events();
        events
            .values()
            .filter_map(|(_, event)| event.upgrade())
            .collect()
    }

    /// Extends the ack deadline of every event that has been in flight for `min_age` or longer.
    pub async fn extend_ack_deadlines(&self, min_age: Duration) {
        let events: Vec<_> = self
            .lock_events()
            .values()
            .filter(|(since, _)| since.elapsed() >= min_age)
            .filter_map(|(_, event)| event.upgrade())
            .collect();
        for event in events {
            event.delivery.extend_ack_deadline().await;
        }
    }
}
