//! Events: published by the watcher, taken by the embedder.

use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer::PullConsumer, message::PublishMessage};
use futures_util::{StreamExt as _, future::join_all};
use lookalike_proto::{FileEvent, InvalidMessage};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Bus, Error};

/// The one durable consumer's name.
pub(crate) const CONSUMER: &str = "embedder";

/// Where in which stream a message was stored: a stream that was made anew starts again at 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPosition {
    /// When the stream was made, in nanoseconds since 1970.
    pub stream_created_ns: i64,
    /// The message's number in it.
    pub sequence: u64,
}

impl StreamPosition {
    /// Whether it is of the same stream as `end`, and not beyond that.
    pub fn is_within(&self, end: &Self) -> bool {
        self.stream_created_ns == end.stream_created_ns && self.sequence <= end.sequence
    }
}

/// How much work waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Events in the stream, held by a worker or not.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The number of the oldest one.
    pub first_sequence: u64,
    /// When the oldest one was stored, in nanoseconds since 1970, by the server's clock; of no
    /// meaning where there is none.
    pub first_stored_ns: i64,
}

impl Bus {
    /// Publishes events and waits until JetStream has stored them; one result for each, in
    /// order. A message that is stored already (same id within the window) is Ok.
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

    /// How much work waits in the stream of events, and when that stream was made.
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream is gone.
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

    /// Whether the workers' consumer believes that the message with this number, which the stream
    /// holds, is done. A server that lost messages and not the consumer's state counts anew from
    /// below it, and what is stored then comes to nobody. (For a moment it is so of every message
    /// that is just acknowledged: ask twice.)
    ///
    /// # Errors
    /// When JetStream does not answer, or the stream is gone.
    pub async fn consumer_is_ahead(&self, sequence: u64) -> Result<bool, Error> {
        let lookup_error = Error::jetstream_failure("asking for the consumer of events");
        let info = self
            .jetstream
            .get_consumer_from_stream::<jetstream::consumer::pull::Config, _, _>(
                CONSUMER,
                self.events_stream(),
            )
            .await;
        match info {
            Ok(consumer) => Ok(consumer.cached_info().ack_floor.stream_sequence >= sequence),
            // Without one, every message will be delivered to the one that is made.
            Err(error) if error.to_string().contains("not found") => Ok(false),
            Err(error) => Err(lookup_error(error.into())),
        }
    }

    /// Removes the workers' consumer; they open another one, which gets all that is stored.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn delete_consumer(&self) -> Result<(), Error> {
        self.jetstream
            .delete_consumer_from_stream(CONSUMER, self.events_stream())
            .await
            .map(|_| ())
            .map_err(|e| Error::jetstream_failure("removing the consumer of events")(e.into()))
    }

    /// Whether the stream of events still holds the message with this number.
    ///
    /// # Errors
    /// When JetStream does not answer.
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
                _ => Error::jetstream_failure("asking for a stream")(e.into()),
            })
    }

    /// Opens the queue of events for a worker.
    ///
    /// # Errors
    /// When JetStream does not answer or the stream is gone.
    pub async fn open_intake(&self) -> Result<Intake, Error> {
        let consumer = self
            .jetstream
            .create_consumer_on_stream(self.consumer_config(), self.events_stream())
            .await
            .map_err(|e| Error::jetstream_failure("opening the queue of events")(e.into()))?;
        Ok(Intake {
            consumer,
            call_timeout: self.settings.call_timeout,
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

/// A worker's end of the queue of events.
pub struct Intake {
    consumer: PullConsumer,
    call_timeout: Duration,
}

impl Intake {
    /// Takes up to `max` events; waits at most `poll_timeout` for the first one, or until `shutdown`.
    /// Don't drop the future: what was delivered to it would come to nobody's hands until
    /// `ack_wait` has passed. Messages that break
    /// the contract are removed from the queue with a log line: nobody could ever do them.
    ///
    /// # Errors
    /// When JetStream does not answer, or the consumer is gone (open the intake anew).
    pub async fn take_events(
        &self,
        max: usize,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Vec<Delivery>, Error> {
        // First what is there at once; only where that is nothing, wait for one.
        let mut deliveries = self.fetch_available(max).await?;
        if deliveries.is_empty() && !shutdown.is_cancelled() {
            let request = self
                .consumer
                .batch()
                .max_messages(1)
                .expires(poll_timeout)
                .messages();
            let mut messages = match timeout(self.call_timeout, request).await {
                Ok(waited) => {
                    waited.map_err(|e| Error::jetstream_failure("taking events")(e.into()))?
                }
                Err(_) => return Err(FETCH_TIMED_OUT),
            };
            let message = tokio::select! {
                biased;
                first = messages.next() => first,
                // A message on its way to this request at this very moment comes again after
                // `ack_wait`.
                () = shutdown.cancelled() => None,
            };
            if let Some(message) = message {
                let message = message.map_err(Error::jetstream_failure("taking events"))?;
                deliveries.extend(Delivery::decode_or_remove(message).await);
                deliveries.extend(
                    self.fetch_available(max.saturating_sub(1))
                        .await
                        .unwrap_or_default(),
                );
            }
        }
        Ok(deliveries)
    }

    /// What is there at once. Each wait has a limit of its own: the client waits for ever for a
    /// request or an answer that was lost on the way.
    async fn fetch_available(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut deliveries = Vec::new();
        if max == 0 {
            return Ok(deliveries);
        }
        let request = self.consumer.fetch().max_messages(max).messages();
        let mut messages = match timeout(self.call_timeout, request).await {
            Ok(messages) => {
                messages.map_err(|e| Error::jetstream_failure("taking events")(e.into()))?
            }
            Err(_) => return Err(FETCH_TIMED_OUT),
        };
        loop {
            match timeout(self.call_timeout, messages.next()).await {
                Ok(Some(Ok(message))) => {
                    deliveries.extend(Delivery::decode_or_remove(message).await)
                }
                Ok(None) => return Ok(deliveries),
                // What was delivered is in hand; the next call meets the error again.
                Ok(Some(Err(_))) | Err(_) if !deliveries.is_empty() => return Ok(deliveries),
                Ok(Some(Err(error))) => {
                    return Err(Error::jetstream_failure("taking events")(error));
                }
                Err(_) => return Err(FETCH_TIMED_OUT),
            }
        }
    }
}

/// How long one word about one event may take to be said.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

const FETCH_TIMED_OUT: Error =
    Error::NoResponders("JetStream does not answer a request for events");

/// An event in a worker's hands, until it is acknowledged or its time is up.
pub struct Delivery {
    /// What to do.
    pub event: FileEvent,
    /// How often JetStream has delivered it, from 1.
    pub deliveries: u32,
    /// Nanoseconds since 1970 when this worker got it.
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
        tracing::error!(subject = %message.subject, %error, "removed a message that is no event");
        if let Err(error) = message.ack_with(AckKind::Term).await {
            tracing::warn!(%error, "could not remove it, it will come again");
        }
    }

    /// Removes the event from the queue and waits until the server has done so.
    ///
    /// # Errors
    /// When the server does not answer: the event may come again.
    pub async fn acknowledge_event(&self) -> Result<(), Error> {
        match timeout(ACK_TIMEOUT, self.message.double_ack()).await {
            Ok(acknowledged) => acknowledged.map_err(Error::jetstream_failure("acknowledging")),
            Err(_) => Err(Error::NoResponders(
                "JetStream does not take an acknowledgement",
            )),
        }
    }

    /// Tells the server that the work goes on, so that nobody else gets the event.
    pub async fn extend_ack_deadline(&self) {
        if let Err(error) = self.message.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "could not extend the time for an event");
        }
    }
}
