//! The stream of outcomes: published by the embedder, read by the watchers.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use futures_util::{StreamExt as _, future::join_all};
use lookalike_proto::{LibraryName, Outcome};

use crate::connect::Bus;
use crate::error::Error;
use crate::events::{StreamPosition, to_unix_nanos};

impl Bus {
    /// Publishes outcomes, waits until JetStream has stored them, and returns one result per outcome.
    pub async fn publish_outcomes(&self, outcomes: &[Outcome]) -> Vec<Result<(), Error>> {
        let publishes = outcomes.iter().map(|outcome| async move {
            let subject = format!(
                "{}.v1.outcomes.{}",
                self.settings.namespace, outcome.library
            );
            let message = PublishMessage::build()
                .payload(outcome.encode())
                .expected_stream(self.outcomes_stream());
            let publish_error = |e: async_nats::jetstream::context::PublishError| {
                Error::jetstream_failure("publishing an outcome")(e.into())
            };
            self.jetstream
                .send_publish(subject, message)
                .await
                .map_err(publish_error)?
                .await
                .map_err(publish_error)?;
            Ok(())
        });
        join_all(publishes).await
    }

    /// Reads a library's outcomes, starting after the position `after`.
    ///
    /// Reading starts at the oldest stored outcome if `after` is `None`, belongs to a stream that was
    /// recreated since, or is beyond the end of a stream whose server lost messages.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn read_outcomes(
        &self,
        library: &LibraryName,
        after: Option<StreamPosition>,
    ) -> Result<OutcomeReader, Error> {
        self.read_subject(library.as_str(), after).await
    }

    /// Reads the outcomes of all libraries, starting after the position `after`, under the same rules.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn read_all_outcomes(
        &self,
        after: Option<StreamPosition>,
    ) -> Result<OutcomeReader, Error> {
        self.read_subject("*", after).await
    }

    async fn read_subject(
        &self,
        library: &str,
        after: Option<StreamPosition>,
    ) -> Result<OutcomeReader, Error> {
        let stream = self.get_stream(self.outcomes_stream()).await?;
        let end = stream_end(&stream);
        let created_ns = end.stream_created_ns;
        let deliver_policy = match after {
            Some(position) if position.is_within(&end) => DeliverPolicy::ByStartSequence {
                start_sequence: position.sequence + 1,
            },
            _ => DeliverPolicy::All,
        };
        let read_error = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("reading outcomes")(e)
        };
        let messages = stream
            .create_consumer(pull::OrderedConfig {
                filter_subject: format!("{}.v1.outcomes.{library}", self.settings.namespace),
                deliver_policy,
                ..Default::default()
            })
            .await
            .map_err(|e| read_error(e.into()))?
            .messages()
            .await
            .map_err(|e| read_error(e.into()))?;
        Ok(OutcomeReader {
            stream_created_ns: created_ns,
            messages,
        })
    }

    /// Returns the position of the last message in the stream of outcomes.
    ///
    /// # Errors
    /// [`Error::StreamMissing`] if the stream was deleted.
    pub async fn outcomes_end_position(&self) -> Result<StreamPosition, Error> {
        let stream = self.get_stream(self.outcomes_stream()).await?;
        Ok(stream_end(&stream))
    }
}

fn stream_end(stream: &async_nats::jetstream::stream::Stream) -> StreamPosition {
    let info = stream.cached_info();
    StreamPosition {
        stream_created_ns: to_unix_nanos(info.created),
        sequence: info.state.last_sequence,
    }
}

/// Reads a library's outcomes in the order in which they were stored.
pub struct OutcomeReader {
    stream_created_ns: i64,
    messages: pull::Ordered,
}

impl OutcomeReader {
    /// Creation time of the stream, in nanoseconds since 1970.
    ///
    /// The client continues by sequence number in a recreated stream and would skip its first
    /// messages, so callers compare this with [`Bus::outcomes_end_position`].
    pub fn stream_created_ns(&self) -> i64 {
        self.stream_created_ns
    }

    /// Waits for the next outcome and returns it with its position. The future may be dropped without
    /// losing an outcome.
    ///
    /// # Errors
    /// After any error, call [`Bus::read_outcomes`] again with the last position.
    pub async fn next_outcome(&mut self) -> Result<(StreamPosition, Outcome), Error> {
        loop {
            let message = self
                .messages
                .next()
                .await
                .ok_or(Error::StreamMissing)?
                .map_err(|e| Error::jetstream_failure("reading outcomes")(e.into()))?;
            let sequence = message
                .info()
                .map_err(Error::jetstream_failure("reading outcomes"))?
                .stream_sequence;
            match Outcome::decode(message.payload.clone()) {
                Ok(outcome) => {
                    let position = StreamPosition {
                        stream_created_ns: self.stream_created_ns,
                        sequence,
                    };
                    return Ok((position, outcome));
                }
                Err(error) => {
                    tracing::error!(sequence, %error, "skipped a message that is not an outcome");
                }
            }
        }
    }
}
