//! Requests with an inbox of their own. They can be sent several times, and several processes may
//! reply.

use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::connect::Bus;
use crate::error::Error;

/// A sent request that receives replies until it is dropped.
pub(crate) struct OpenRequest {
    client: async_nats::Client,
    subject: String,
    payload: Bytes,
    inbox: Subject,
    replies: Subscriber,
    /// Names the request in errors.
    operation: &'static str,
}

/// What arrived for a request.
pub(crate) enum RequestReply {
    Message(Message),
    /// No process receives requests on this subject.
    NoSubscriber,
    /// Nothing arrived in time.
    TimedOut,
}

impl OpenRequest {
    /// Sends a request.
    pub async fn send(
        bus: &Bus,
        subject: String,
        payload: Vec<u8>,
        operation: &'static str,
    ) -> Result<Self, Error> {
        let client = bus.client.clone();
        let inbox: Subject = client.new_inbox().into();
        let replies = client.subscribe(inbox.clone()).await;
        let request = Self {
            replies: replies.map_err(|e| Error::jetstream_failure(operation)(e.into()))?,
            client,
            subject,
            payload: payload.into(),
            inbox,
            operation,
        };
        request.send_again().await?;
        Ok(request)
    }

    pub async fn send_again(&self) -> Result<(), Error> {
        let subject = self.subject.clone();
        let sent =
            self.client
                .publish_with_reply(subject, self.inbox.clone(), self.payload.clone());
        sent.await
            .map_err(|e| Error::jetstream_failure(self.operation)(e.into()))
    }

    /// Waits for the next reply. Dropping the future loses none.
    pub async fn next_reply(&mut self, timeout: Duration) -> Result<RequestReply, Error> {
        match tokio::time::timeout(timeout, self.replies.next()).await {
            Err(_) => Ok(RequestReply::TimedOut),
            Ok(Some(reply)) if reply.status.is_some() => Ok(RequestReply::NoSubscriber),
            Ok(Some(reply)) => Ok(RequestReply::Message(reply)),
            Ok(None) => {
                let closed = "the connection to NATS was closed";
                Err(Error::jetstream_failure(self.operation)(closed.into()))
            }
        }
    }
}
