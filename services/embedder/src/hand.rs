//! What the worker holds: every delivery from its arrival to its acknowledgement, so that
//! JetStream can be told that the work goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookalike_bus::Delivery;
use lookalike_proto::{Outcome, State};
use tokio::sync::OwnedSemaphorePermit;

/// One delivery in hand. Dropping it makes room for another one.
pub struct Held {
    /// The delivery.
    pub delivery: Delivery,
    /// When the steps were done.
    pub timings: Mutex<lookalike_proto::Timings>,
    is_answered: AtomicBool,
    number: u64,
    hand: Arc<Hand>,
    _room: OwnedSemaphorePermit,
}

impl Held {
    /// Its outcome is stored.
    pub fn note_answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// Whether its outcome is stored.
    pub fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// An outcome for it; the rest of it is for the caller to fill in.
    pub fn outcome(&self, state: State) -> Outcome {
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

impl Drop for Held {
    fn drop(&mut self) {
        self.hand.lock().remove(&self.number);
    }
}

/// Everything in hand.
#[derive(Default)]
pub struct Hand {
    next: AtomicU64,
    held: Mutex<HashMap<u64, (Instant, std::sync::Weak<Held>)>>,
}

impl Hand {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (Instant, std::sync::Weak<Held>)>> {
        self.held
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Takes a delivery in hand.
    pub fn take(self: &Arc<Self>, delivery: Delivery, room: OwnedSemaphorePermit) -> Arc<Held> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let timings = lookalike_proto::Timings {
            received_ns: delivery.received_ns,
            ..Default::default()
        };
        let held = Arc::new(Held {
            delivery,
            timings: Mutex::new(timings),
            is_answered: AtomicBool::new(false),
            number,
            hand: self.clone(),
            _room: room,
        });
        self.lock()
            .insert(number, (Instant::now(), Arc::downgrade(&held)));
        held
    }

    /// How much is in hand.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Everything in hand now.
    pub fn all(&self) -> Vec<Arc<Held>> {
        let held = self.lock();
        held.values()
            .filter_map(|(_, held)| held.upgrade())
            .collect()
    }

    /// Says of everything that has been held for `age` or more that the work goes on.
    pub async fn report_progress(&self, age: Duration) {
        let old: Vec<_> = self
            .lock()
            .values()
            .filter(|(since, _)| since.elapsed() >= age)
            .filter_map(|(_, held)| held.upgrade())
            .collect();
        for held in old {
            held.delivery.in_progress().await;
        }
    }
}
