//! The circuit breaker between the queue and Milvus: while Milvus takes no writes, nothing more is
//! taken from the queue. What is held waits, and JetStream is told that it is held, so that an
//! outage of an hour costs no redelivery and fills no memory.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Whether events are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
    state: State,
    failures_to_open: u32,
    failed_writes: u32,
    failed_reads: u32,
    /// How many may be in hand while it is half-open.
    tried: usize,
}

impl Circuit {
    fn failed_write(&mut self) {
        self.failed_writes = self.failed_writes.saturating_add(1);
        if self.failed_writes >= self.failures_to_open || self.state == State::HalfOpen {
            self.state = State::Open;
        }
    }

    fn failed_read(&mut self) {
        self.failed_reads = self.failed_reads.saturating_add(1);
        if self.failed_reads >= self.failures_to_open {
            self.state = State::Open;
        }
    }

    /// Milvus answers questions, which does not say that it takes writes.
    fn answered(&mut self) {
        self.failed_reads = 0;
        if self.state == State::Open {
            self.state = State::HalfOpen;
            self.tried = 1;
        }
    }

    /// Events were done that needed no write, so that it is still not known.
    fn wrote_nothing(&mut self) {
        if self.state == State::HalfOpen {
            self.tried = self.tried.saturating_mul(2);
        }
    }

    fn wrote(&mut self) {
        (self.failed_writes, self.failed_reads) = (0, 0);
        self.state = State::Closed;
    }

    /// How many of `room` events may be taken in while `held` are in hand.
    fn admits(&self, room: usize, held: usize) -> usize {
        match self.state {
            State::Closed => room,
            State::HalfOpen => room.min(self.tried.saturating_sub(held)),
            State::Open => 0,
        }
    }
}

/// The circuit, shared by whoever asks Milvus.
pub struct Breaker {
    circuit: Mutex<Circuit>,
    changed: Notify,
}

impl Breaker {
    /// Closed; `failures_to_open` calls that fail one after another open it.
    pub fn new(failures_to_open: u32) -> Self {
        Self {
            circuit: Mutex::new(Circuit {
                state: State::Closed,
                failures_to_open: failures_to_open.max(1),
                failed_writes: 0,
                failed_reads: 0,
                tried: 1,
            }),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    fn change(&self, change: impl FnOnce(&mut Circuit)) {
        let (before, after) = {
            let mut circuit = self.lock();
            let before = (circuit.state, circuit.tried);
            change(&mut circuit);
            (before, (circuit.state, circuit.tried))
        };
        if before == after {
            return;
        }
        match after.0 {
            State::Open if before.0 == State::Closed => {
                tracing::warn!("Milvus does not take writes: no more events are taken in");
            }
            State::Closed if before.0 != State::Closed => {
                tracing::info!("Milvus takes writes again: events are taken in")
            }
            _ => tracing::debug!(?before, ?after, "the circuit to Milvus changed"),
        }
        self.changed.notify_waiters();
    }

    /// A write failed, in a way that may pass.
    pub fn failed_write(&self) {
        self.change(Circuit::failed_write);
    }

    /// A question failed, in a way that may pass.
    pub fn failed_read(&self) {
        self.change(Circuit::failed_read);
    }

    /// A question was answered.
    pub fn answered(&self) {
        self.change(Circuit::answered);
    }

    /// Events were done for which nothing is to be written.
    pub fn wrote_nothing(&self) {
        self.change(Circuit::wrote_nothing);
    }

    /// A write went well.
    pub fn wrote(&self) {
        self.change(Circuit::wrote);
    }

    /// How many of `room` events may be taken in while `held` are in hand.
    pub fn admits(&self, room: usize, held: usize) -> usize {
        self.lock().admits(room, held)
    }

    /// The next change of what is admitted, from this call on.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps as letters: `w` a write went well, `W` it failed, `r` a question was answered, `R` it
    /// failed, `n` an event needed no write. Then: how many of 10 may be taken in with an empty hand, and with a full one.
    #[track_caller]
    fn check(steps: &str, empty: usize, full: usize) {
        let breaker = Breaker::new(3);
        for step in steps.chars() {
            match step {
                'w' => breaker.wrote(),
                'W' => breaker.failed_write(),
                'r' => breaker.answered(),
                'R' => breaker.failed_read(),
                'n' => breaker.wrote_nothing(),
                _ => unreachable!("no such step"),
            }
        }
        let admits = (breaker.admits(10, 0), breaker.admits(10, 192));
        assert_eq!(admits, (empty, full), "{steps}");
    }

    #[test]
    fn opens_after_failures_and_closes_by_a_write() {
        check("", 10, 10);
        check("WW", 10, 10);
        check("WWW", 0, 0);
        check("WWWWWW", 0, 0);
        check("WWWw", 10, 10);
        check("WWwWW", 10, 10);
        // Look-ups may be all that is tried.
        check("RRR", 0, 0);
        check("RRrRR", 10, 10);
        // Milvus answers, and refuses writes (its disk is full): look-ups don't hide it.
        check("WrWrW", 0, 0);
    }

    #[test]
    fn an_answer_lets_one_event_through_and_its_write_decides() {
        check("WWWr", 1, 0);
        check("WWWrW", 0, 0);
        check("WWWrWr", 1, 0);
        check("WWWrw", 10, 10);
        check("WWWrw WWW".replace(' ', "").as_str(), 0, 0);
        check("RRRrw", 10, 10);
        // A single failure after it closed again does not open it.
        check("WWWrwW", 10, 10);
    }

    #[test]
    fn events_that_need_no_write_let_more_through_until_one_does() {
        check("WWWrn", 2, 0);
        check("WWWrnnn", 8, 0);
        check("WWWrnnnn", 10, 0);
        check("WWWrnnnnnnnn", 10, 10);
        check("WWWrnnnnW", 0, 0);
        check("WWWrnnnnWr", 1, 0);
        check("WWWrnnw", 10, 10);
        check("n", 10, 10);
        check("WWWn", 0, 0);
        check("WWWnr", 1, 0);
    }

    #[tokio::test]
    async fn a_change_wakes_who_waits() {
        let breaker = Breaker::new(1);
        let changes: [fn(&Breaker); 4] = [
            Breaker::failed_write,
            Breaker::answered,
            Breaker::wrote_nothing,
            Breaker::wrote,
        ];
        for change in changes {
            // Also one that comes before anybody polls.
            let changed = breaker.changed();
            change(&breaker);
            changed.await;
        }
        let changed = breaker.changed();
        tokio::pin!(changed);
        tokio::select! {
            biased;
            () = &mut changed => unreachable!("nothing changed"),
            () = std::future::ready(()) => {}
        }
    }
}
