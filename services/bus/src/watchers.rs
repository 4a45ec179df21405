//! Questions to the watcher that holds a library: what it can't index, and what to do about it.

use async_nats::RequestErrorKind;
use futures_util::StreamExt as _;
use lookalike_proto::LibraryName;
use serde::{Deserialize, Serialize};

use crate::{Bus, Error};

/// A question, as JSON on `<namespace>.v1.watcher.<library>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum WatcherRequest {
    /// A page of the files that failed or are ignored, in the order of their ids.
    Failures {
        /// The last id of the page before.
        after: Option<String>,
        /// At most 1,000.
        limit: usize,
        /// Also those that are not meant to be indexed.
        ignored: bool,
        /// Only those with this code.
        #[serde(default)]
        code: Option<String>,
    },
    /// Try failed files again.
    Retry {
        /// These images; none: every failed file of the library.
        ids: Vec<String>,
        /// Only those that failed with this code.
        code: Option<String>,
    },
    /// Leave failed files alone until they change: they count as ignored from now on.
    Discard {
        /// These images; none: every failed file of the library.
        ids: Vec<String>,
        /// Only those that failed with this code.
        code: Option<String>,
    },
    /// Everything that is known of one file.
    FileHistory {
        /// By its image's id …
        id: Option<String>,
        /// … or by its path below the library's root.
        path: Option<String>,
    },
    /// A page of what the catalog knows, in the order of ids, to compare the index with.
    CatalogPage {
        /// The last id of the page before.
        after: Option<String>,
        /// At most 1,000.
        limit: usize,
    },
    /// What the catalog knows of these images.
    CatalogImages {
        /// At most 1,000.
        ids: Vec<String>,
    },
    /// The index lacks these images, or has something else of them: tell it again.
    Resend {
        /// At most 1,000.
        ids: Vec<String>,
    },
    /// Compare the whole folder with the catalog now.
    Scan,
    /// What lies at the library's root now is what is meant, though it may be another folder
    /// than before, or lack most of its files: remove from the index what is not in it.
    Confirm,
}

/// Ids in one question at most.
pub const MAX_REQUEST_IDS: usize = 1000;

/// Files that one [`WatcherQuestion::Retry`] or [`WatcherQuestion::Discard`] concerns at most:
/// where an answer says so many, there may be more, and one asks again.
pub const MAX_FILES_PER_REQUEST: usize = 5000;

/// Bytes of one answer's list at most, as JSON: NATS carries messages of up to 1 MiB.
pub const MAX_REPLY_BYTES: usize = 512 << 10;

/// A file that is not in the index, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailure {
    /// The image's id.
    pub id: String,
    /// Its library.
    pub library: String,
    /// Its path below the root; bytes that are no UTF-8 are shown as U+FFFD.
    pub path: String,
    /// `failed` or `ignored`.
    pub state: String,
    /// From the documented list of failure codes.
    pub code: String,
    /// One sentence.
    pub detail: String,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since 1970, when that was found.
    pub since_ms: i64,
}

/// A page of failures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailurePage {
    /// In the order of their ids.
    pub failures: Vec<FileFailure>,
    /// How many there are in all.
    pub total: u64,
    /// There are more behind these.
    #[serde(default)]
    pub more: bool,
}

/// A page of what the catalog knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPage {
    /// The library was compared with its folder as a whole, so what the catalog does not know is
    /// not there.
    pub ready: bool,
    /// A comparison of the folder with the catalog is planned or under way.
    #[serde(default)]
    pub scanning: bool,
    /// There are more behind these.
    pub more: bool,
    /// In the order of their ids.
    pub images: Vec<CatalogImage>,
}

/// What the catalog knows of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogImage {
    /// Its id.
    pub id: String,
    /// Its path below the root; bytes that are no UTF-8 are shown as U+FFFD.
    pub path: String,
    /// BLAKE3 of its bytes in hexadecimal, once an outcome told it.
    pub content_hash: Option<String>,
    /// Of the newest observation.
    pub generation: u64,
    /// The newest generation that was answered.
    pub confirmed: u64,
    /// `in_flight`, `indexed`, `failed`, `ignored`; `missing` (it may turn up elsewhere) or
    /// `removing` (the index is told to remove it).
    pub state: String,
    /// Something is to be sent, or was sent and is not answered yet.
    #[serde(default)]
    pub busy: bool,
    /// Bytes.
    pub size: u64,
}

/// One file's life. Times are nanoseconds since 1970, 0 where that did not happen (yet).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHistory {
    /// The image's id.
    pub id: String,
    /// Its library.
    pub library: String,
    /// Its path below the root; bytes that are no UTF-8 are shown as U+FFFD.
    pub path: String,
    /// As in [`CatalogImage`].
    pub state: String,
    /// Why it failed or is ignored, from the documented list.
    pub code: String,
    /// … in one sentence.
    pub detail: String,
    /// When that state was entered.
    pub since_ns: i64,
    /// Bytes.
    pub size: u64,
    /// When the file says that it was written.
    pub mtime_ns: i64,
    /// First seen by the watcher.
    pub first_seen_ns: i64,
    /// The newest change was noticed.
    pub observed_ns: i64,
    /// … and sent.
    pub sent_ns: i64,
    /// BLAKE3 of its bytes in hexadecimal.
    pub content_hash: Option<String>,
    /// Of the newest observation.
    pub generation: u64,
    /// The newest generation that was answered.
    pub confirmed: u64,
    /// How often the newest generation was sent.
    pub attempt: u32,
    /// The last answer, where one came.
    pub last_outcome: Option<LastOutcome>,
    /// What it waits for now, in one sentence; empty where it waits for nothing.
    pub waits_for: String,
}

/// What an embedder answered last about one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOutcome {
    /// Which generation it is about.
    pub generation: u64,
    /// `indexed`, `removed`, `failed` or `superseded`.
    pub state: String,
    /// How often JetStream had delivered the event.
    pub deliveries: u32,
    /// The vector came from the index or from memory, not from the network.
    pub reused: bool,
    /// The model.
    pub model: String,
    /// Taken from the queue.
    pub received_ns: i64,
    /// Read and hashed.
    pub read_ns: i64,
    /// Decoded and scaled.
    pub decoded_ns: i64,
    /// Embedded.
    pub embedded_ns: i64,
    /// Written to the index.
    pub committed_ns: i64,
    /// Known to the watcher.
    pub confirmed_ns: i64,
}

/// An answer, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatcherReply {
    /// To [`WatcherQuestion::Failures`].
    Failures(FileFailurePage),
    /// To [`WatcherQuestion::Retry`]: how many are tried again.
    Retried(u64),
    /// To [`WatcherQuestion::Discard`]: how many are left alone.
    Discarded(u64),
    /// To [`WatcherQuestion::Scan`] and [`WatcherQuestion::Confirm`]: a scan is under way.
    Scanning,
    /// To [`WatcherQuestion::FileHistory`]; `None`: no such file is known.
    FileHistory(Option<Box<FileHistory>>),
    /// To [`WatcherQuestion::CatalogPage`] and [`WatcherQuestion::CatalogImages`].
    CatalogPage(CatalogPage),
    /// To [`WatcherQuestion::Resend`]: how many are sent again.
    Resent(u64),
    /// The question can't be answered.
    Refused(String),
}

/// Where a question goes.
pub type LibraryRequest = (LibraryName, WatcherRequest);

impl Bus {
    /// Asks the watcher of `library`.
    ///
    /// # Errors
    /// When no watcher answers in time.
    pub async fn request_watcher(
        &self,
        (library, request): LibraryRequest,
    ) -> Result<WatcherReply, Error> {
        let subject = self.watcher_subject(&library);
        let payload = serde_json::to_vec(&request)?;
        let message = self
            .client
            .request(subject, payload.into())
            .await
            .map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                    Error::NoResponders("no watcher of this library answers")
                }
                _ => Error::jetstream_failure("asking a watcher")(error.into()),
            })?;
        Ok(serde_json::from_slice(&message.payload)?)
    }

    /// Takes the questions to a library's watcher. Ends when the connection closes.
    ///
    /// # Errors
    /// When the subscription is refused.
    pub async fn subscribe_watcher_requests(
        &self,
        library: &LibraryName,
    ) -> Result<impl futures_util::Stream<Item = IncomingWatcherRequest> + Unpin + use<>, Error>
    {
        let subscription = self
            .client
            .queue_subscribe(self.watcher_subject(library), "watchers".into())
            .await
            .map_err(|e| Error::jetstream_failure("taking questions")(e.into()))?;
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

/// A question in a watcher's hands.
pub struct IncomingWatcherRequest {
    /// What is asked.
    pub request: WatcherRequest,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl IncomingWatcherRequest {
    /// Sends the answer.
    pub async fn send_reply(self, reply: &WatcherReply) {
        let Ok(payload) = serde_json::to_vec(reply) else {
            return;
        };
        if let Err(error) = self.client.publish(self.reply_to, payload.into()).await {
            tracing::warn!(%error, "could not answer a question");
        }
    }
}
