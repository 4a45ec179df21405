//! Errors of Milvus and their classes.
//!
//! Milvus reports errors by code. The codes are those of its package `merr`, which 2.3 introduced
//! and later versions only extended. An error without a code of its own (65535) is classified by its
//! text.

use std::time::Duration;

use milvus::v2::error::Error as Sdk;

use crate::metrics::MilvusCall;

/// Failed operation on the index.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("{reason}")]
    Settings { reason: String },
    /// The server was unreachable when the role started. `url` contains no credentials.
    #[error(
        "cannot reach Milvus at {url}: {source}; is it running there? Give its address with --milvus-url, or omit the flag so that `lookalike up` starts a Milvus"
    )]
    Connect { url: String, source: Box<Sdk> },
    #[error(
        "Milvus refuses the credentials ({source}): check milvus.user and milvus.password, or milvus.token"
    )]
    Credentials { source: Box<Sdk> },
    /// The index contains another model's vectors. `actual` and `expected` are names or folders.
    #[error(
        "the index in service (collection {collection:?}) was made by {}, and vectors of different models cannot be compared. Start with the model of the index{}, move the index to this model (`lookalike models use {expected}`, with --nats-url and --milvus-url unless `lookalike up` is running), or create a second index with another milvus.namespace (with `lookalike up`: or --data-dir)",
        describe_models(actual, expected, difference),
        model_flag(actual, expected)
    )]
    ModelMismatch {
        collection: String,
        /// Model of the collection; empty if lookalike did not create it.
        actual: String,
        /// Model of this process.
        expected: String,
        /// The properties that differ.
        difference: String,
    },
    /// This process's vector of the golden picture differs from the one that the collection stores.
    #[error(
        "{model} on {device} computes another vector of the golden picture than when collection {collection:?} was created (cosine {cosine:.6}, required at least {min_cosine}): the device, its driver or the network changed, so new vectors would not match those in the index. Start with the previous device or with --device cpu, or update the driver; to begin a new index, choose another milvus.namespace (with `lookalike up`: or --data-dir)"
    )]
    GoldenMismatch {
        collection: String,
        model: String,
        device: String,
        cosine: f64,
        min_cosine: f64,
    },
    #[error("collection {collection:?} is in service and cannot be removed")]
    InService { collection: String },
    /// The collection or its alias does not exist. [`crate::Index::ensure_collection`] creates an
    /// empty one.
    #[error("{object} does not exist in Milvus")]
    Missing { object: String },
    /// Milvus is still loading the collection, or has just restarted.
    #[error("Milvus has not loaded the collection yet: {source}")]
    NotLoaded { source: Box<Sdk> },
    /// A write may or may not have happened.
    #[error("Milvus did not answer {call} within {limit:?}")]
    Timeout { call: &'static str, limit: Duration },
    #[error("Milvus cannot process {call} now: {source}")]
    Unavailable {
        call: &'static str,
        source: Box<Sdk>,
    },
    /// The answer exceeds what the client accepts; callers within this crate request less.
    #[error("the answer of {call} is larger than the client accepts: {source}")]
    AnswerTooLarge {
        call: &'static str,
        source: Box<Sdk>,
    },
    /// The server refuses this request, and would refuse it again.
    #[error("Milvus refuses {call}: {source}")]
    Refused {
        call: &'static str,
        source: Box<Sdk>,
    },
    #[error("Milvus sent an unexpected answer to {call}: {reason}")]
    UnexpectedAnswer { call: &'static str, reason: String },
    #[error("row {id} cannot be stored: {reason}")]
    InvalidRow { id: String, reason: String },
    #[error("invalid vector for this index: {reason}")]
    InvalidVector { reason: String },
    #[error("{reason}")]
    InvalidQuery { reason: String },
}

/// How a caller handles an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request may succeed later: keep the work and retry.
    Retry,
    /// This request can never succeed; others can.
    Reject,
    /// No request can succeed until a person acts: stop the role.
    Fatal,
}

/// Codes of `merr` for requests that would fail again: parameters (1100, 1101), fields (1700, 1701),
/// metrics and indexes that do not match (701, 702, 1200).
const REFUSALS: [i32; 7] = [701, 702, 1100, 1101, 1200, 1700, 1701];
/// Texts of errors without a code of their own (65535) for requests that would fail again.
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
/// Collection or partition not loaded, or not completely.
const NOT_LOADED: [i32; 5] = [101, 103, 201, 202, 601];
const CREDENTIALS: [i32; 3] = [1400, 1401, 1800];

impl Error {
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

    /// Returns whether the call failed quickly and may succeed shortly.
    pub(crate) fn is_retryable_at_once(&self) -> bool {
        matches!(self, Self::NotLoaded { .. } | Self::Unavailable { .. })
    }

    /// Returns whether one of several searches in a request may have caused this, so that the others
    /// may succeed without it.
    pub(crate) fn may_concern_one_search(&self) -> bool {
        self.class() == ErrorClass::Reject || matches!(self, Self::UnexpectedAnswer { .. })
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

    /// Classifies an error of the SDK. `limit` is reported for a timeout, `target` for a missing object.
    pub(crate) fn from_sdk(error: Sdk, call: MilvusCall, limit: Duration, target: &str) -> Self {
        let call = call.label();
        let source = Box::new(error);
        // The SDK's own retries are off, but it still wraps the single attempt.
        let root = match &*source {
            Sdk::RetryExhausted { source, .. } => source,
            other => other,
        };
        match root {
            Sdk::Server(server) => {
                let (code, text) = (server.code(), server.reason());
                match code {
                    COLLECTION_NOT_FOUND | DATABASE_NOT_FOUND | ALIAS_NOT_FOUND => Self::Missing {
                        object: target.to_owned(),
                    },
                    // Calls through another component's cache report this only in their text.
                    _ if text.contains("collection not found") => Self::Missing {
                        object: target.to_owned(),
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
            // gRPC codes by number, because the SDK does not re-export the crate that names them.
            Sdk::Grpc(status) => match status.code() as i32 {
                DEADLINE_EXCEEDED => Self::Timeout { call, limit },
                UNAUTHENTICATED | PERMISSION_DENIED => Self::Credentials { source },
                OUT_OF_RANGE if status.message().contains("message length too large") => {
                    Self::AnswerTooLarge { call, source }
                }
                INVALID_ARGUMENT | UNIMPLEMENTED => Self::Refused { call, source },
                // The transport also applies the deadline and cancels the call.
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

fn describe_models(actual: &str, expected: &str, difference: &str) -> String {
    match actual {
        "" => format!("no known model ({difference}), not by {expected:?}"),
        _ if actual == expected => format!("another version of {actual:?} ({difference})"),
        _ => format!("the model {actual:?}, not by {expected:?}"),
    }
}

/// Returns the flag that selects the index's model, in parentheses.
fn model_flag(actual: &str, expected: &str) -> String {
    match actual {
        "" => String::new(),
        _ if actual == expected => " (--model FOLDER, with those weights)".to_owned(),
        _ => format!(" (--model {actual})"),
    }
}

const CANCELLED: i32 = 1;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;
