//! The queues of saved searches: outcomes that wait to be compared, and matches that wait to be sent to
//! a webhook. Each is a durable consumer that all search services share, so each message is delivered to
//! one of them, and again if that one ends before it has acknowledged the message.

use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{self, AckKind};
use lookalike_proto::Outcome;
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::error::Error;
use crate::events::to_unix_nanos;
use crate::matches::{StoredMatch, decode_match};
use crate::pull_queue::{PullQueue, acknowledge};

/// The durable consumer of outcomes that all search services share.
const OUTCOME_CONSUMER: &str = "saved_searches";

/// The server deletes the queue of a webhook that no service has read for so long.
const UNUSED_QUEUE_TIMEOUT: Duration = Duration::from_secs(60 * 24 * 3600);

impl Bus {
    /// Opens the queue of outcomes for saved searches. If it does not exist, it begins with the first
    /// outcome that was stored at `start_ns` (nanoseconds since 1970, by the server's clock) or later.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream of outcomes was deleted.
    pub async fn open_outcome_queue(&self, start_ns: i64) -> Result<OutcomeQueue, Error> {
        let stream = self.get_stream(self.outcomes_stream()).await?;
        let start_time = DateTime::from_unix_timestamp_nanos(start_ns.into());
        let config = pull::Config {
            durable_name: Some(OUTCOME_CONSUMER.into()),
            description: Some("Outcomes that saved searches have not seen".into()),
            deliver_policy: match start_time {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            max_deliver: -1,
            max_ack_pending: self.settings.max_ack_pending.into(),
            ..Default::default()
        };
        // The start of an existing queue cannot be changed.
        let opened = stream.get_or_create_consumer(OUTCOME_CONSUMER, config);
        let consumer = opened
            .await
            .map_err(|e| Error::jetstream_failure("opening the queue of outcomes")(e.into()))?;
        Ok(OutcomeQueue(PullQueue {
            consumer,
            call_timeout: self.settings.call_timeout,
        }))
    }

    /// Deletes the queue of outcomes: no saved search needs it.
    pub async fn delete_outcome_queue(&self) -> Result<(), Error> {
        self.delete_queue(self.outcomes_stream(), OUTCOME_CONSUMER)
            .await
    }

    /// Opens the queue of matches for the webhook of a saved search. One match is in flight at a time,
    /// so an unreachable receiver gets one request, not one for each match.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream of matches was deleted.
    pub async fn open_webhook_queue(
        &self,
        saved_search: &str,
        ack_wait: Duration,
    ) -> Result<WebhookQueue, Error> {
        let stream = self.get_stream(self.matches_stream()).await?;
        let config = pull::Config {
            durable_name: Some(webhook_consumer(saved_search)),
            description: Some("Matches that a webhook has not received".into()),
            filter_subject: self.matches_subject(&format!("{saved_search}.>")),
            ack_policy: AckPolicy::Explicit,
            ack_wait,
            max_deliver: -1,
            max_ack_pending: 1,
            inactive_threshold: UNUSED_QUEUE_TIMEOUT,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer
            .map_err(|e| Error::jetstream_failure("opening the queue of a webhook")(e.into()))?;
        Ok(WebhookQueue {
            queue: PullQueue {
                consumer,
                call_timeout: self.settings.call_timeout,
            },
            stream_created_ns: to_unix_nanos(stream.cached_info().created),
        })
    }

    pub(crate) async fn delete_webhook_queue(&self, saved_search: &str) -> Result<(), Error> {
        self.delete_queue(self.matches_stream(), &webhook_consumer(saved_search))
            .await
    }

    async fn delete_queue(&self, stream: String, consumer: &str) -> Result<(), Error> {
        let stream = self.get_stream(stream).await?;
        match stream.delete_consumer(consumer).await {
            Ok(_) => Ok(()),
            Err(e) => match e.kind() {
                ConsumerErrorKind::JetStream(error) if error.code() == 404 => Ok(()),
                _ => Err(Error::jetstream_failure("deleting a queue")(e.into())),
            },
        }
    }
}

fn webhook_consumer(saved_search: &str) -> String {
    format!("webhook_{saved_search}")
}

/// Outcomes that wait to be compared with the saved searches.
pub struct OutcomeQueue(PullQueue);

impl OutcomeQueue {
    /// Returns up to `max` outcomes. Waits at most `poll_timeout` for the first one, or until
    /// `shutdown`. Do not drop the future: the outcomes would be delivered again after `ack_wait` only.
    ///
    /// # Errors
    /// After any error, open the queue again.
    pub async fn take_outcomes(
        &self,
        max: usize,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Vec<OutcomeDelivery>, Error> {
        let messages = self.0.take_messages(max, poll_timeout, shutdown).await?;
        let mut deliveries = Vec::with_capacity(messages.len());
        for message in messages {
            let info = message.info();
            let info = info.map_err(Error::jetstream_failure("taking outcomes"))?;
            let (stored_ns, count) = (to_unix_nanos(info.published), info.delivered);
            match Outcome::decode(message.payload.clone()) {
                Ok(outcome) => deliveries.push(OutcomeDelivery {
                    outcome,
                    stored_ns,
                    deliveries: u32::try_from(count).unwrap_or(u32::MAX),
                    message,
                }),
                Err(error) => {
                    tracing::error!(%error, "skipped a message that is not an outcome");
                    send_ack(&message, AckKind::Term).await;
                }
            }
        }
        Ok(deliveries)
    }
}

/// A delivered outcome, in flight until it is acknowledged or its ack deadline passes.
pub struct OutcomeDelivery {
    pub outcome: Outcome,
    /// When JetStream stored it, in nanoseconds since 1970 by the server's clock.
    pub stored_ns: i64,
    /// Counts JetStream's deliveries, from 1.
    pub deliveries: u32,
    message: jetstream::Message,
}

impl OutcomeDelivery {
    /// Removes the outcome from the queue. If this is lost, the outcome is delivered again.
    pub async fn acknowledge(&self) {
        send_ack(&self.message, AckKind::Ack).await;
    }

    /// Lets JetStream deliver the outcome again after `delay`.
    pub async fn retry_after(&self, delay: Duration) {
        send_ack(&self.message, AckKind::Nak(Some(delay))).await;
    }
}

async fn send_ack(message: &jetstream::Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "could not acknowledge a message; it will be delivered again");
    }
}

/// Matches that wait to be sent to one webhook.
pub struct WebhookQueue {
    queue: PullQueue,
    stream_created_ns: i64,
}

impl WebhookQueue {
    /// Returns the next match, or `None` after `poll_timeout` or at `shutdown`.
    ///
    /// # Errors
    /// After any error, open the queue again.
    pub async fn take_match(
        &self,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<MatchDelivery>, Error> {
        let waited = self.queue.wait_for_message(poll_timeout, shutdown).await?;
        let Some(message) = waited else {
            return Ok(None);
        };
        match decode_match(&message, self.stream_created_ns)? {
            Some(found) => Ok(Some(MatchDelivery { found, message })),
            None => {
                send_ack(&message, AckKind::Term).await;
                Ok(None)
            }
        }
    }
}

/// A delivered match, in flight until it is acknowledged or its ack deadline passes.
pub struct MatchDelivery {
    pub found: StoredMatch,
    message: jetstream::Message,
}

impl MatchDelivery {
    /// Removes the match from the queue of the webhook and waits for the server's confirmation.
    ///
    /// # Errors
    /// After any error the match may be delivered again.
    pub async fn acknowledge(&self) -> Result<(), Error> {
        acknowledge(&self.message).await
    }

    /// Lets JetStream deliver the match again after `delay`. Until then, no other match of the webhook
    /// is delivered.
    pub async fn retry_after(&self, delay: Duration) {
        send_ack(&self.message, AckKind::Nak(Some(delay))).await;
    }
}
