//! Takes events from the queue: as many as there are permits, while Milvus accepts writes.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, Delivery, Error as BusError, Intake};
use lookalike_chassis::Backoff;
use lookalike_index::Index;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commit::job::PreparedEvent;
use crate::embed::leaked_threads::LeakedThreads;
use crate::embed::prepare::Preparer;
use crate::metrics;
use crate::queue::circuit_breaker::CircuitBreaker;
use crate::queue::in_flight::InFlight;

pub struct EventConsumer {
    pub bus: Bus,
    pub index: Index,
    /// How long one request to the queue waits for events.
    pub poll_timeout: Duration,
    pub shutdown: CancellationToken,
    pub in_flight: Arc<InFlight>,
    /// Events that may be in flight.
    pub permits: Arc<Semaphore>,
    pub preparer: Arc<Preparer>,
    pub breaker: Arc<CircuitBreaker>,
    pub leaked_threads: Arc<LeakedThreads>,
    /// Whether other embedders should take the events.
    pub paused: watch::Receiver<bool>,
    /// One task for each event that is being prepared.
    pub tasks: TaskTracker,
}

impl EventConsumer {
    /// Takes events until the shutdown; each is sent to `prepared` when it is prepared.
    pub async fn run(&self, prepared: mpsc::Sender<PreparedEvent>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut open_intake: Option<Intake> = None;
        while !self.shutdown.is_cancelled() {
            let opened = match open_intake.take() {
                Some(intake) => Ok(intake),
                None => self.bus.open_intake().await,
            };
            let intake = match opened {
                Ok(intake) => intake,
                Err(error) => {
                    self.wait_and_reconnect(&error, &mut backoff).await;
                    continue;
                }
            };
            let Some(permits) = self.acquire_permits().await else {
                return;
            };
            match self.receive_events(&intake, permits.len()).await {
                Ok(deliveries) => {
                    backoff.reset_attempts();
                    for (delivery, permit) in deliveries.into_iter().zip(permits) {
                        self.spawn_preparation(delivery, permit, &prepared);
                    }
                    open_intake = Some(intake);
                }
                Err(error) => self.wait_and_reconnect(&error, &mut backoff).await,
            }
        }
    }

    /// Waits for at least one permit and returns all that are free, as far as the circuit breaker
    /// allows. Returns `None` at the shutdown.
    async fn acquire_permits(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return None,
            first = self.permits.clone().acquire_owned() => first,
        };
        let mut permits = vec![first.expect("this semaphore is never closed")];
        while let Ok(permit) = self.permits.clone().try_acquire_owned() {
            permits.push(permit);
        }
        permits.truncate(self.allowed_by_breaker(permits.len()).await);
        (!permits.is_empty()).then_some(permits)
    }

    fn spawn_preparation(
        &self,
        delivery: Delivery,
        permit: OwnedSemaphorePermit,
        prepared: &mpsc::Sender<PreparedEvent>,
    ) {
        if delivery.deliveries > 1 {
            metrics::REDELIVERIES.inc();
        }
        let event = self.in_flight.track_delivery(delivery, permit);
        let (preparer, prepared) = (self.preparer.clone(), prepared.clone());
        self.tasks.spawn(async move {
            let event = preparer.prepare_event(event).await;
            // If the commit has ended, the event is deferred or redelivered.
            let _ = prepared.send(event).await;
        });
    }

    /// Receives events until there are some, the poll times out, or the worker shuts down or is
    /// paused. Neither of the latter interrupts the request: a delivered message must not be dropped.
    async fn receive_events(
        &self,
        intake: &Intake,
        max_events: usize,
    ) -> Result<Vec<Delivery>, BusError> {
        let stop = self.shutdown.child_token();
        let mut paused = self.paused.clone();
        let pause = async {
            let _ = paused.wait_for(|paused| *paused).await;
        };
        let receiving = intake.take_events(max_events, self.poll_timeout, &stop);
        tokio::pin!(receiving);
        tokio::select! {
            biased;
            received = &mut receiving => received,
            () = pause => {
                stop.cancel();
                receiving.await
            }
        }
    }

    /// Waits until events may be taken and returns how many, at most `permits`. Returns 0 at the
    /// shutdown.
    async fn allowed_by_breaker(&self, permits: usize) -> usize {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let mut paused = self.paused.clone();
        loop {
            // A paused worker must not report a blocked intake: other embedders take the events.
            if *paused.borrow() {
                metrics::INTAKE_PAUSED.set(0);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return 0,
                // The sender lives as long as this worker.
                _ = paused.wait_for(|paused| !paused) => {}
            }
            // Subscribed before the state is read, so no later change is missed.
            let changed = self.breaker.next_change();
            let leaked = self.leaked_threads.count_over_limit();
            let allowed = match leaked {
                Some(_) => 0,
                None => self.breaker.allowed_events(permits, self.in_flight.len()),
            };
            metrics::INTAKE_PAUSED.set((allowed == 0).into());
            if allowed > 0 {
                return allowed;
            }
            if let Some(count) = leaked
                && backoff.attempts() == 0
            {
                tracing::error!(
                    count,
                    "too many decoders hang, so no more events are taken; restart lookalike"
                );
            }
            let waited_in_vain = tokio::select! {
                () = self.shutdown.cancelled() => return 0,
                () = changed => false,
                () = self.leaked_threads.wait_until_over_limit(false), if leaked.is_some() => false,
                () = tokio::time::sleep(backoff.next_delay()) => true,
            };
            // Commits of events in flight probe Milvus. With none in flight, probe it with a read.
            if waited_in_vain && leaked.is_none() && self.in_flight.len() == 0 {
                match self
                    .shutdown
                    .run_until_cancelled(self.index.check_ready())
                    .await
                {
                    Some(Ok(())) => self.breaker.record_read(),
                    Some(Err(error)) => tracing::debug!(%error, "Milvus is still unreachable"),
                    None => return 0,
                }
            }
        }
    }

    async fn wait_and_reconnect(&self, error: &BusError, backoff: &mut Backoff) {
        let wait = backoff.next_delay();
        tracing::warn!(%error, ?wait, "cannot take events now, retrying");
        if self.bus.is_connected()
            && let Some(Err(error)) = self
                .shutdown
                .run_until_cancelled(self.bus.ensure_streams())
                .await
        {
            tracing::warn!(%error, "cannot create the streams now");
        }
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
