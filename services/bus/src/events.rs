//! The stream of events: published by the watcher, consumed by the embedder.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, AckKind, message::PublishMessage};
use futures_util::future::join_all;
use lookalike_proto::{FileEvent, InvalidMessage};
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::error::Error;
use crate::pull_queue::{PullQueue, acknowledge};

/// The durable consumer that all workers share.
const CONSUMER: &str = "embedder";

/// The position of a message in a stream. Sequence numbers of a recreated stream start again at 1, so
/// the position includes the stream's creation time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPosition {
    /// Creation time of the stream, in nanoseconds since 1970.
    pub stream_created_ns: i64,
    pub sequence: u64,
}

impl StreamPosition {
    /// Returns whether the position is in the same stream as `end` and not after it.
    pub fn is_within(&self, end: &Self) -> bool {
        self.stream_created_ns == end.stream_created_ns && self.sequence <= end.sequence
    }
}

/// The backlog of the stream of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Number of events in the stream, including those in flight.
    pub messages: u64,
    pub bytes: u64,
    /// Sequence number of the oldest event.
    pub first_sequence: u64,
    /// Time at which the oldest event was stored, in nanoseconds since 1970 by the server's clock;
    /// meaningless if the stream is empty.
    pub first_stored_ns: i64,
}

impl Bus {
    /// Settings of the workers' consumer. Deliveries are not limited: a message past the limit would stay
    /// in the work queue forever without being delivered. The embedder counts deliveries instead.
    fn consumer_config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(CONSUMER.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            max_deliver: -1,
            max_ack_pending: self.settings.max_ack_pending.into(),
            ..Default::default()
        }
    }

    /// Publishes events, waits until JetStream has stored them, and returns one result per event, in
    /// order. A duplicate (same id within the duplicate window) counts as stored.
    ///
    /// Results may be [`Error::StreamFull`] or [`Error::StreamMissing`].
    pub async fn publish_events(&self, events: &[FileEvent]) -> Vec<Result<u64, Error>> {
        let mut results = Vec::with_capacity(events.len());
        for window in events.chunks(self.settings.publish_window.max(1)) {
            let sent = window.iter().map(|event| async move {
                let subject = format!("{}.v1.events.{}", self.settings.namespace, event.library);
                let message = PublishMessage::build()
                    .payload(event.encode())
                    .message_id(event.message_id())
                    .expected_stream(self.events_stream());
                let ack = self.jetstream.send_publish(subject, message);
                ack.await
                    .map_err(publish_error)?
                    .await
                    .map_err(publish_error)
            });
            results.extend(
                join_all(sent)
                    .await
                    .into_iter()
                    .map(|r| r.map(|ack| ack.sequence)),
            );
        }
        results
    }

    /// Returns the backlog of the stream of events and the stream's creation time, in nanoseconds since
    /// 1970.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn queue_depth(&self) -> Result<(QueueDepth, i64), Error> {
        let stream = self.get_stream(self.events_stream()).await?;
        let info = stream.cached_info();
        let depth = QueueDepth {
            messages: info.state.messages,
            bytes: info.state.bytes,
            first_sequence: info.state.first_sequence,
            first_stored_ns: to_unix_nanos(info.state.first_timestamp),
        };
        Ok((depth, to_unix_nanos(info.created)))
    }

    /// Returns whether the workers' consumer considers the stored message `sequence` acknowledged.
    ///
    /// A server that lost messages but not the consumer's state reuses sequence numbers below the
    /// consumer's position, and messages stored meanwhile are not delivered. A message that was just
    /// acknowledged looks the same for a short time, so callers check twice.
    pub async fn consumer_is_ahead(&self, sequence: u64) -> Result<bool, Error> {
        let lookup_error = Error::jetstream_failure("looking up the consumer of events");
        let info = self
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(CONSUMER, self.events_stream())
            .await;
        match info {
            Ok(consumer) => Ok(consumer.cached_info().ack_floor.stream_sequence >= sequence),
            // Without a consumer, the next one to be created receives every message.
            Err(error) if error.to_string().contains("not found") => Ok(false),
            Err(error) => Err(lookup_error(error.into())),
        }
    }

    /// Deletes the workers' consumer. They create another one, which receives all stored events.
    pub async fn delete_consumer(&self) -> Result<(), Error> {
        self.jetstream
            .delete_consumer_from_stream(CONSUMER, self.events_stream())
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("deleting the consumer of events")(e.into()))
    }

    /// Returns whether the stream of events still contains the message `sequence`.
    pub async fn event_is_stored(&self, sequence: u64) -> Result<bool, Error> {
        use jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind};
        let stream = self
            .jetstream
            .get_stream_no_info(self.events_stream())
            .await
            .map_err(|e| Error::jetstream_failure("looking for an event")(e.into()))?;
        match stream.direct_get(sequence).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == DirectGetErrorKind::NotFound => Ok(false),
            Err(_) => match stream.get_raw_message(sequence).await {
                Ok(_) => Ok(true),
                Err(e) => match e.kind() {
                    RawMessageErrorKind::NoMessageFound => Ok(false),
                    RawMessageErrorKind::JetStream(e) if e.code() == 404 => Ok(false),
                    _ => Err(Error::jetstream_failure("looking for an event")(e.into())),
                },
            },
        }
    }

    pub(crate) async fn get_stream(
        &self,
        name: String,
    ) -> Result<jetstream::stream::Stream, Error> {
        self.jetstream
            .get_stream(name)
            .await
            .map_err(|e| match e.kind() {
                jetstream::context::GetStreamErrorKind::JetStream(e) if e.code() == 404 => {
                    Error::StreamMissing
                }
                _ => Error::jetstream_failure("looking up a stream")(e.into()),
            })
    }

    /// Opens the stream of events for a worker.
    pub async fn open_intake(&self) -> Result<Intake, Error> {
        let consumer = self
            .jetstream
            .create_consumer_on_stream(self.consumer_config(), self.events_stream())
            .await
            .map_err(|e| Error::jetstream_failure("opening the stream of events")(e.into()))?;
        Ok(Intake {
            queue: PullQueue {
                consumer,
                call_timeout: self.settings.call_timeout,
            },
        })
    }
}

fn publish_error(error: jetstream::context::PublishError) -> Error {
    use jetstream::context::PublishErrorKind;
    let text = error.to_string();
    match error.kind() {
        PublishErrorKind::StreamNotFound => Error::StreamMissing,
        _ if text.contains("maximum bytes exceeded") || text.contains("maximum messages") => {
            Error::StreamFull
        }
        _ => Error::jetstream_failure("publishing")(error.into()),
    }
}

pub(crate) fn to_unix_nanos(time: async_nats::datetime::DateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

/// A worker's access to the stream of events.
pub struct Intake {
    queue: PullQueue,
}

impl Intake {
    /// Returns up to `max` events. Waits at most `poll_timeout` for the first one, or until `shutdown`.
    ///
    /// Messages that break the contract are logged and removed from the stream, because no worker can
    /// process them. Do not drop the future: events already delivered to it would not be processed
    /// until `ack_wait` has passed.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if JetStream does not reply. After any error, open the intake again:
    /// the consumer may have been deleted.
    pub async fn take_events(
        &self,
        max: usize,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Delivery>, Error> {
        let messages = self
            .queue
            .take_messages(max, poll_timeout, shutdown)
            .await?;
        let mut deliveries = Vec::with_capacity(messages.len());
        for message in messages {
            deliveries.extend(Delivery::decode_or_remove(message).await);
        }
        Ok(deliveries)
    }
}

/// A delivered event, in flight until it is acknowledged or its ack deadline passes.
pub struct Delivery {
    pub event: FileEvent,
    /// Counts JetStream's deliveries of the event, from 1.
    pub deliveries: u32,
    /// Time at which this worker received the event, in nanoseconds since 1970.
    pub received_ns: i64,
    message: jetstream::Message,
}

impl Delivery {
    async fn decode_or_remove(message: jetstream::Message) -> Option<Self> {
        let deliveries = message.info().map_or(1, |info| info.delivered);
        match FileEvent::decode(message.payload.clone()) {
            Ok(event) => Some(Self {
                event,
                deliveries: u32::try_from(deliveries).unwrap_or(1).max(1),
                received_ns: lookalike_chassis::clock::now_nanos(),
                message,
            }),
            Err(error) => {
                Self::remove_invalid(&message, &error).await;
                None
            }
        }
    }

    async fn remove_invalid(message: &jetstream::Message, error: &InvalidMessage) {
        tracing::error!(subject = %message.subject, %error, "removed a message that is not an event");
        if let Err(error) = message.ack_with(AckKind::Term).await {
            tracing::warn!(%error, "could not remove the message, it will be delivered again");
        }
    }

    /// Removes the event from the stream and waits for the server's confirmation.
    ///
    /// # Errors
    /// After any error the event may be delivered again.
    pub async fn acknowledge_event(&self) -> Result<(), Error> {
        acknowledge(&self.message).await
    }

    /// Extends the event's ack deadline, so that it is not delivered to another worker.
    pub async fn extend_ack_deadline(&self) {
        if let Err(error) = self.message.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "could not extend the ack deadline of an event");
        }
    }
}
