//! The base of every role: settings, logs, metrics, limits, backoff, retries and an orderly shutdown.
//!
//! This crate knows nothing about images, queues or indexes.

pub mod background;
pub mod backoff;
pub mod clock;
pub mod cpu_clock;
pub mod descriptors;
pub mod disk_space;
pub mod durable;
pub mod metrics;
pub mod rename;
pub mod retry;
pub mod settings;
pub mod shutdown;
pub mod stdio;
pub mod telemetry;

pub use backoff::Backoff;
pub use retry::Retry;
