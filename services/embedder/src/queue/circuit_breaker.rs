//! The circuit breaker between the queue and Milvus: while Milvus rejects writes, no more events
//! are taken from the queue.
//!
//! Events in flight wait, and their ack deadlines are extended. So an outage of an hour causes no
//! redelivery and fills no memory.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How many events may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CircuitState {
    /// As many as there are permits.
    Closed,
    Open,
    /// One, to try whether its row can be written. The number doubles while the events taken need
    /// no write.
    HalfOpen,
}

/// The state of Milvus as its answers show it.
#[derive(Debug)]
struct Circuit {
    state: CircuitState,
    failures_to_open: u32,
    failed_writes: u32,
    failed_reads: u32,
    /// Events that may be in flight while the circuit is half-open.
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

    /// A successful read does not prove that Milvus accepts writes.
    fn record_read(&mut self) {
        self.failed_reads = 0;
        if self.state == CircuitState::Open {
            self.state = CircuitState::HalfOpen;
            self.half_open_limit = 1;
        }
    }

    /// Events without a write do not show whether Milvus accepts writes, so twice as many may be
    /// taken.
    fn record_no_write(&mut self) {
        if self.state == CircuitState::HalfOpen {
            self.half_open_limit = self.half_open_limit.saturating_mul(2);
        }
    }

    fn record_write(&mut self) {
        (self.failed_writes, self.failed_reads) = (0, 0);
        self.state = CircuitState::Closed;
    }

    fn allowed_events(&self, permits: usize, in_flight: usize) -> usize {
        match self.state {
            CircuitState::Closed => permits,
            CircuitState::HalfOpen => permits.min(self.half_open_limit.saturating_sub(in_flight)),
            CircuitState::Open => 0,
        }
    }
}

/// The circuit, shared by everything that calls Milvus.
pub struct CircuitBreaker {
    circuit: Mutex<Circuit>,
    changed: Notify,
}

impl CircuitBreaker {
    /// Creates a closed circuit; `failures_to_open` consecutive failures open it.
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
                tracing::warn!(
                    "Milvus is unreachable or rejects writes; pausing the intake of events until \
                     it recovers"
                );
            }
            CircuitState::Closed if before.0 != CircuitState::Closed => {
                tracing::info!("Milvus accepts writes again: taking events")
            }
            _ => tracing::debug!(?before, ?after, "the circuit to Milvus changed"),
        }
        self.changed.notify_waiters();
    }

    /// Records a write that failed with a transient error.
    pub fn record_write_failure(&self) {
        self.update_circuit(Circuit::record_write_failure);
    }

    /// Records a read that failed with a transient error.
    pub fn record_read_failure(&self) {
        self.update_circuit(Circuit::record_read_failure);
    }

    /// Records a successful read.
    pub fn record_read(&self) {
        self.update_circuit(Circuit::record_read);
    }

    /// Records events that were completed without a write.
    pub fn record_no_write(&self) {
        self.update_circuit(Circuit::record_no_write);
    }

    /// Records a successful write.
    pub fn record_write(&self) {
        self.update_circuit(Circuit::record_write);
    }

    /// Returns how many of `permits` events may be taken while `in_flight` events are in flight.
    pub fn allowed_events(&self, permits: usize, in_flight: usize) -> usize {
        self.lock_circuit().allowed_events(permits, in_flight)
    }

    /// Completes at the next change of the state after this call.
    pub fn next_change(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks how many of 10 events may be taken after these steps, with no event in flight and
    /// with very many. Steps are letters: `w` a write succeeded, `W` a write failed, `r` a read
    /// succeeded, `R` a read failed, `n` an event needed no write.
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
        // Lookups may be the only calls.
        check_steps("RRR", 0, 0);
        check_steps("RRrRR", 10, 10);
        // Milvus answers reads and rejects writes (its disk is full): reads must not hide that.
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
    async fn a_change_wakes_waiting_tasks() {
        let breaker = CircuitBreaker::new(1);
        let changes: [fn(&CircuitBreaker); 4] = [
            CircuitBreaker::record_write_failure,
            CircuitBreaker::record_read,
            CircuitBreaker::record_no_write,
            CircuitBreaker::record_write,
        ];
        for change in changes {
            // Also a change that comes before the first poll.
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
