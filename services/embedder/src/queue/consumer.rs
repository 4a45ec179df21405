//! Intake: events from the queue into the hand, as many as there is room for, while Milvus takes
//! writes.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, Delivery, Error as BusError, Intake};
use lookalike_chassis::Backoff;
use lookalike_index::Index;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commit::committer::PreparedEvent;
use crate::embed::leaked_threads::LeakedThreads;
use crate::embed::prepare::Preparer;
use crate::metrics;
use crate::queue::circuit_breaker::CircuitBreaker;
use crate::queue::in_flight::InFlight;

/// Takes events in.
pub struct EventConsumer {
    pub bus: Bus,
    pub index: Index,
    /// How long an empty queue is listened to before it is asked again.
    pub poll_timeout: Duration,
    pub shutdown: CancellationToken,
    pub in_flight: Arc<InFlight>,
    /// Events that may be in hand.
    pub permits: Arc<Semaphore>,
    pub preparer: Arc<Preparer>,
    pub breaker: Arc<CircuitBreaker>,
    pub leaked_threads: Arc<LeakedThreads>,
    /// Whether others are to take the events.
    pub paused: watch::Receiver<bool>,
    /// Where each event in hand has a task.
    pub tasks: TaskTracker,
}

impl EventConsumer {
    /// Takes events in until told to leave; each goes to `ready` when it is prepared.
    pub async fn run(&self, ready: mpsc::Sender<PreparedEvent>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut intake: Option<Intake> = None;
        while !self.shutdown.is_cancelled() {
            let open = match intake.take() {
                Some(open) => Ok(open),
                None => self.bus.open_intake().await,
            };
            let open = match open {
                Ok(open) => open,
                Err(error) => {
                    self.wait_and_reconnect(&error, &mut backoff).await;
                    continue;
                }
            };
            let first = tokio::select! {
                () = self.shutdown.cancelled() => return,
                first = self.permits.clone().acquire_owned() => first.expect("this semaphore is never closed"),
            };
            let mut rooms = vec![first];
            while let Ok(more) = self.permits.clone().try_acquire_owned() {
                rooms.push(more);
            }
            rooms.truncate(self.allowed_by_breaker(rooms.len()).await);
            if rooms.is_empty() {
                return;
            }
            match self.receive_events(&open, rooms.len()).await {
                Ok(deliveries) => {
                    backoff.reset_attempts();
                    for (delivery, room) in deliveries.into_iter().zip(rooms) {
                        if delivery.deliveries > 1 {
                            metrics::REDELIVERIES.inc();
                        }
                        let held = self.in_flight.track_delivery(delivery, room);
                        let (preparer, ready) = (self.preparer.clone(), ready.clone());
                        self.tasks.spawn(async move {
                            let one = preparer.prepare_event(held).await;
                            // Where the commit has ended, the event is put off or comes again.
                            let _ = ready.send(one).await;
                        });
                    }
                    intake = Some(open);
                }
                Err(error) => self.wait_and_reconnect(&error, &mut backoff).await,
            }
        }
    }

    /// Listens for events until some come, patience is over, or it is time to leave or to stand
    /// aside. Not cut off by either: a message that was delivered must come into somebody's hands.
    async fn receive_events(
        &self,
        open: &Intake,
        max_events: usize,
    ) -> Result<Vec<Delivery>, BusError> {
        let quit = self.shutdown.child_token();
        let mut aside = self.paused.clone();
        let stepped_aside = async {
            let _ = aside.wait_for(|aside| *aside).await;
        };
        let taking = open.take_events(max_events, self.poll_timeout, &quit);
        tokio::pin!(taking);
        tokio::select! {
            biased;
            taken = &mut taking => taken,
            () = stepped_aside => {
                quit.cancel();
                taking.await
            }
        }
    }

    /// Waits until events may be taken in: how many of `permits`. None: it is time to leave.
    async fn allowed_by_breaker(&self, room: usize) -> usize {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let mut aside = self.paused.clone();
        loop {
            // Whoever stands aside keeps nothing waiting.
            if *aside.borrow() {
                metrics::INTAKE_PAUSED.set(0);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return 0,
                // Who says it lives as long as this worker.
                _ = aside.wait_for(|aside| !aside) => {}
            }
            // Before the question: no change after its answer is missed.
            let changed = self.breaker.next_change();
            let too_many = self.leaked_threads.count_over_limit();
            let admitted = match too_many {
                Some(_) => 0,
                None => self.breaker.allowed_events(room, self.in_flight.len()),
            };
            metrics::INTAKE_PAUSED.set((admitted == 0).into());
            if admitted > 0 {
                return admitted;
            }
            if let Some(count) = too_many
                && backoff.attempts() == 0
            {
                tracing::error!(
                    count,
                    "too many decoders do not end: no more events are taken in; start lookalike anew"
                );
            }
            let tick = tokio::select! {
                () = self.shutdown.cancelled() => return 0,
                () = changed => false,
                () = self.leaked_threads.wait_until_over_limit(false), if too_many.is_some() => false,
                () = tokio::time::sleep(backoff.next_delay()) => true,
            };
            // What is in hand tries to be written; where nothing is, a question has to do.
            if tick && too_many.is_none() && self.in_flight.len() == 0 {
                match self
                    .shutdown
                    .run_until_cancelled(self.index.check_ready())
                    .await
                {
                    Some(Ok(())) => self.breaker.record_read(),
                    Some(Err(error)) => tracing::debug!(%error, "Milvus does not answer yet"),
                    None => return 0,
                }
            }
        }
    }

    async fn wait_and_reconnect(&self, error: &BusError, backoff: &mut Backoff) {
        let wait = backoff.next_delay();
        tracing::warn!(%error, ?wait, "events can't be taken now, trying again");
        if self.bus.is_connected()
            && let Some(Err(error)) = self
                .shutdown
                .run_until_cancelled(self.bus.ensure_streams())
                .await
        {
            tracing::warn!(%error, "the streams can't be made now");
        }
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
