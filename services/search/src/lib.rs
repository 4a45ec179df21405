//! The API and the page: the only user of poem.
//!
//! The modules stand in the order in which a request passes them: listening, what every request
//! passes, bodies, operations, the search itself, files and small pictures, what the other roles
//! tell. A picture that is searched by is decoded and prepared here, within limits, and its
//! vector comes from an embedder; the network itself does not run here.
//!
//! Promises: a request always ends, within its time; no path from a client reaches the file
//! system; original files are only read; every error is a problem with a code.

mod error;
mod settings;

mod server;

mod service;

mod follow;

mod front;

mod hosts;

mod problem;

mod body;

mod api;

mod upkeep;

mod schema;

mod time;

mod convert;

mod query;

mod search;

mod libraries;

mod gate;

mod files;

mod thumbnails;

mod status;

mod page;

mod metrics;

pub use error::Error;
pub use server::{BoundListener, bind_address, openapi_json, serve_api, serve_metrics_only};
pub use service::Context;
pub use settings::Settings;
