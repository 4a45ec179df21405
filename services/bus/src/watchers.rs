//! Questions to the watcher that holds a library: what it can't index, and what to do about it.

use async_nats::RequestErrorKind;
use futures_util::StreamExt as _;
use lookalike_proto::Library;
use serde::{Deserialize, Serialize};

use crate::{Bus, Error};

/// A question, as JSON on `<namespace>.v1.watcher.<library>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum WatcherQuestion {
    /// A page of the files that failed or are ignored, in the order of their ids.
    Failures {
        /// The last id of the page before.
        after: Option<String>,
        /// At most 1,000.
        limit: usize,
        /// Also those that are not meant to be indexed.
        ignored: bool,
    },
    /// Try failed files again.
    Retry {
        /// Only this image.
        id: Option<String>,
        /// Only those that failed with this code.
        code: Option<String>,
    },
    /// Compare the whole folder with the catalog now.
    Scan,
    /// The folder that lies at the library's root now is the one that is meant, though it may
    /// be another one than before: remove from the index what is not in it.
    Confirm,
}

/// A file that is not in the index, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
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
pub struct FailurePage {
    /// In the order of their ids.
    pub failures: Vec<Failure>,
    /// How many there are in all.
    pub total: u64,
}

/// An answer, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatcherAnswer {
    /// To [`WatcherQuestion::Failures`].
    Failures(FailurePage),
    /// To [`WatcherQuestion::Retry`]: how many are tried again.
    Retried(u64),
    /// To [`WatcherQuestion::Scan`]: the scan is under way.
    Scanning,
    /// The question can't be answered.
    Refused(String),
}

/// Where a question goes.
pub type WatcherRequest = (Library, WatcherQuestion);

impl Bus {
    /// Asks the watcher of `library`.
    ///
    /// # Errors
    /// When no watcher answers in time.
    pub async fn ask_watcher(
        &self,
        (library, question): WatcherRequest,
    ) -> Result<WatcherAnswer, Error> {
        let subject = self.watcher_subject(&library);
        let payload = serde_json::to_vec(&question)?;
        let message = self
            .client
            .request(subject, payload.into())
            .await
            .map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                    Error::NobodyAnswers("no watcher of this library answers")
                }
                _ => Error::jetstream("asking a watcher")(error.into()),
            })?;
        Ok(serde_json::from_slice(&message.payload)?)
    }

    /// Takes the questions to a library's watcher. Ends when the connection closes.
    ///
    /// # Errors
    /// When the subscription is refused.
    pub async fn watcher_calls(
        &self,
        library: &Library,
    ) -> Result<impl futures_util::Stream<Item = WatcherCall> + Unpin + use<>, Error> {
        let subscription = self
            .client
            .queue_subscribe(self.watcher_subject(library), "watchers".into())
            .await
            .map_err(|e| Error::jetstream("taking questions")(e.into()))?;
        let client = self.client.clone();
        Ok(subscription.filter_map(move |message| {
            let call = message.reply.and_then(|reply_to| {
                let question = serde_json::from_slice(&message.payload).ok()?;
                Some(WatcherCall {
                    question,
                    reply_to,
                    client: client.clone(),
                })
            });
            std::future::ready(call)
        }))
    }

    fn watcher_subject(&self, library: &Library) -> String {
        format!("{}.v1.watcher.{library}", self.settings.namespace)
    }
}

/// A question in a watcher's hands.
pub struct WatcherCall {
    /// What is asked.
    pub question: WatcherQuestion,
    reply_to: async_nats::Subject,
    client: async_nats::Client,
}

impl WatcherCall {
    /// Sends the answer.
    pub async fn reply(self, answer: &WatcherAnswer) {
        let Ok(payload) = serde_json::to_vec(answer) else {
            return;
        };
        if let Err(error) = self.client.publish(self.reply_to, payload.into()).await {
            tracing::warn!(%error, "could not answer a question");
        }
    }
}
