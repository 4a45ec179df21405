//! What the worker holds: every delivery from its arrival to its acknowledgement, so that
//! JetStream can be told that the work goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::Delivery;
use lookalike_proto::{Outcome, OutcomeState};
use tokio::sync::OwnedSemaphorePermit;

/// One delivery in hand. Dropping it makes room for another one.
pub struct InFlightEvent {
    /// The delivery.
    pub delivery: Delivery,
    /// When the steps were done.
    pub timings: Mutex<lookalike_proto::Timings>,
    has_outcome: AtomicBool,
    number: u64,
    in_flight: Arc<InFlight>,
    _permit: OwnedSemaphorePermit,
}

impl InFlightEvent {
    /// Its outcome is stored.
    pub fn mark_outcome_stored(&self) {
        self.has_outcome.store(true, Ordering::Relaxed);
    }

    /// Whether its outcome is stored.
    pub fn has_outcome(&self) -> bool {
        self.has_outcome.load(Ordering::Relaxed)
    }

    /// An outcome for it; the rest of it is for the caller to fill in.
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

/// Everything in hand.
#[derive(Default)]
pub struct InFlight {
    next_number: AtomicU64,
    events: Mutex<HashMap<u64, (Instant, std::sync::Weak<InFlightEvent>)>>,
}

impl InFlight {
    fn lock_events(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<u64, (Instant, std::sync::Weak<InFlightEvent>)>> {
        self.events
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Takes a delivery in hand.
    pub fn track_delivery(
        self: &Arc<Self>,
        delivery: Delivery,
        permit: OwnedSemaphorePermit,
    ) -> Arc<InFlightEvent> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let timings = lookalike_proto::Timings {
            received_ns: delivery.received_ns,
            ..Default::default()
        };
        let held = Arc::new(InFlightEvent {
            delivery,
            timings: Mutex::new(timings),
            has_outcome: AtomicBool::new(false),
            number,
            in_flight: self.clone(),
            _permit: permit,
        });
        self.lock_events()
            .insert(number, (Instant::now(), Arc::downgrade(&held)));
        held
    }

    /// How much is in hand.
    pub fn len(&self) -> usize {
        self.lock_events().len()
    }

    /// Everything in hand now.
    pub fn list_events(&self) -> Vec<Arc<InFlightEvent>> {
        let held = self.lock_events();
        held.values()
            .filter_map(|(_, held)| held.upgrade())
            .collect()
    }

    /// Says of everything that has been held for `min_age` or more that the work goes on.
    pub async fn extend_ack_deadlines(&self, min_age: Duration) {
        let old: Vec<_> = self
            .lock_events()
            .values()
            .filter(|(since, _)| since.elapsed() >= min_age)
            .filter_map(|(_, held)| held.upgrade())
            .collect();
        for held in old {
            held.delivery.extend_ack_deadline().await;
        }
    }
}
