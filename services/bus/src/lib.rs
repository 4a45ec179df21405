//! The only user of NATS: the streams of events and outcomes, requests between roles, leases and the
//! roles' status.
//!
//! Each received message is checked here once (see `lookalike_proto`). The folders are the source of
//! truth, not the streams: [`Bus::ensure_streams`] creates lost streams again.
//!
//! All functions fail with [`Error::JetStream`] if the server cannot be reached in time or refuses the
//! operation. Other errors are documented where a caller handles them.

mod connect;
mod embed;
mod embedder_choice;
mod embedder_instance;
mod embedder_pool;
mod error;
mod events;
mod leases;
mod local_queries;
mod match_queues;
mod matches;
mod metrics;
mod open_request;
mod outcomes;
mod pull_queue;
mod request_vector;
mod roll_call;
mod rows;
mod saved_searches;
mod settings;
mod status;
mod trials;
mod vector_query;
mod watchers;

pub use connect::Bus;
pub use embed::{EmbedQuery, NETWORK_FAILED, NO_TEXT, OVERLOADED, request_subject};
pub use error::Error;
pub use events::{Delivery, Intake, QueueDepth, StreamPosition};
pub use leases::Lease;
pub use match_queues::{MatchDelivery, OutcomeDelivery, OutcomeQueue, WebhookQueue};
pub use matches::{MatchPage, MatchReader, MatchRecord, StoredMatch};
pub use metrics::register_metrics;
pub use outcomes::OutcomeReader;
pub use rows::{RowSummary, RowsPage, RowsRequest};
pub use saved_searches::{SavedSearchLimits, StoredSavedSearch};
pub use settings::Settings;
pub use status::{
    Degradation, EmbedderDevice, EmbedderDeviceState, EmbedderStatus, FileCounts, LibraryStatus,
    Rates, RootFolder, StatusView,
};
pub use vector_query::{EmbedFailure, EmbedInput, EmbeddedVector};
pub use watchers::{
    CatalogImage, CatalogPage, FileFailure, FileFailurePage, FileHistory, IncomingWatcherRequest,
    LastOutcome, LibraryRequest, MAX_FILES_PER_REQUEST, MAX_REPLY_BYTES, MAX_REQUEST_IDS,
    WatcherReply, WatcherRequest,
};
