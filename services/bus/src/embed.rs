//! Requests for the vector of an image or a text. Embedders process them before ingestion.

use std::future::ready;

use futures_util::{StreamExt as _, stream};
use lookalike_proto::wire::{EmbedError, EmbedRequest, Vector};
use lookalike_proto::wire::{embed_reply, embed_request};
use lookalike_proto::{QueryText, wire};
use prost::Message as _;
use tokio::sync::oneshot;

use crate::connect::Bus;
use crate::embedder_instance::EmbedderInstance;
use crate::error::Error;
use crate::local_queries::LocalQuery;
use crate::vector_query::{EmbedFailure, EmbedInput, EmbedResult, EmbeddedVector};

/// Returns the last part of the subject on which a model receives requests: its name and the
/// beginning of its weights' checksum, so that workers with different versions of a model never
/// reply to each other's requests.
pub fn request_subject(model: &str, checksum: &str) -> String {
    format!("{model}.{}", checksum.get(..12).unwrap_or(checksum))
}

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

    /// Receives the queries for this model: those for the embedder `instance`, and those for any
    /// embedder, which NATS shares among all of them. Also answers roll calls. The stream ends when the
    /// connection closes.
    ///
    /// # Errors
    /// [`Error::InvalidInstance`] for a name that cannot be part of a subject.
    pub async fn subscribe_queries(
        &self,
        model: &str,
        instance: &str,
    ) -> Result<impl futures_util::Stream<Item = EmbedQuery> + Unpin + use<>, Error> {
        let instance = EmbedderInstance::new(instance)?;
        let subject = self.embed_subject(model);
        let failed = |e: async_nats::SubscribeError| {
            Error::jetstream_failure("subscribing to queries")(e.into())
        };
        let shared = self
            .client
            .queue_subscribe(subject.clone(), "embedders".into())
            .await
            .map_err(failed)?;
        let own = self
            .client
            .subscribe(self.instance_subject(model, &instance))
            .await
            .map_err(failed)?;
        let roll_calls = self.answer_roll_calls(model, &instance).await?;
        let client = self.client.clone();
        let remote = stream::select(own, shared)
            .map(move |message| EmbedQuery::from_message(message, client.clone()));
        let remote = stream::select(remote, roll_calls.map(|()| None));
        let mut receiver = self.local_subscribers.subscribe(&subject, &instance);
        let local = stream::poll_fn(move |context| receiver.poll_recv(context));
        // The search no longer waits.
        let local = local.filter(|query| ready(query.search.strong_count() > 0));
        let local = local.map(|query| Some(EmbedQuery::from_local(query)));
        // The end of the connection also ends the local queries.
        let remote = remote.filter_map(ready);
        let remote = remote.map(Some).chain(stream::once(ready(None)));
        let queries = stream::select(remote, local)
            .take_while(|query| ready(query.is_some()))
            .filter_map(ready);
        Ok(Box::pin(queries))
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

    fn from_local(LocalQuery { input, reply, .. }: LocalQuery) -> Self {
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
