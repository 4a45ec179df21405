//! The error of an operation on NATS.

use lookalike_proto::InvalidMessage;

/// A failed operation on NATS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace cannot be part of a subject.
    #[error("nats.namespace {0:?} must be 1 to 32 of a-z, 0-9 and _")]
    InvalidNamespace(String),
    /// A setting has a value that cannot work.
    #[error("{0}")]
    InvalidSetting(String),
    /// The name of an embedder cannot be part of a subject.
    #[error("the embedder's name {0:?} must be 1 to 64 of a-z, 0-9, - and _")]
    InvalidInstance(String),
    /// The server could not be reached within `connect_timeout`.
    #[error(
        "cannot reach NATS at {url}: {source}; is nats-server running there (with -js)? Give its address with --nats-url, or omit it and `lookalike up` starts one"
    )]
    Connect {
        /// The address, without credentials.
        url: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// JetStream refused an operation, or did not reply in time.
    #[error("{operation} failed: {source}")]
    JetStream {
        operation: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream of events is full: wait, then retry.
    #[error("the stream of events is full")]
    StreamFull,
    /// The stream was deleted: [`crate::Bus::ensure_streams`] creates it again.
    #[error("the stream does not exist")]
    StreamMissing,
    /// No process replied to a request.
    #[error("{0}")]
    NoResponders(&'static str),
    /// A received message breaks the contract.
    #[error(transparent)]
    InvalidMessage(#[from] InvalidMessage),
    /// A reply is not the expected JSON.
    #[error("cannot parse a reply: {0}")]
    InvalidReply(#[from] serde_json::Error),
    /// The embedder replied with an error.
    #[error("{detail}")]
    EmbedRefused { code: String, detail: String },
}

impl Error {
    pub(crate) fn jetstream_failure(
        operation: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::JetStream { operation, source }
    }
}
