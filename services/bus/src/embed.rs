//! Queries for a vector: request/reply, ahead of all ingestion.

use async_nats::RequestErrorKind;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lookalike_proto::wire::{EmbedError, EmbedReply, EmbedRequest, Vector};
use lookalike_proto::wire::{embed_reply, embed_request};
use lookalike_proto::{InvalidMessage, QueryText, wire};
use prost::Message as _;

use crate::{Bus, Error};

/// A vector and the model that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedVector {
    /// Unit length, of the model's dimension.
    pub vector: Vec<f32>,
    /// The model's name.
    pub model: String,
    /// SHA-256 of its weights, in hexadecimal.
    pub checksum: String,
}

/// By what name a model is asked for vectors: its own and the beginning of its weights' checksum,
/// so that workers with an old and a new version of one model never answer for each other.
pub fn request_subject(model: &str, checksum: &str) -> String {
    format!("{model}.{}", checksum.get(..12).unwrap_or(checksum))
}

/// Why a query with a text got no vector: the worker's model has no text side.
pub const NO_TEXT: &str = "no_text";

/// Why a query got no vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedFailure {
    /// From the documented list.
    pub code: String,
    /// One sentence.
    pub detail: String,
}

impl Bus {
    /// Asks any worker with this model for the vector of a picture, as the model's preprocessing
    /// leaves it (side × side × 3 bytes, RGB).
    ///
    /// # Errors
    /// When no worker answers in time, or answers with an error.
    pub async fn embed_pixels(
        &self,
        model: &str,
        pixels: Vec<u8>,
    ) -> Result<EmbeddedVector, Error> {
        let input = embed_request::Input::Pixels(pixels.into());
        self.request_vector(model, input).await
    }

    /// Asks any worker with this model for the vector of a text.
    ///
    /// # Errors
    /// When no worker answers in time, or answers with an error: [`NO_TEXT`] from a model that has
    /// no text side.
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
        let no_responders = "no embedder answers; is `lookalike embed` running with this model?";
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
            _ => Error::jetstream_failure("asking for a vector")(error.into()),
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

    /// Takes queries for this model, sharing them with every other worker that does, and hands
    /// each to `response`, which replies through [`Query::send_reply`]. Ends when the connection closes.
    ///
    /// # Errors
    /// When the subscription is refused.
    pub async fn subscribe_queries(
        &self,
        model: &str,
    ) -> Result<impl futures_util::Stream<Item = EmbedQuery> + Unpin + use<>, Error> {
        let subscription = self
            .client
            .queue_subscribe(self.embed_subject(model), "embedders".into())
            .await
            .map_err(|e| Error::jetstream_failure("taking queries")(e.into()))?;
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

/// What a query asks the vector of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedInput {
    /// side × side × 3 bytes, RGB.
    Pixels(Bytes),
    /// Words.
    Text(QueryText),
}

/// A query in a worker's hands.
pub struct EmbedQuery {
    /// What is to be embedded.
    pub input: EmbedInput,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl EmbedInput {
    /// What is asked; nothing where it is something that `search` would never ask.
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

    /// Sends the answer.
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
            tracing::warn!(%error, "could not answer a query");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_search_would_never_ask_is_not_answered() {
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
