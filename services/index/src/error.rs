//! What can go wrong between a role and Milvus, and what to do about it.
//!
//! Milvus tells by code; the codes are those of its `merr` package, which 2.3 introduced and later
//! versions only added to. What has no code of its own (65535) is judged by its text.

use std::time::Duration;

use milvus::v2::error::Error as Sdk;

use crate::metrics::MilvusCall;

/// An operation on the index that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work.
    #[error("{reason}")]
    Settings {
        /// Which, and what it must be.
        reason: String,
    },
    /// The server did not answer while the role started.
    #[error(
        "Milvus at {url} does not answer: {source}; is it running there? Give its address with --milvus-url, or leave it out for `lookalike up` to start one"
    )]
    Connect {
        /// The address, without credentials.
        url: String,
        /// What the client says.
        source: Box<Sdk>,
    },
    /// The server does not accept our credentials.
    #[error(
        "Milvus refuses the credentials ({source}): check milvus.user and milvus.password, or milvus.token"
    )]
    Credentials {
        /// What the client says.
        source: Box<Sdk>,
    },
    /// The index holds another model's vectors.
    #[error(
        "the index in service (collection {collection:?}) was made by {}, and vectors of different models can't be compared. Start with the model that made it{}, move the index to this one (`lookalike models use {wanted}`, with --nats-url and --milvus-url where no `lookalike up` runs), or make a second index beside it with another milvus.namespace (with `lookalike up`: or --data-dir)",
        whose(found, wanted, difference),
        as_flag(found, wanted)
    )]
    ModelMismatch {
        /// The collection that was found.
        collection: String,
        /// The model that made it, by name or folder.
        found: String,
        /// The model that this process has, by name or folder.
        wanted: String,
        /// What it has, and what this process has.
        difference: String,
    },
    /// The golden picture became another vector than the one that the collection keeps.
    #[error(
        "{model} on {device} makes another vector of the golden picture than when collection {collection:?} was begun (cosine {cosine:.6}, at least {least} is needed): the device, its driver or the network moved it, and what it embeds would not fit what is in the index. Start with the device of before or with --device cpu, or update the driver; to begin a new index, take another milvus.namespace (with `lookalike up`: or --data-dir)"
    )]
    GoldenMismatch {
        /// The collection.
        collection: String,
        /// The model.
        model: String,
        /// The device, in words.
        device: String,
        /// How near it came.
        cosine: f64,
        /// How near it must come.
        least: f64,
    },
    /// The collection in service is not removed.
    #[error("collection {collection:?} is in service, and stays")]
    InService {
        /// Its name.
        collection: String,
    },
    /// The collection, or the alias in front of it, is gone: [`crate::Index::ensure`] makes it
    /// again, empty.
    #[error("{what} is gone from Milvus")]
    Missing {
        /// Collection or alias, with its name.
        what: String,
    },
    /// The collection exists but can't answer yet: Milvus is loading it, or has just restarted.
    #[error("Milvus has not loaded the collection yet: {source}")]
    NotLoaded {
        /// What the server says.
        source: Box<Sdk>,
    },
    /// The server did not answer in time. A write may or may not have happened.
    #[error("Milvus did not answer {call} within {limit:?}")]
    Timeout {
        /// Kind of call.
        call: &'static str,
        /// The limit that passed.
        limit: Duration,
    },
    /// The server can't be reached, or can't serve for the moment.
    #[error("Milvus can't serve {call} now: {source}")]
    Unavailable {
        /// Kind of call.
        call: &'static str,
        /// What the client says.
        source: Box<Sdk>,
    },
    /// An answer larger than what the client takes; callers inside this crate ask for less.
    #[error("the answer of {call} is larger than the client takes: {source}")]
    AnswerTooLarge {
        /// Kind of call.
        call: &'static str,
        /// What the client says.
        source: Box<Sdk>,
    },
    /// The server refuses this very request, and would again.
    #[error("Milvus refuses {call}: {source}")]
    Refused {
        /// Kind of call.
        call: &'static str,
        /// What the server says.
        source: Box<Sdk>,
    },
    /// An answer that does not have the shape it must have.
    #[error("Milvus answered {call} with something unexpected: {reason}")]
    UnexpectedAnswer {
        /// Kind of call.
        call: &'static str,
        /// What was missing.
        reason: String,
    },
    /// A row that can't be stored.
    #[error("row {id} can't be stored: {reason}")]
    InvalidRow {
        /// Its id.
        id: String,
        /// Which field, and why.
        reason: String,
    },
    /// A vector that is not one of this model's.
    #[error("not a vector of this index: {reason}")]
    InvalidVector {
        /// Dimension, a number that is none, or length.
        reason: String,
    },
    /// A question that can't be asked.
    #[error("{reason}")]
    InvalidQuery {
        /// What is wrong with it.
        reason: String,
    },
}

/// What to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// It may go well later: keep the work and try again.
    Retry,
    /// This request will never go well; others may.
    Reject,
    /// No request will go well until a person acts: stop the role.
    Fatal,
}

/// Codes of `merr` that are about this very request, and would be the same next time:
/// parameters (1100, 1101), fields (1700, 1701), metrics and indexes that don't fit (701, 702, 1200).
const REFUSALS: [i32; 7] = [701, 702, 1100, 1101, 1200, 1700, 1701];
/// Texts of errors without a code of their own (65535) that are about this very request.
const REFUSAL_TEXTS: [&str; 7] = [
    "cannot parse expression",
    "predicate is not a boolean",
    "invalid max query result window",
    "create duplicate collection with different parameters",
    "at most one distinct index is allowed",
    "failed to create query plan",
    "invalid expression",
];
const COLLECTION_NOT_FOUND: i32 = 100;
const DATABASE_NOT_FOUND: i32 = 800;
const ALIAS_NOT_FOUND: i32 = 1600;
/// Collection or partition not loaded, or not fully.
const NOT_LOADED: [i32; 5] = [101, 103, 201, 202, 601];
const CREDENTIALS: [i32; 3] = [1400, 1401, 1800];

impl Error {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Settings { .. }
            | Self::Credentials { .. }
            | Self::ModelMismatch { .. }
            | Self::GoldenMismatch { .. } => ErrorClass::Fatal,
            Self::Connect { .. }
            | Self::Missing { .. }
            | Self::NotLoaded { .. }
            | Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::UnexpectedAnswer { .. } => ErrorClass::Retry,
            Self::AnswerTooLarge { .. }
            | Self::Refused { .. }
            | Self::InService { .. }
            | Self::InvalidRow { .. }
            | Self::InvalidVector { .. }
            | Self::InvalidQuery { .. } => ErrorClass::Reject,
        }
    }

    /// Failed without having waited for long, and may go well in a moment.
    pub(crate) fn is_retryable_at_once(&self) -> bool {
        matches!(self, Self::NotLoaded { .. } | Self::Unavailable { .. })
    }

    /// Returns whether the same request may succeed later without any action. A missing
    /// collection stays missing until [`crate::Index::ensure_collection`] creates it again.
    pub fn is_transient(&self) -> bool {
        self.class() == ErrorClass::Retry && !matches!(self, Self::Missing { .. })
    }

    pub(crate) fn unexpected_answer(call: MilvusCall, reason: impl Into<String>) -> Self {
        Self::UnexpectedAnswer {
            call: call.label(),
            reason: reason.into(),
        }
    }

    /// Sorts what the SDK says; `limit` is what a timeout ran into, `target` what may be missing.
    pub(crate) fn from_sdk(error: Sdk, call: MilvusCall, limit: Duration, target: &str) -> Self {
        let call = call.label();
        let source = Box::new(error);
        // The SDK's own retries are off, but it wraps the one attempt all the same.
        let root = match &*source {
            Sdk::RetryExhausted { source, .. } => source,
            other => other,
        };
        match root {
            Sdk::Server(server) => {
                let (code, text) = (server.code(), server.reason());
                match code {
                    COLLECTION_NOT_FOUND | DATABASE_NOT_FOUND | ALIAS_NOT_FOUND => Self::Missing {
                        what: target.to_owned(),
                    },
                    // Calls that go through the cache of another component say it in words only.
                    _ if text.contains("collection not found") => Self::Missing {
                        what: target.to_owned(),
                    },
                    _ if NOT_LOADED.contains(&code) || text.contains("collection not loaded") => {
                        Self::NotLoaded { source }
                    }
                    _ if CREDENTIALS.contains(&code) => Self::Credentials { source },
                    _ if REFUSALS.contains(&code)
                        || REFUSAL_TEXTS.iter().any(|known| text.contains(known)) =>
                    {
                        Self::Refused { call, source }
                    }
                    _ => Self::Unavailable { call, source },
                }
            }
            // Codes of gRPC by number: the SDK does not re-export the crate that names them.
            Sdk::Grpc(status) => match status.code() as i32 {
                DEADLINE_EXCEEDED => Self::Timeout { call, limit },
                UNAUTHENTICATED | PERMISSION_DENIED => Self::Credentials { source },
                OUT_OF_RANGE if status.message().contains("message length too large") => {
                    Self::AnswerTooLarge { call, source }
                }
                INVALID_ARGUMENT | UNIMPLEMENTED => Self::Refused { call, source },
                // The transport keeps the deadline too, and says so by cancelling.
                CANCELLED if status.message().contains("imeout") => Self::Timeout { call, limit },
                _ => Self::Unavailable { call, source },
            },
            Sdk::Timeout(_) => Self::Timeout { call, limit },
            Sdk::MalformedResponse(reason) => Self::UnexpectedAnswer {
                call,
                reason: reason.clone(),
            },
            Sdk::Conversion(_) | Sdk::Validation(_) => Self::Refused { call, source },
            _ => Self::Unavailable { call, source },
        }
    }
}

/// Who made an index that this process can't use.
fn whose(found: &str, wanted: &str, difference: &str) -> String {
    match found {
        "" => format!("no model that lookalike knows ({difference}), not by {wanted:?}"),
        same if same == wanted => format!("another version of {same:?} ({difference})"),
        other => format!("the model {other:?}, not by {wanted:?}"),
    }
}

/// The flag that names it, where that would help.
fn as_flag(found: &str, wanted: &str) -> String {
    match found {
        "" => String::new(),
        same if same == wanted => " (--model FOLDER, with those weights)".to_owned(),
        other => format!(" (--model {other})"),
    }
}

const CANCELLED: i32 = 1;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;
