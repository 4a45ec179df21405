//! Requests for index rows. A watcher that lost its catalog reads its files' ids from the index.
//! Embedders reply, because only they have access to the index.

use futures_util::StreamExt as _;
use lookalike_proto::LibraryName;
use serde::{Deserialize, Serialize};

use crate::connect::Bus;
use crate::error::Error;
use crate::open_request::{OpenRequest, RequestReply};
use crate::watchers::MAX_REQUEST_IDS;

/// The part of an index row that a watcher needs to rebuild its catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSummary {
    pub id: String,
    /// Path below the library's root.
    pub path: String,
    /// BLAKE3 of the file's content, in hexadecimal.
    pub content_hash: String,
    pub generation: u64,
    /// Size of the file.
    pub bytes: u64,
    /// File modification time, in milliseconds since 1970.
    pub modified_at_ms: i64,
}

/// A page of a library's rows, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsPage {
    /// Limited by the request and by [`crate::MAX_REPLY_BYTES`].
    pub rows: Vec<RowSummary>,
    /// Whether more rows follow.
    pub more: bool,
}

/// How often a request without a reply is sent.
const MAX_SENDS: u32 = 3;

#[derive(Serialize, Deserialize)]
struct RowsRequestMessage {
    library: String,
    after: Option<String>,
    limit: usize,
}

impl Bus {
    /// Requests a page of at most `limit` (1,000) rows of a library, with ids after `after`.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no embedder replies in time; the request is sent three times.
    pub async fn request_rows(
        &self,
        library: &LibraryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<RowsPage, Error> {
        let request_message = RowsRequestMessage {
            library: library.to_string(),
            after: after.map(str::to_owned),
            limit,
        };
        let payload = serde_json::to_vec(&request_message)?;
        let subject = self.rows_subject();
        let mut request = OpenRequest::send(self, subject, payload, "requesting rows").await?;
        let mut sends = 1;
        let message = loop {
            // The embedder may have to wait for the index.
            let timeout = self.settings.call_timeout * 2;
            match request.next_reply(timeout).await? {
                RequestReply::Message(message) => break message,
                // The embedder may be frozen, and NATS may choose another one.
                RequestReply::TimedOut if sends < MAX_SENDS => {
                    request.send_again().await?;
                    sends += 1;
                }
                RequestReply::NoSubscriber | RequestReply::TimedOut => {
                    return Err(Error::NoResponders(
                        "no embedder replied; is `lookalike embed` running?",
                    ));
                }
            }
        };
        let result: Result<RowsPage, String> = serde_json::from_slice(&message.payload)?;
        result.map_err(|reason| Error::JetStream {
            operation: "reading the index",
            source: reason.into(),
        })
    }

    /// Receives requests for rows, shared among all embedders. The stream ends when the connection
    /// closes.
    pub async fn subscribe_rows_requests(
        &self,
    ) -> Result<impl futures_util::Stream<Item = RowsRequest> + Unpin + use<>, Error> {
        let subscription = self
            .client
            .queue_subscribe(self.rows_subject(), "embedders".into())
            .await
            .map_err(|e| Error::jetstream_failure("subscribing to requests for rows")(e.into()))?;
        let client = self.client.clone();
        Ok(subscription.filter_map(move |message| {
            let incoming = message.reply.and_then(|reply_to| {
                let request_message: RowsRequestMessage =
                    serde_json::from_slice(&message.payload).ok()?;
                Some(RowsRequest {
                    library: LibraryName::new(&request_message.library).ok()?,
                    after: request_message.after,
                    limit: request_message.limit.clamp(1, MAX_REQUEST_IDS),
                    reply_to,
                    client: client.clone(),
                })
            });
            std::future::ready(incoming)
        }))
    }

    fn rows_subject(&self) -> String {
        format!("{}.v1.rows", self.settings.namespace)
    }
}

/// A received request for rows that waits for a reply.
pub struct RowsRequest {
    pub library: LibraryName,
    /// Rows with ids after this one.
    pub after: Option<String>,
    pub limit: usize,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl RowsRequest {
    /// Sends the page, or the reason why there is none.
    pub async fn send_reply(self, answer: Result<RowsPage, String>) {
        let Ok(payload) = serde_json::to_vec(&answer) else {
            return;
        };
        if let Err(error) = self.client.publish(self.reply_to, payload.into()).await {
            tracing::warn!(%error, "could not reply to a request for rows");
        }
    }
}
