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

use crate::breaker::Breaker;
use crate::commit::Ready;
use crate::hand::Hand;
use crate::metrics;
use crate::prepare::Preparer;
use crate::strays::Strays;

/// Takes events in.
pub struct TakeIn {
    pub bus: Bus,
    pub index: Index,
    /// How long an empty queue is listened to before it is asked again.
    pub patience: Duration,
    pub leave: CancellationToken,
    pub hand: Arc<Hand>,
    /// Events that may be in hand.
    pub room: Arc<Semaphore>,
    pub preparer: Arc<Preparer>,
    pub breaker: Arc<Breaker>,
    pub strays: Arc<Strays>,
    /// Whether others are to take the events.
    pub aside: watch::Receiver<bool>,
    /// Where each event in hand has a task.
    pub workers: TaskTracker,
}

impl TakeIn {
    /// Takes events in until told to leave; each goes to `ready` when it is prepared.
    pub async fn run(&self, ready: mpsc::Sender<Ready>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut intake: Option<Intake> = None;
        while !self.leave.is_cancelled() {
            let open = match intake.take() {
                Some(open) => Ok(open),
                None => self.bus.intake().await,
            };
            let open = match open {
                Ok(open) => open,
                Err(error) => {
                    self.mend(&error, &mut backoff).await;
                    continue;
                }
            };
            let first = tokio::select! {
                () = self.leave.cancelled() => return,
                first = self.room.clone().acquire_owned() => first.expect("this semaphore is never closed"),
            };
            let mut rooms = vec![first];
            while let Ok(more) = self.room.clone().try_acquire_owned() {
                rooms.push(more);
            }
            rooms.truncate(self.admission(rooms.len()).await);
            if rooms.is_empty() {
                return;
            }
            match self.take(&open, rooms.len()).await {
                Ok(deliveries) => {
                    backoff.reset();
                    for (delivery, room) in deliveries.into_iter().zip(rooms) {
                        if delivery.deliveries > 1 {
                            metrics::REDELIVERIES.inc();
                        }
                        let held = self.hand.take(delivery, room);
                        let (preparer, ready) = (self.preparer.clone(), ready.clone());
                        self.workers.spawn(async move {
                            let one = preparer.prepare(held).await;
                            // Where the commit has ended, the event is put off or comes again.
                            let _ = ready.send(one).await;
                        });
                    }
                    intake = Some(open);
                }
                Err(error) => self.mend(&error, &mut backoff).await,
            }
        }
    }

    /// Listens for events until some come, patience is over, or it is time to leave or to stand
    /// aside. Not cut off by either: a message that was delivered must come into somebody's hands.
    async fn take(&self, open: &Intake, most: usize) -> Result<Vec<Delivery>, BusError> {
        let quit = self.leave.child_token();
        let mut aside = self.aside.clone();
        let stepped_aside = async {
            let _ = aside.wait_for(|aside| *aside).await;
        };
        let taking = open.take(most, self.patience, &quit);
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

    /// Waits until events may be taken in: how many of `room`. None: it is time to leave.
    async fn admission(&self, room: usize) -> usize {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let mut aside = self.aside.clone();
        loop {
            // Whoever stands aside keeps nothing waiting.
            if *aside.borrow() {
                metrics::INTAKE_PAUSED.set(0);
            }
            tokio::select! {
                () = self.leave.cancelled() => return 0,
                // Who says it lives as long as this worker.
                _ = aside.wait_for(|aside| !aside) => {}
            }
            // Before the question: no change after its answer is missed.
            let changed = self.breaker.changed();
            let too_many = self.strays.too_many();
            let admitted = match too_many {
                Some(_) => 0,
                None => self.breaker.admits(room, self.hand.len()),
            };
            metrics::INTAKE_PAUSED.set((admitted == 0).into());
            if admitted > 0 {
                return admitted;
            }
            if let Some(count) = too_many
                && backoff.tries() == 0
            {
                tracing::error!(
                    count,
                    "too many decoders do not end: no more events are taken in; start lookalike anew"
                );
            }
            let tick = tokio::select! {
                () = self.leave.cancelled() => return 0,
                () = changed => false,
                () = self.strays.until(false), if too_many.is_some() => false,
                () = tokio::time::sleep(backoff.next_wait()) => true,
            };
            // What is in hand tries to be written; where nothing is, a question has to do.
            if tick && too_many.is_none() && self.hand.len() == 0 {
                match self.leave.run_until_cancelled(self.index.ready()).await {
                    Some(Ok(())) => self.breaker.answered(),
                    Some(Err(error)) => tracing::debug!(%error, "Milvus does not answer yet"),
                    None => return 0,
                }
            }
        }
    }

    async fn mend(&self, error: &BusError, backoff: &mut Backoff) {
        let wait = backoff.next_wait();
        tracing::warn!(%error, ?wait, "events can't be taken now, trying again");
        if self.bus.is_connected()
            && let Some(Err(error)) = self.leave.run_until_cancelled(self.bus.ensure()).await
        {
            tracing::warn!(%error, "the streams can't be made now");
        }
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
