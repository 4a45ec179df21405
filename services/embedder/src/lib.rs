//! Embedder: takes events from the queue, embeds new content, and writes rows to Milvus.
//!
//! The modules follow an event. `queue` takes events from JetStream and tracks those in flight.
//! `read` reads and hashes each file once. `embed` looks up its content and embeds it if it is new.
//! `commit` verifies the file on disk, writes the row, stores the outcome and acknowledges the
//! event. `queries` answers requests for vectors and rows; vectors for searches go ahead of
//! everything that is indexed. `rollover` exchanges the model.
//!
//! Each event in flight is a task of its own, so a large or slow file delays no other. The device,
//! the lookup of known content and the commit each batch the events that wait for them.

mod batch_pacing;
mod error;
mod metrics;
mod settings;

mod queue;
mod read;

mod embed;

mod commit;

mod queries;

mod golden;
mod shutdown_reason;
mod status;
mod worker;

pub mod rollover;

pub use error::Error;
pub use rollover::{EngineLoader, run_embedder};
pub use settings::Settings;
pub use worker::Context;
