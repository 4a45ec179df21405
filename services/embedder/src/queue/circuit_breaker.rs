//! The circuit breaker between the queue and Milvus: while Milvus takes no writes, nothing more is
//! taken from the queue. What is held waits, and JetStream is told that it is held, so that an
//! outage of an hour costs no redelivery and fills no memory.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether events are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CircuitState {
    /// As many as there is room for.
    Closed,
    /// None.
    Open,
    /// One, to see whether its row can be written; more while nothing is to be written for those
    /// that came.
    HalfOpen,
}

/// What is known of Milvus, as a state that only its own methods change.
#[derive(Debug)]
struct Circuit {
    state: CircuitState,
    failures_to_open: u32,
    failed_writes: u32,
    failed_reads: u32,
    /// How many may be in hand while it is half-open.
    half_open_limit: usize,
}

impl Circuit {
    fn record_write_failure(&mut self) {
        self.failed_writes = self.failed_writes.saturating_add(1);
        if self.failed_writes >= self.failures_to_open || self.state == CircuitState::HalfOpen {
            self.state = CircuitState::Open;
        }
    }

    fn record_read_failure(&mut self) {
        self.failed_reads = self.failed_reads.saturating_add(1);
        if self.failed_reads >= self.failures_to_open {
            self.state = CircuitState::Open;
        }
    }

    /// Milvus answers questions, which does not say that it takes writes.
    fn record_read(&mut self) {
        self.failed_reads = 0;
        if self.state == CircuitState::Open {
            self.state = CircuitState::HalfOpen;
            self.half_open_limit = 1;
        }
    }

    /// Events were done that needed no write, so that it is still not known.
    fn record_no_write(&mut self) {
        if self.state == CircuitState::HalfOpen {
            self.half_open_limit = self.half_open_limit.saturating_mul(2);
        }
    }

    fn record_write(&mut self) {
        (self.failed_writes, self.failed_reads) = (0, 0);
        self.state = CircuitState::Closed;
    }

    /// How many of `permits` events may be taken in while `in_flight` are in hand.
    fn allowed_events(&self, permits: usize, in_flight: usize) -> usize {
        match self.state {
            CircuitState::Closed => permits,
            CircuitState::HalfOpen => permits.min(self.half_open_limit.saturating_sub(in_flight)),
            CircuitState::Open => 0,
        }
    }
}

/// The circuit, shared by whoever asks Milvus.
pub struct CircuitBreaker {
    circuit: Mutex<Circuit>,
    changed: Notify,
}

impl CircuitBreaker {
    /// Closed; `failures_to_open` calls that fail one after another open it.
    pub fn new(failures_to_open: u32) -> Self {
        Self {
            circuit: Mutex::new(Circuit {
                state: CircuitState::Closed,
                failures_to_open: failures_to_open.max(1),
                failed_writes: 0,
                failed_reads: 0,
                half_open_limit: 1,
            }),
            changed: Notify::new(),
        }
    }

    fn lock_circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn update_circuit(&self, change: impl FnOnce(&mut Circuit)) {
        let (before, after) = {
            let mut circuit = self.lock_circuit();
            let before = (circuit.state, circuit.half_open_limit);
            change(&mut circuit);
            (before, (circuit.state, circuit.half_open_limit))
        };
        if before == after {
            return;
        }
        match after.0 {
            CircuitState::Open if before.0 == CircuitState::Closed => {
                tracing::warn!("Milvus does not take writes: no more events are taken in");
            }
            CircuitState::Closed if before.0 != CircuitState::Closed => {
                tracing::info!("Milvus takes writes again: events are taken in")
            }
            _ => tracing::debug!(?before, ?after, "the circuit to Milvus changed"),
        }
        self.changed.notify_waiters();
    }

    /// A write failed, in a way that may pass.
    pub fn record_write_failure(&self) {
        self.update_circuit(Circuit::record_write_failure);
    }

    /// A question failed, in a way that may pass.
    pub fn record_read_failure(&self) {
        self.update_circuit(Circuit::record_read_failure);
    }

    /// A question was answered.
    pub fn record_read(&self) {
        self.update_circuit(Circuit::record_read);
    }

    /// Events were done for which nothing is to be written.
    pub fn record_no_write(&self) {
        self.update_circuit(Circuit::record_no_write);
    }

    /// A write went well.
    pub fn record_write(&self) {
        self.update_circuit(Circuit::record_write);
    }

    /// How many of `permits` events may be taken in while `in_flight` are in hand.
    pub fn allowed_events(&self, permits: usize, in_flight: usize) -> usize {
        self.lock_circuit().allowed_events(permits, in_flight)
    }

    /// The next change of what is admitted, from this call on.
    pub fn next_change(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps as letters: `w` a write went well, `W` it failed, `r` a question was answered, `R` it
    /// failed, `n` an event needed no write. Then: how many of 10 may be taken in with an empty hand, and with a full one.
    #[track_caller]
    fn check_steps(steps: &str, empty: usize, full: usize) {
        let breaker = CircuitBreaker::new(3);
        for step in steps.chars() {
            match step {
                'w' => breaker.record_write(),
                'W' => breaker.record_write_failure(),
                'r' => breaker.record_read(),
                'R' => breaker.record_read_failure(),
                'n' => breaker.record_no_write(),
                _ => unreachable!("no such step"),
            }
        }
        let admits = (
            breaker.allowed_events(10, 0),
            breaker.allowed_events(10, 192),
        );
        assert_eq!(admits, (empty, full), "{steps}");
    }

    #[test]
    fn opens_after_failures_and_closes_by_a_write() {
        check_steps("", 10, 10);
        check_steps("WW", 10, 10);
        check_steps("WWW", 0, 0);
        check_steps("WWWWWW", 0, 0);
        check_steps("WWWw", 10, 10);
        check_steps("WWwWW", 10, 10);
        // Look-ups may be all that is tried.
        check_steps("RRR", 0, 0);
        check_steps("RRrRR", 10, 10);
        // Milvus answers, and refuses writes (its disk is full): look-ups don't hide it.
        check_steps("WrWrW", 0, 0);
    }

    #[test]
    fn an_answer_lets_one_event_through_and_its_write_decides() {
        check_steps("WWWr", 1, 0);
        check_steps("WWWrW", 0, 0);
        check_steps("WWWrWr", 1, 0);
        check_steps("WWWrw", 10, 10);
        check_steps("WWWrw WWW".replace(' ', "").as_str(), 0, 0);
        check_steps("RRRrw", 10, 10);
        // A single failure after it closed again does not open it.
        check_steps("WWWrwW", 10, 10);
    }

    #[test]
    fn events_that_need_no_write_let_more_through_until_one_does() {
        check_steps("WWWrn", 2, 0);
        check_steps("WWWrnnn", 8, 0);
        check_steps("WWWrnnnn", 10, 0);
        check_steps("WWWrnnnnnnnn", 10, 10);
        check_steps("WWWrnnnnW", 0, 0);
        check_steps("WWWrnnnnWr", 1, 0);
        check_steps("WWWrnnw", 10, 10);
        check_steps("n", 10, 10);
        check_steps("WWWn", 0, 0);
        check_steps("WWWnr", 1, 0);
    }

    #[tokio::test]
    async fn a_change_wakes_who_waits() {
        let breaker = CircuitBreaker::new(1);
        let changes: [fn(&CircuitBreaker); 4] = [
            CircuitBreaker::record_write_failure,
            CircuitBreaker::record_read,
            CircuitBreaker::record_no_write,
            CircuitBreaker::record_write,
        ];
        for change in changes {
            // Also one that comes before anybody polls.
            let changed = breaker.next_change();
            change(&breaker);
            changed.await;
        }
        let changed = breaker.next_change();
        tokio::pin!(changed);
        tokio::select! {
            biased;
            () = &mut changed => unreachable!("nothing changed"),
            () = std::future::ready(()) => {}
        }
    }
}
