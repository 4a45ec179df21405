//! Questions for rows: a watcher that lost its catalog learns from the index which ids its files
//! had. Asked by watchers, answered by embedders, which have the index.

use async_nats::RequestErrorKind;
use futures_util::StreamExt as _;
use lookalike_proto::LibraryName;
use serde::{Deserialize, Serialize};

use crate::{Bus, Error};

/// What a row tells of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSummary {
    /// The image's id.
    pub id: String,
    /// Its path below the library's root.
    pub path: String,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub content_hash: String,
    /// Its generation.
    pub generation: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The file's modification time, in milliseconds since 1970.
    pub modified_at_ms: i64,
}

/// A page of a library's rows, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsPage {
    /// At most as many as asked for, and as [`crate::MAX_REPLY_BYTES`] hold.
    pub rows: Vec<RowSummary>,
    /// There are more behind these.
    pub more: bool,
}

#[derive(Serialize, Deserialize)]
struct RowsRequestMessage {
    library: String,
    after: Option<String>,
    limit: usize,
}

impl Bus {
    /// A page of a library's rows behind `after`, at most `limit` (1,000).
    ///
    /// # Errors
    /// When no embedder answers in time, or the index can't be read now.
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
        let request = async_nats::Request::new()
            .payload(serde_json::to_vec(&request_message)?.into())
            // The index may have to be waited for.
            .timeout(Some(self.settings.call_timeout * 6));
        let response = self.client.send_request(self.rows_subject(), request).await;
        let message = response.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                Error::NoResponders("no embedder answers; is `lookalike embed` running?")
            }
            _ => Error::jetstream_failure("asking for rows")(error.into()),
        })?;
        let result: Result<RowsPage, String> = serde_json::from_slice(&message.payload)?;
        result.map_err(|reason| Error::JetStream {
            operation: "reading the index",
            source: reason.into(),
        })
    }

    /// Takes questions for rows, sharing them with every other embedder. Ends when the connection
    /// closes.
    ///
    /// # Errors
    /// When the subscription is refused.
    pub async fn subscribe_rows_requests(
        &self,
    ) -> Result<impl futures_util::Stream<Item = RowsRequest> + Unpin + use<>, Error> {
        let subscription = self
            .client
            .queue_subscribe(self.rows_subject(), "embedders".into())
            .await
            .map_err(|e| Error::jetstream_failure("taking questions for rows")(e.into()))?;
        let client = self.client.clone();
        Ok(subscription.filter_map(move |message| {
            let incoming = message.reply.and_then(|reply_to| {
                let request_message: RowsRequestMessage =
                    serde_json::from_slice(&message.payload).ok()?;
                Some(RowsRequest {
                    library: LibraryName::new(&request_message.library).ok()?,
                    after: request_message.after,
                    limit: request_message.limit.clamp(1, crate::MAX_REQUEST_IDS),
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

/// A question for rows in an embedder's hands.
pub struct RowsRequest {
    /// Of this library,
    pub library: LibraryName,
    /// behind this id,
    pub after: Option<String>,
    /// at most so many.
    pub limit: usize,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl RowsRequest {
    /// Sends the answer, or why there is none.
    pub async fn send_reply(self, answer: Result<RowsPage, String>) {
        let Ok(payload) = serde_json::to_vec(&answer) else {
            return;
        };
        if let Err(error) = self.client.publish(self.reply_to, payload.into()).await {
            tracing::warn!(%error, "could not answer a question for rows");
        }
    }
}
