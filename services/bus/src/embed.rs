//! Requests for the vector of an image or a text. Embedders process them before ingestion.

use std::future::ready;
use std::time::{Duration, Instant};

use async_nats::RequestErrorKind;
use futures_util::{StreamExt as _, stream};
use lookalike_proto::wire::{EmbedError, EmbedReply, EmbedRequest, Vector};
use lookalike_proto::wire::{embed_reply, embed_request};
use lookalike_proto::{InvalidMessage, QueryText, wire};
use prost::Message as _;
use tokio::sync::oneshot;

use crate::connect::Bus;
use crate::error::Error;
use crate::local_queries::LocalQuery;
use crate::vector_query::{EmbedFailure, EmbedInput, EmbedResult, EmbeddedVector};

/// Returns the last part of the subject on which a model receives requests: its name and the
/// beginning of its weights' checksum, so that workers with different versions of a model never
/// reply to each other's requests.
pub fn request_subject(model: &str, checksum: &str) -> String {
    format!("{model}.{}", checksum.get(..12).unwrap_or(checksum))
}

const NO_REPLY: &str = "no embedder replied; is `lookalike embed` running with this model?";

const NO_LOCAL_REPLY: &str =
    "the embedder of this process did not reply in time; see its device in `lookalike status`";

/// The error code of a text query to a model without a text encoder.
pub const NO_TEXT: &str = "no_text";

/// The error code of a query to an embedder that already answers as many as it can.
pub const OVERLOADED: &str = "overloaded";

/// The error code of a query on which the network or all devices failed.
pub const NETWORK_FAILED: &str = "network_failed";

impl Bus {
    /// Requests the vector of an image from any worker with this model. `pixels` is the output of the
    /// model's preprocessing (side × side × 3 bytes, RGB).
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no worker replies in time, [`Error::EmbedRefused`] if one refuses.
    pub async fn embed_pixels(
        &self,
        model: &str,
        pixels: Vec<u8>,
    ) -> Result<EmbeddedVector, Error> {
        let input = EmbedInput::Pixels(pixels.into());
        self.request_vector(model, input).await
    }

    /// Requests the vector of a text from any worker with this model.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no worker replies in time, [`Error::EmbedRefused`] if one refuses:
    /// with [`NO_TEXT`] if the model has no text encoder.
    pub async fn embed_text(&self, model: &str, text: QueryText) -> Result<EmbeddedVector, Error> {
        self.request_vector(model, EmbedInput::Text(text)).await
    }

    /// Returns whether a request can be sent: NATS is connected, or an embedder with this model runs in
    /// this process. Without a connection, the NATS client would wait until the request times out.
    pub fn can_request_vectors(&self, model: &str) -> bool {
        self.is_connected()
            || self
                .local_subscribers
                .has_subscriber(&self.embed_subject(model))
    }

    /// Requests a vector from the subscriber of this process if there is one, otherwise over NATS. If
    /// the subscriber cannot process the query at present, another process may.
    async fn request_vector(
        &self,
        model: &str,
        input: EmbedInput,
    ) -> Result<EmbeddedVector, Error> {
        let subject = self.embed_subject(model);
        let started = Instant::now();
        let timeout = self.settings.embed_timeout;
        let mut refused = None;
        // Copying the input copies no pixels.
        if let Ok(result) = self.local_subscribers.send_query(&subject, input.clone()) {
            match tokio::time::timeout(timeout, result).await {
                Ok(Ok(Ok(vector))) => return Ok(vector),
                Ok(Ok(Err(EmbedFailure { code, detail }))) => {
                    let may_work_elsewhere = code == OVERLOADED || code == NETWORK_FAILED;
                    let error = Error::EmbedRefused { code, detail };
                    if !may_work_elsewhere {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                Err(_) => return Err(Error::NoResponders(NO_LOCAL_REPLY)),
                // The subscriber has just ended.
                Ok(Err(_)) => {}
            }
        }
        let rest = timeout.saturating_sub(started.elapsed());
        let result = self.request_remote_vector(subject, input, rest).await;
        match (result, refused) {
            // The refusal says more than that no other embedder replied.
            (Err(Error::NoResponders(_)), Some(refused)) => Err(refused),
            (result, _) => result,
        }
    }

    async fn request_remote_vector(
        &self,
        subject: String,
        input: EmbedInput,
        timeout: Duration,
    ) -> Result<EmbeddedVector, Error> {
        let input = match input {
            EmbedInput::Pixels(pixels) => embed_request::Input::Pixels(pixels),
            EmbedInput::Text(text) => embed_request::Input::Text(text.into_string()),
        };
        let request = EmbedRequest { input: Some(input) };
        let request = async_nats::Request::new()
            .payload(request.encode_to_vec().into())
            .timeout(Some(timeout));
        let response = self.client.send_request(subject, request).await;
        let message = response.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                Error::NoResponders(NO_REPLY)
            }
            _ => Error::jetstream_failure("requesting a vector")(error.into()),
        })?;
        let reply =
            EmbedReply::decode(message.payload).map_err(|source| InvalidMessage::Decode {
                message: "EmbedReply",
                source,
            })?;
        match reply.result {
            Some(embed_reply::Result::Vector(Vector { values })) => Ok(EmbeddedVector {
                vector: values,
                model: reply.model,
                checksum: reply.checksum,
            }),
            Some(embed_reply::Result::Error(EmbedError { code, detail })) => {
                Err(Error::EmbedRefused { code, detail })
            }
            None => Err(InvalidMessage::Field {
                message: "EmbedReply",
                field: "result",
            }
            .into()),
        }
    }

    /// Receives the queries for this model, shared among all subscribed workers. The stream ends
    /// when the connection closes.
    pub async fn subscribe_queries(
        &self,
        model: &str,
    ) -> Result<impl futures_util::Stream<Item = EmbedQuery> + Unpin + use<>, Error> {
        let subject = self.embed_subject(model);
        let subscription = self
            .client
            .queue_subscribe(subject.clone(), "embedders".into())
            .await
            .map_err(|e| Error::jetstream_failure("subscribing to queries")(e.into()))?;
        let client = self.client.clone();
        let remote = subscription
            .filter_map(move |message| ready(EmbedQuery::from_message(message, client.clone())));
        let mut receiver = self.local_subscribers.subscribe(&subject);
        let local = stream::poll_fn(move |context| receiver.poll_recv(context));
        // The end of the connection also ends the local queries.
        let remote = remote.map(Some).chain(stream::once(ready(None)));
        // The sender of a query that waited for too long is gone.
        let local = local.filter(|query| ready(!query.reply.is_closed()));
        let local = local.map(|query| Some(EmbedQuery::from_local(query)));
        let queries = stream::select(remote, local)
            .take_while(|query| ready(query.is_some()))
            .filter_map(ready);
        Ok(Box::pin(queries))
    }

    fn embed_subject(&self, model: &str) -> String {
        format!("{}.v1.embed.{model}", self.settings.namespace)
    }
}

/// A received query that waits for a reply.
pub struct EmbedQuery {
    pub input: EmbedInput,
    reply_to: ReplyTo,
}

enum ReplyTo {
    Remote(async_nats::Subject, async_nats::Client),
    Local(oneshot::Sender<EmbedResult>),
}

impl EmbedInput {
    /// Returns `None` for a request that `search` would never send.
    fn from_request(request: EmbedRequest) -> Option<Self> {
        match request.input? {
            embed_request::Input::Pixels(pixels) => Some(Self::Pixels(pixels)),
            embed_request::Input::Text(text) => QueryText::new(&text).ok().map(Self::Text),
        }
    }
}

impl EmbedQuery {
    fn from_message(message: async_nats::Message, client: async_nats::Client) -> Option<Self> {
        let reply_to = message.reply?;
        let request = EmbedRequest::decode(message.payload).ok()?;
        Some(Self {
            input: EmbedInput::from_request(request)?,
            reply_to: ReplyTo::Remote(reply_to, client),
        })
    }

    fn from_local(LocalQuery { input, reply }: LocalQuery) -> Self {
        let reply_to = ReplyTo::Local(reply);
        Self { input, reply_to }
    }

    pub async fn send_reply(self, result: Result<EmbeddedVector, EmbedFailure>) {
        let (subject, client) = match self.reply_to {
            ReplyTo::Remote(subject, client) => (subject, client),
            ReplyTo::Local(reply) => {
                // A cancelled search does not receive it.
                let _ = reply.send(result);
                return;
            }
        };
        let reply = match result {
            Ok(embedded) => wire::EmbedReply {
                result: Some(embed_reply::Result::Vector(Vector {
                    values: embedded.vector,
                })),
                model: embedded.model,
                checksum: embedded.checksum,
            },
            Err(EmbedFailure { code, detail }) => wire::EmbedReply {
                result: Some(embed_reply::Result::Error(EmbedError { code, detail })),
                ..Default::default()
            },
        };
        let published = client.publish(subject, reply.encode_to_vec().into()).await;
        if let Err(error) = published {
            tracing::warn!(%error, "could not reply to a query");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_search_never_sends_are_ignored() {
        let check = |input| EmbedInput::from_request(EmbedRequest { input });
        let text = |text: &str| check(Some(embed_request::Input::Text(text.to_owned())));
        let words = QueryText::new("a red chair").unwrap();
        assert_eq!(text("a red chair"), Some(EmbedInput::Text(words)));
        assert_eq!(text(&"x".repeat(1001)), None);
        assert_eq!(text("\u{1b}[2J"), None);
        assert_eq!(text(""), None);
        assert_eq!(check(None), None);
    }
}
