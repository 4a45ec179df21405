//! Requests for the vector of an image or a text. Embedders process them before ingestion.

use async_nats::RequestErrorKind;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lookalike_proto::wire::{EmbedError, EmbedReply, EmbedRequest, Vector};
use lookalike_proto::wire::{embed_reply, embed_request};
use lookalike_proto::{InvalidMessage, QueryText, wire};
use prost::Message as _;

use crate::connect::Bus;
use crate::error::Error;

/// A vector and the model that produced it.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedVector {
    /// A unit vector of the model's dimension.
    pub vector: Vec<f32>,
    pub model: String,
    /// SHA-256 of the model's weights, in hexadecimal.
    pub checksum: String,
}

/// Returns the last part of the subject on which a model receives requests: its name and the
/// beginning of its weights' checksum, so that workers with different versions of a model never
/// reply to each other's requests.
pub fn request_subject(model: &str, checksum: &str) -> String {
    format!("{model}.{}", checksum.get(..12).unwrap_or(checksum))
}

/// The error code of a text query to a model without a text encoder.
pub const NO_TEXT: &str = "no_text";

/// The reply to a query that an embedder refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedFailure {
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
}

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
        let input = embed_request::Input::Pixels(pixels.into());
        self.request_vector(model, input).await
    }

    /// Requests the vector of a text from any worker with this model.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no worker replies in time, [`Error::EmbedRefused`] if one refuses:
    /// with [`NO_TEXT`] if the model has no text encoder.
    pub async fn embed_text(&self, model: &str, text: QueryText) -> Result<EmbeddedVector, Error> {
        let input = embed_request::Input::Text(text.into_string());
        self.request_vector(model, input).await
    }

    async fn request_vector(
        &self,
        model: &str,
        input: embed_request::Input,
    ) -> Result<EmbeddedVector, Error> {
        let request = EmbedRequest { input: Some(input) };
        let no_responders = "no embedder replied; is `lookalike embed` running with this model?";
        let request = async_nats::Request::new()
            .payload(request.encode_to_vec().into())
            .timeout(Some(self.settings.embed_timeout));
        let response = self
            .client
            .send_request(self.embed_subject(model), request)
            .await;
        let message = response.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                Error::NoResponders(no_responders)
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
        let subscription = self
            .client
            .queue_subscribe(self.embed_subject(model), "embedders".into())
            .await
            .map_err(|e| Error::jetstream_failure("subscribing to queries")(e.into()))?;
        let client = self.client.clone();
        Ok(subscription.filter_map(move |message| {
            let query = EmbedQuery::from_message(message, client.clone());
            std::future::ready(query)
        }))
    }

    fn embed_subject(&self, model: &str) -> String {
        format!("{}.v1.embed.{model}", self.settings.namespace)
    }
}

/// The input of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedInput {
    /// Preprocessed pixels: side × side × 3 bytes, RGB.
    Pixels(Bytes),
    Text(QueryText),
}

/// A received query that waits for a reply.
pub struct EmbedQuery {
    pub input: EmbedInput,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
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
            reply_to,
            client,
        })
    }

    pub async fn send_reply(self, result: Result<EmbeddedVector, EmbedFailure>) {
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
        if let Err(error) = self
            .client
            .publish(self.reply_to, reply.encode_to_vec().into())
            .await
        {
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
