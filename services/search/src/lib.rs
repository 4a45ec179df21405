//! The API and the page: the only user of poem.
//!
//! The modules stand in the order in which a request passes them: listening, what every request
//! passes, bodies, operations, the search itself, files and small pictures, what the other roles
//! tell. A picture that is searched by is decoded and prepared here, within limits, and its
//! vector comes from an embedder; the network itself does not run here.
//!
//! Promises: a request always ends, within its time; no path from a client reaches the file
//! system; original files are only read; every error is a problem with a code.

mod api;
mod core;
mod error;
mod http;
mod metrics;
mod page;
mod problem;
mod settings;
mod time;

pub use core::service::Context;
pub use error::Error;
pub use http::server::{BoundListener, bind_address, openapi_json, serve_api, serve_metrics_only};
pub use settings::Settings;
