//! The only user of NATS: streams of events and outcomes, queries for vectors, and what the
//! roles tell of themselves.
//!
//! Everything that comes in is checked here once (see `lookalike_proto`). Streams are never the
//! truth (the folders are): they may be lost and are made again by [`Bus::ensure`].

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
pub use embed::{EmbedFailure, Embedded, NO_TEXT, Query, QueryInput, asked_as};
pub use error::Error;
pub use events::{Delivery, Intake, QueueDepth, StreamPosition};
pub use leases::Lease;
pub use outcomes::OutcomeReader;
pub use rows::{RowFacts, RowsPage, RowsQuestion};
pub use settings::Settings;
pub use status::{Counts, Degraded, EmbedderStatus, LibraryStatus, Rates, StatusView};
pub use watchers::{
    Failure, FailurePage, KnownImage, KnownPage, LastAnswer, Life, MOST_ANSWER_BYTES,
    MOST_FILES_AT_ONCE, MOST_IDS, WatcherAnswer, WatcherCall, WatcherQuestion, WatcherRequest,
};
