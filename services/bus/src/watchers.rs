//! Requests to the watcher of a library: list, retry or discard failures, read the catalog, scan.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lookalike_proto::LibraryName;
use serde::{Deserialize, Serialize};

use crate::connect::Bus;
use crate::error::Error;
use crate::open_request::{OpenRequest, RequestReply};

/// A request, sent as JSON on `<namespace>.v1.watcher.<library>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum WatcherRequest {
    /// Lists a page of the failed files, ordered by id.
    Failures {
        /// The last id of the previous page.
        after: Option<String>,
        /// At most 1,000.
        limit: usize,
        /// Whether to include ignored files.
        ignored: bool,
        /// Lists only files with this code.
        #[serde(default)]
        code: Option<String>,
    },
    /// Retries failed files.
    Retry {
        /// The images to retry; all failed files of the library if empty.
        ids: Vec<String>,
        /// Retries only files that failed with this code.
        code: Option<String>,
    },
    /// Discards failures: the files count as ignored until they change.
    Discard {
        /// The images to discard; all failed files of the library if empty.
        ids: Vec<String>,
        /// Discards only files that failed with this code.
        code: Option<String>,
    },
    /// Reads the history of one file, given by image id or path.
    FileHistory {
        id: Option<String>,
        /// The path below the library's root, as it is or with the escapes of
        /// [`lookalike_proto::unescape_path`].
        path: Option<String>,
    },
    /// Reads a page of the catalog, ordered by id, to compare it with the index.
    CatalogPage {
        /// The last id of the previous page.
        after: Option<String>,
        /// At most 1,000.
        limit: usize,
    },
    /// Reads the catalog entries of some images.
    CatalogImages {
        /// At most 1,000.
        ids: Vec<String>,
    },
    /// Publishes these images again, because their rows are missing or wrong.
    Resend {
        /// At most 1,000.
        ids: Vec<String>,
    },
    /// Compares the whole folder with the catalog now.
    Scan,
    /// Confirms that the folder at the library's root is the intended one, even if it replaced another
    /// folder or lacks most of its files. Rows of missing files are then removed.
    Confirm,
}

/// Limit on the ids in one request.
pub const MAX_REQUEST_IDS: usize = 1000;

/// Limit on the files that one [`WatcherRequest::Retry`] or [`WatcherRequest::Discard`] affects. A
/// reply with this count means that more files may remain, and the request should be repeated.
pub const MAX_FILES_PER_REQUEST: usize = 5000;

/// Limit on the size of a list in one reply, as JSON. NATS limits messages to 1 MiB.
pub const MAX_REPLY_BYTES: usize = 512 << 10;

/// A file that is not in the index, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailure {
    pub id: String,
    pub library: String,
    /// The path below the root, as [`lookalike_proto::path_to_text`] writes it.
    pub path: String,
    /// `failed` or `ignored`.
    pub state: String,
    /// A code of [`lookalike_proto::reasons`].
    pub code: String,
    /// One sentence for a person.
    pub detail: String,
    /// File size in bytes.
    pub size: u64,
    /// Time at which the file failed or was ignored, in milliseconds since 1970.
    pub since_ms: i64,
}

/// A page of failures, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailurePage {
    pub failures: Vec<FileFailure>,
    /// Number of matching failures on all pages.
    pub total: u64,
    /// Whether more failures follow.
    #[serde(default)]
    pub has_more: bool,
}

/// A page of the catalog, ordered by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPage {
    /// Whether the whole folder was scanned, so that a file without an entry does not exist.
    pub ready: bool,
    /// Whether a scan is planned or in progress.
    #[serde(default)]
    pub scanning: bool,
    /// Whether more images follow.
    pub more: bool,
    pub images: Vec<CatalogImage>,
}

/// The catalog entry of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogImage {
    pub id: String,
    /// The path below the root, as [`lookalike_proto::path_to_text`] writes it.
    pub path: String,
    /// BLAKE3 of the file's content in hexadecimal, as reported by the last outcome.
    pub content_hash: Option<String>,
    /// The generation of the newest observation.
    pub generation: u64,
    /// The newest generation with an outcome.
    pub confirmed: u64,
    /// `in_flight`, `indexed`, `failed`, `ignored`, `missing` (the file may reappear elsewhere) or
    /// `removing` (the removal of its row was requested).
    pub state: String,
    /// Whether an event is waiting to be sent, or was sent and has no outcome yet.
    #[serde(default)]
    pub busy: bool,
    /// File size in bytes.
    pub size: u64,
}

/// The history of one file. Times are nanoseconds since 1970; 0 for a step that has not happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHistory {
    pub id: String,
    pub library: String,
    /// The path below the root, as [`lookalike_proto::path_to_text`] writes it.
    pub path: String,
    /// As in [`CatalogImage::state`].
    pub state: String,
    /// A code of [`lookalike_proto::reasons`]; empty unless the file failed or is ignored.
    pub code: String,
    /// One sentence for a person, to the code.
    pub detail: String,
    /// Time at which the state was entered.
    pub since_ns: i64,
    /// File size in bytes.
    pub size: u64,
    pub mtime_ns: i64,
    pub first_seen_ns: i64,
    /// Time at which the newest change was noticed.
    pub observed_ns: i64,
    /// Time at which the newest change was sent.
    pub sent_ns: i64,
    /// BLAKE3 of the file's content in hexadecimal.
    pub content_hash: Option<String>,
    /// The generation of the newest observation.
    pub generation: u64,
    /// The newest generation with an outcome.
    pub confirmed: u64,
    /// Counts the publications of the newest generation.
    pub attempt: u32,
    pub last_outcome: Option<LastOutcome>,
    /// What the file is waiting for, in one sentence; empty if nothing.
    pub waits_for: String,
}

/// The last outcome of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOutcome {
    pub generation: u64,
    /// `indexed`, `removed`, `failed` or `superseded`.
    pub state: String,
    /// Counts JetStream's deliveries of the event.
    pub deliveries: u32,
    /// Whether the vector came from the index or the content cache instead of the network.
    pub reused: bool,
    pub model: String,
    /// Taken from the queue.
    pub received_ns: i64,
    /// Read and hashed.
    pub read_ns: i64,
    /// Decoded and scaled.
    pub decoded_ns: i64,
    pub embedded_ns: i64,
    /// Written to the index.
    pub committed_ns: i64,
    /// Received by the watcher.
    pub confirmed_ns: i64,
}

/// The reply to a [`WatcherRequest`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatcherReply {
    /// Replies to [`WatcherRequest::Failures`].
    Failures(FileFailurePage),
    /// Replies to [`WatcherRequest::Retry`] with the number of retried files.
    Retried(u64),
    /// Replies to [`WatcherRequest::Discard`] with the number of discarded files.
    Discarded(u64),
    /// Replies to [`WatcherRequest::Scan`] and [`WatcherRequest::Confirm`]: a scan was started.
    Scanning,
    /// Replies to [`WatcherRequest::FileHistory`]; `None` if the file is unknown.
    FileHistory(Option<Box<FileHistory>>),
    /// Replies to [`WatcherRequest::CatalogPage`] and [`WatcherRequest::CatalogImages`].
    CatalogPage(CatalogPage),
    /// Replies to [`WatcherRequest::Resend`] with the number of images published again.
    Resent(u64),
    /// The request cannot be served, for this reason.
    Refused(String),
}

const NO_WATCHER: &str = "no watcher of this library replied; is `lookalike watch` running?";

const NO_REPLY: &str =
    "the watcher of this library did not reply in time; it may be frozen, or wait for a slow disk";

/// How long another reply may follow a refusal.
const REFUSAL_GRACE_PERIOD: Duration = Duration::from_millis(300);

/// A request and the library whose watcher receives it.
pub type LibraryRequest = (LibraryName, WatcherRequest);

impl Bus {
    /// Sends a request to the watcher of a library and waits for its reply, for `nats.call_timeout` at
    /// most. A frozen watcher does not delay the reply of the one that took over its library.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if no watcher replies in time.
    pub async fn request_watcher(
        &self,
        (library, request): LibraryRequest,
    ) -> Result<WatcherReply, Error> {
        let subject = self.watcher_subject(&library);
        let payload = serde_json::to_vec(&request)?;
        let mut sent = OpenRequest::send(self, subject, payload, "requesting a watcher").await?;
        let mut refusal = None;
        let mut deadline = Instant::now() + self.settings.call_timeout;
        loop {
            let timeout = deadline.saturating_duration_since(Instant::now());
            let reply = match (sent.next_reply(timeout).await?, refusal.take()) {
                (RequestReply::Message(message), _) => serde_json::from_slice(&message.payload)?,
                (_, Some(refusal)) => return Ok(refusal),
                (RequestReply::NoSubscriber, None) => return Err(Error::NoResponders(NO_WATCHER)),
                (RequestReply::TimedOut, None) => return Err(Error::NoResponders(NO_REPLY)),
            };
            if !matches!(reply, WatcherReply::Refused(_)) {
                return Ok(reply);
            }
            // A watcher that lost its lease while it was frozen refuses; the holder may be slower.
            refusal = Some(reply);
            deadline = deadline.min(Instant::now() + REFUSAL_GRACE_PERIOD);
        }
    }

    /// Receives the requests to a library's watcher. The stream ends when the connection closes.
    ///
    /// Only the holder of the library's lease subscribes. After it was frozen, there may briefly be
    /// two, and both receive every request: in a queue group, the frozen one would keep its share.
    pub async fn subscribe_watcher_requests(
        &self,
        library: &LibraryName,
    ) -> Result<impl futures_util::Stream<Item = IncomingWatcherRequest> + Unpin + use<>, Error>
    {
        let subscription = self
            .client
            .subscribe(self.watcher_subject(library))
            .await
            .map_err(|e| Error::jetstream_failure("subscribing to requests")(e.into()))?;
        let client = self.client.clone();
        Ok(subscription.filter_map(move |message| {
            let incoming = message.reply.and_then(|reply_to| {
                let request = serde_json::from_slice(&message.payload).ok()?;
                Some(IncomingWatcherRequest {
                    request,
                    reply_to,
                    client: client.clone(),
                })
            });
            std::future::ready(incoming)
        }))
    }

    fn watcher_subject(&self, library: &LibraryName) -> String {
        format!("{}.v1.watcher.{library}", self.settings.namespace)
    }
}

/// A received request that waits for a reply.
pub struct IncomingWatcherRequest {
    pub request: WatcherRequest,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl IncomingWatcherRequest {
    pub async fn send_reply(self, reply: &WatcherReply) {
        let Ok(payload) = serde_json::to_vec(reply) else {
            return;
        };
        if let Err(error) = self.client.publish(self.reply_to, payload.into()).await {
            tracing::warn!(%error, "could not reply to a request");
        }
    }
}
