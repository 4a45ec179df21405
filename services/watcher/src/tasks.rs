//! The tasks around the keeper. Each awaits NATS on one side and the keeper on the other, and
//! decides nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use lookalike_bus::{
    Bus, Degradation, Error as BusError, LibraryStatus, StreamPosition, WatcherReply,
};
use lookalike_chassis::{Backoff, clock};
use lookalike_proto::LibraryName;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::inbox::{EventDisposition, Inbox, KeeperRequest, PublishReport, PublishedStatus};
use crate::metrics;
use crate::settings::Settings;

/// Events asked of the outbox at once.
const RELAY_BATCH: usize = 512;

/// Outcomes taken to the catalog at once.
const OUTCOME_BATCH: usize = 512;

/// How long no outcome may come before the reader asks whether its stream is still the same.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long the keeper may work on one turn before that is told as a fault. A turn looks at a
/// few thousand files at most.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a library is spoken of that does not change: others forget it after half a minute.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a task that is told to leave waits for an answer of the keeper.
const LAST_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What every task holds.
#[derive(Clone)]
pub(crate) struct WatcherTasks {
    pub bus: Bus,
    pub inbox: Arc<Inbox>,
    pub shutdown: CancellationToken,
    pub settings: Settings,
    /// Until when the library's lease is known to be held.
    pub lease_valid_until: Arc<Mutex<Instant>>,
}

impl WatcherTasks {
    /// Puts a note to the keeper and awaits its answer; `None`: it was not kept.
    async fn ask_keeper<T>(
        &self,
        note: impl FnOnce(oneshot::Sender<T>) -> KeeperRequest,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.inbox.push_request(note(answer));
        // A keeper that waits for a dead mount answers nobody, and must not keep anybody here.
        let too_late = async {
            self.shutdown.cancelled().await;
            sleep(LAST_REPLY_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            answered = answered => answered.ok(),
            () = too_late => None,
        }
    }

    /// What NATS answers, unless the watcher is told to leave meanwhile. Only for what may be
    /// cut off at any moment.
    pub async fn run_unless_stopping<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(call).await
    }

    /// Puts a note to the keeper until it is kept; `None` when the watcher ends before.
    pub async fn ask_keeper_until_ok<T>(
        &self,
        note: impl Fn(oneshot::Sender<T>) -> KeeperRequest,
    ) -> Option<T> {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            match self.ask_keeper(&note).await {
                Some(answer) => return Some(answer),
                None => self.sleep_unless_stopping(backoff.next_delay()).await,
            }
        }
        None
    }

    pub async fn sleep_unless_stopping(&self, wait: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = sleep(wait) => {}
        }
    }

    pub fn new_backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// Publishes what the outbox has, while the connection stands.
    pub async fn relay_outbox(self, outbox_filled: Arc<Notify>) {
        let mut backoff = Self::new_backoff();
        // The number of the stream that answers, so that a stream made anew is noticed.
        let mut created_ns = None;
        while !self.shutdown.is_cancelled() {
            if !self.bus.is_connected() {
                created_ns = None;
                self.sleep_unless_stopping(Duration::from_millis(100)).await;
                continue;
            }
            let Some(created) = created_ns else {
                match self.run_unless_stopping(self.bus.queue_depth()).await {
                    None => return,
                    Some(Ok((_, created))) => created_ns = Some(created),
                    Some(Err(error)) => self.repair_and_back_off(&error, &mut backoff).await,
                }
                continue;
            };
            let Some(events) = self
                .ask_keeper(|answer| KeeperRequest::TakeEvents(RELAY_BATCH, answer))
                .await
            else {
                self.sleep_unless_stopping(backoff.next_delay()).await;
                continue;
            };
            if events.is_empty() {
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = outbox_filled.notified() => {}
                    () = sleep(Duration::from_secs(1)) => {}
                }
                continue;
            }
            // What is cut off here is published again by the next run, which changes nothing.
            let published = self.run_unless_stopping(self.bus.publish_events(&events));
            let Some(results) = published.await else {
                return;
            };
            let mut failure = None;
            let published = events
                .iter()
                .zip(results)
                .map(|(event, result)| PublishReport {
                    image_id: event.image_id,
                    generation: event.generation,
                    stored_at: match result {
                        Ok(sequence) => Some(StreamPosition {
                            stream_created_ns: created,
                            sequence,
                        }),
                        Err(error) => {
                            failure = Some(error);
                            None
                        }
                    },
                });
            let published: Vec<_> = published.collect();
            let told = self.ask_keeper_until_ok(|answer| {
                KeeperRequest::RecordPublished(published.clone(), answer)
            });
            if told.await.is_none() {
                return;
            }
            match failure {
                None => backoff.reset_attempts(),
                Some(error) => {
                    created_ns = None;
                    self.repair_and_back_off(&error, &mut backoff).await;
                }
            }
        }
    }

    /// After a failure: makes lost streams again, and waits.
    pub async fn repair_and_back_off(&self, error: &BusError, backoff: &mut Backoff) {
        match error {
            BusError::StreamMissing => {
                tracing::warn!("the streams are gone, making them again");
                if let Some(Err(error)) = self.run_unless_stopping(self.bus.ensure_streams()).await
                {
                    tracing::warn!(%error, "the streams can't be made now");
                }
            }
            BusError::StreamFull => {
                tracing::warn!("the stream of events is full, waiting for the embedder");
            }
            error => tracing::warn!(%error, "NATS does not take it now, trying again"),
        }
        self.sleep_unless_stopping(backoff.next_delay()).await;
    }

    /// Looks for events that got no answer, so that those that were lost are sent again.
    pub async fn check_overdue_events(self) {
        // A message that waits, though the workers' consumer is past it.
        let mut passed_over = None;
        while !self.shutdown.is_cancelled() {
            self.sleep_unless_stopping((self.settings.overdue / 4).max(Duration::from_millis(100)))
                .await;
            let asked = self.run_unless_stopping(self.bus.queue_depth()).await;
            let Some(Ok((depth, created_ns))) = asked else {
                continue;
            };
            metrics::QUEUE_PENDING.set(i64::try_from(depth.messages).unwrap_or(i64::MAX));
            let waited_ns = match depth.messages {
                0 => 0,
                _ => clock::now_nanos().saturating_sub(depth.first_stored_ns),
            };
            metrics::QUEUE_OLDEST_SECONDS
                .set(Duration::from_nanos(waited_ns.max(0) as u64).as_secs_f64());
            let overdue = i64::try_from(self.settings.overdue.as_nanos()).unwrap_or(i64::MAX);
            let before_ns = clock::now_nanos() - overdue;
            let Some(late) = self
                .ask_keeper(|answer| KeeperRequest::ListOverdue(before_ns, 1000, answer))
                .await
            else {
                continue;
            };
            let was_passed_over = passed_over.take();
            if depth.messages > 0 && !late.is_empty() {
                let first = (created_ns, depth.first_sequence);
                let asked = self.bus.consumer_is_ahead(depth.first_sequence);
                if let Some(Ok(true)) = self.run_unless_stopping(asked).await {
                    passed_over = Some(first);
                    if was_passed_over == Some(first) {
                        tracing::warn!(
                            "events wait that nobody would ever get, opening the queue anew"
                        );
                        if let Some(Err(error)) =
                            self.run_unless_stopping(self.bus.delete_consumer()).await
                        {
                            tracing::warn!(%error, "the queue can't be opened anew now");
                        }
                    }
                }
            }
            let mut checked = Vec::with_capacity(late.len());
            for one in late {
                let is_gone = one.position.stream_created_ns != created_ns
                    || one.position.sequence < depth.first_sequence;
                let stored = if is_gone {
                    Ok(false)
                } else {
                    let asked = self.bus.event_is_stored(one.position.sequence);
                    match self.run_unless_stopping(asked).await {
                        Some(stored) => stored,
                        None => return,
                    }
                };
                match stored {
                    Ok(true) => {
                        checked.push((one.image_id, one.generation, EventDisposition::Pending))
                    }
                    Ok(false) => {
                        checked.push((one.image_id, one.generation, EventDisposition::Lost))
                    }
                    Err(_) => break,
                }
            }
            self.ask_keeper(|answer| KeeperRequest::ResolveOverdue(checked, answer))
                .await;
        }
    }

    /// Takes outcomes to the keeper, in their order, each kept before the next is read.
    pub async fn read_outcomes(
        self,
        index: usize,
        library: LibraryName,
        mut after: Option<StreamPosition>,
    ) {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            let opened = self.bus.read_outcomes(&library, after.clone());
            let mut reader = match self.run_unless_stopping(opened).await {
                None => return,
                Some(Ok(reader)) => reader,
                Some(Err(error)) => {
                    self.repair_and_back_off(&error, &mut backoff).await;
                    continue;
                }
            };
            let created_ns = reader.stream_created_ns();
            loop {
                let first = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    first = reader.next_outcome() => first,
                    () = sleep(STREAM_CHECK_INTERVAL) => {
                        let is_same = |end: &StreamPosition| {
                            end.stream_created_ns == created_ns
                                && after.as_ref().is_none_or(|after| {
                                    after.stream_created_ns != end.stream_created_ns
                                        || after.is_within(end)
                                })
                        };
                        match self.run_unless_stopping(self.bus.outcomes_end_position()).await {
                            None => return,
                            Some(Ok(end)) if is_same(&end) => continue,
                            // Made anew, or gone, or its last messages are lost, and their numbers
                            // are given again: read from its beginning.
                            _ => break,
                        }
                    }
                };
                let mut batch = match first {
                    Ok(first) => vec![first],
                    Err(error) => {
                        tracing::warn!(%error, "reading outcomes anew");
                        break;
                    }
                };
                while batch.len() < OUTCOME_BATCH
                    && let Some(Ok(next)) = reader.next_outcome().now_or_never()
                {
                    batch.push(next);
                }
                let last = batch.last().map(|(position, _)| position.clone());
                let taken = self.ask_keeper_until_ok(|answer| {
                    KeeperRequest::ApplyOutcomes(index, batch.clone(), answer)
                });
                if taken.await.is_none() {
                    return;
                }
                after = last;
                backoff.reset_attempts();
            }
            self.sleep_unless_stopping(backoff.next_delay()).await;
        }
    }

    /// Answers questions to a library.
    pub async fn serve_requests(self, index: usize, library: LibraryName) {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            let opened = self.bus.subscribe_watcher_requests(&library);
            let mut calls = match self.run_unless_stopping(opened).await {
                None => return,
                Some(Ok(calls)) => calls,
                Some(Err(error)) => {
                    self.repair_and_back_off(&error, &mut backoff).await;
                    continue;
                }
            };
            loop {
                let call = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    call = calls.next() => call,
                };
                let Some(call) = call else { break };
                if *self.lease_valid_until.lock().expect("no holder panics") < Instant::now() {
                    // It may be another watcher's by now, and that one knows better.
                    let unsure = "it is not sure now which watcher holds the library; try again";
                    call.send_reply(&WatcherReply::Refused(unsure.into())).await;
                    continue;
                }
                let question = call.request.clone();
                let answer = self
                    .ask_keeper(|answer| KeeperRequest::WatcherRequest(index, question, answer))
                    .await;
                let busy = || WatcherReply::Refused("the catalog can't be read now".into());
                call.send_reply(&answer.unwrap_or_else(busy)).await;
            }
            self.sleep_unless_stopping(backoff.next_delay()).await;
        }
    }

    /// A file system that does not answer holds up the one thread that looks at folders, and then
    /// nothing else would tell of it.
    fn add_stuck_reason(&self, statuses: &mut PublishedStatus) {
        let busy_for = self.inbox.busy_for();
        let is_stuck = busy_for >= STUCK_TIMEOUT;
        for status in statuses {
            metrics::WATCH_DEGRADED
                .with_label_values(&[&*status.name, "stuck"])
                .set(is_stuck.into());
            if is_stuck {
                let since = clock::now_nanos() / 1_000_000 - busy_for.as_millis() as i64;
                status.degraded.push(Degradation {
                    reason: "stuck".into(),
                    detail: "A file system that is watched does not answer, and everything waits \
                             for it: look whether a network mount hangs."
                        .into(),
                    since_ms: since,
                });
            }
        }
    }

    /// Tells everybody what the libraries are like: at a change, though not more than four times
    /// a second, and every ten seconds.
    pub async fn publish_status(self, mut shown: watch::Receiver<PublishedStatus>) {
        let mut told: HashMap<String, (LibraryStatus, Instant)> = HashMap::new();
        while !self.shutdown.is_cancelled() {
            let changed = timeout(Duration::from_secs(1), shown.changed());
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = changed => {}
            }
            let mut statuses = shown.borrow_and_update().clone();
            self.add_stuck_reason(&mut statuses);
            for status in statuses {
                if status.standby {
                    // Whoever holds it tells what it is like.
                    told.remove(&status.name);
                    continue;
                }
                // Each has its own clock: a busy library must not let the others be forgotten.
                let is_told = |(before, when): &(LibraryStatus, Instant)| {
                    *before == status && when.elapsed() < STATUS_INTERVAL
                };
                if told.get(&status.name).is_some_and(is_told) {
                    continue;
                }
                match self
                    .run_unless_stopping(self.bus.publish_library_status(&status))
                    .await
                {
                    None => return,
                    Some(Ok(())) => {
                        told.insert(status.name.clone(), (status, Instant::now()));
                    }
                    Some(Err(error)) => {
                        told.remove(&status.name);
                        self.repair_and_back_off(&error, &mut Self::new_backoff())
                            .await;
                    }
                }
            }
            self.sleep_unless_stopping(Duration::from_millis(250)).await;
        }
    }
}
