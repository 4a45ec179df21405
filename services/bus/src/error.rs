//! What can go wrong between a role and NATS.

use lookalike_proto::InvalidMessage;

/// An operation on NATS that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace that can't be part of a subject.
    #[error("nats.namespace {0:?} must be 1 to 32 of a-z, 0-9 and _")]
    InvalidNamespace(String),
    /// The server did not answer while the role started.
    #[error(
        "NATS at {url} does not answer: {source}; is nats-server running there (with -js)? Give its address with --nats-url, or leave it out for `lookalike up` to start one"
    )]
    Connect {
        /// The address, without credentials.
        url: String,
        /// What the client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// JetStream refused or did not answer.
    #[error("{operation} failed: {source}")]
    JetStream {
        /// What was tried.
        operation: &'static str,
        /// What the client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream of events is full: wait, then try again.
    #[error("the stream of events is full")]
    StreamFull,
    /// The stream is gone: [`crate::Bus::ensure`] makes it again.
    #[error("the stream is gone")]
    StreamMissing,
    /// Nobody answers this kind of request now.
    #[error("{0}")]
    NoResponders(&'static str),
    /// A message that breaks the contract.
    #[error(transparent)]
    InvalidMessage(#[from] InvalidMessage),
    /// JSON that is not the answer expected.
    #[error("an answer can't be read: {0}")]
    InvalidReply(#[from] serde_json::Error),
    /// The embedder answered with an error.
    #[error("{detail}")]
    EmbedRefused {
        /// From the documented list.
        code: String,
        /// One sentence.
        detail: String,
    },
}

impl Error {
    pub(crate) fn jetstream_failure(
        operation: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::JetStream { operation, source }
    }
}
