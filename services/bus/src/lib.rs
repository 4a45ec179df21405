//! The only user of NATS: streams of events and outcomes, queries for vectors, and what the
//! roles tell of themselves.
//!
//! Everything that comes in is checked here once (see `lookalike_proto`). Streams are never the
//! truth (the folders are): they may be lost and are made again by [`Bus::ensure_streams`].

mod connect;
mod embed;
mod error;
mod events;
mod leases;
mod outcomes;
mod rows;
mod settings;
mod status;
mod trials;
mod watchers;

pub use connect::Bus;
pub use embed::{EmbedFailure, EmbedInput, EmbedQuery, EmbeddedVector, NO_TEXT, request_subject};
pub use error::Error;
pub use events::{Delivery, Intake, QueueDepth, StreamPosition};
pub use leases::Lease;
pub use outcomes::OutcomeReader;
pub use rows::{RowSummary, RowsPage, RowsRequest};
pub use settings::Settings;
pub use status::{Degradation, EmbedderStatus, FileCounts, LibraryStatus, Rates, StatusView};
pub use watchers::{
    CatalogImage, CatalogPage, FileFailure, FileFailurePage, FileHistory, IncomingWatcherRequest,
    LastOutcome, LibraryRequest, MAX_FILES_PER_REQUEST, MAX_REPLY_BYTES, MAX_REQUEST_IDS,
    WatcherReply, WatcherRequest,
};
