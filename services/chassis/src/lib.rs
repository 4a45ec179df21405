//! What every role stands on: settings, telemetry, metrics, back-off and leaving in order.
//!
//! Nothing in here knows of pictures, queues or indexes.

pub mod backoff;
pub mod clock;
pub mod leave;
pub mod metrics;
pub mod retry;
pub mod say;
pub mod settings;
pub mod telemetry;

pub use backoff::Backoff;
pub use retry::{Retry, RetryError};
