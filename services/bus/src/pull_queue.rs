//! Takes messages from a durable consumer that several processes share.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

const ACK_TIMEOUT: Duration = Duration::from_secs(5);

const FETCH_TIMED_OUT: Error =
    Error::NoResponders("JetStream did not reply to a request for messages");

/// A durable consumer. Each of its messages is delivered to one process at a time.
pub(crate) struct PullQueue {
    pub consumer: PullConsumer,
    pub call_timeout: Duration,
}

impl PullQueue {
    /// Returns up to `max` messages. Waits at most `poll_timeout` for the first one, or until
    /// `shutdown`.
    ///
    /// Do not drop the future: messages already delivered to it would not be processed until their ack
    /// deadline has passed.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if JetStream does not reply. After any error, open the consumer again:
    /// it may have been deleted.
    pub(crate) async fn take_messages(
        &self,
        max: usize,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Vec<jetstream::Message>, Error> {
        // First fetch what is available; wait only if there is nothing.
        let mut taken = self.fetch_available(max).await?;
        if taken.is_empty() && !shutdown.is_cancelled() {
            let message = self.wait_for_message(poll_timeout, shutdown).await?;
            if let Some(message) = message {
                taken.push(message);
                let rest = self.fetch_available(max.saturating_sub(1)).await;
                taken.extend(rest.unwrap_or_default());
            }
        }
        Ok(taken)
    }

    /// Returns the next message, or `None` after `poll_timeout` or at `shutdown`. It also waits while the
    /// consumer has as many messages in flight as it may have; [`Self::take_messages`] then fails.
    ///
    /// # Errors
    /// As [`Self::take_messages`].
    pub(crate) async fn wait_for_message(
        &self,
        poll_timeout: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<jetstream::Message>, Error> {
        let request = self
            .consumer
            .batch()
            .max_messages(1)
            .expires(poll_timeout)
            .messages();
        let mut messages = match timeout(self.call_timeout, request).await {
            Ok(waited) => {
                waited.map_err(|e| Error::jetstream_failure("taking messages")(e.into()))?
            }
            Err(_) => return Err(FETCH_TIMED_OUT),
        };
        let message = tokio::select! {
            biased;
            first = messages.next() => first,
            // A message that is being sent to this request is delivered again after `ack_wait`.
            () = shutdown.cancelled() => None,
        };
        let message = message.transpose();
        message.map_err(Error::jetstream_failure("taking messages"))
    }

    /// Returns the messages that are available now. Each wait has a timeout of its own, because the
    /// client waits forever for a request or a reply that was lost.
    async fn fetch_available(&self, max: usize) -> Result<Vec<jetstream::Message>, Error> {
        let mut taken = Vec::new();
        if max == 0 {
            return Ok(taken);
        }
        let request = self.consumer.fetch().max_messages(max).messages();
        let mut messages = match timeout(self.call_timeout, request).await {
            Ok(messages) => {
                messages.map_err(|e| Error::jetstream_failure("taking messages")(e.into()))?
            }
            Err(_) => return Err(FETCH_TIMED_OUT),
        };
        loop {
            match timeout(self.call_timeout, messages.next()).await {
                Ok(Some(Ok(message))) => taken.push(message),
                Ok(None) => return Ok(taken),
                // Return the messages received so far; the next call runs into the error again.
                Ok(Some(Err(_))) | Err(_) if !taken.is_empty() => return Ok(taken),
                Ok(Some(Err(error))) => {
                    return Err(Error::jetstream_failure("taking messages")(error));
                }
                Err(_) => return Err(FETCH_TIMED_OUT),
            }
        }
    }
}

/// Acknowledges a message and waits for the server's confirmation.
///
/// # Errors
/// After any error the message may be delivered again.
pub(crate) async fn acknowledge(message: &jetstream::Message) -> Result<(), Error> {
    match timeout(ACK_TIMEOUT, message.double_ack()).await {
        Ok(acknowledged) => acknowledged.map_err(Error::jetstream_failure("acknowledging")),
        Err(_) => Err(Error::NoResponders(
            "JetStream did not confirm an acknowledgement",
        )),
    }
}
