//! The API and the page; the only crate that uses poem.
//!
//! | step | where |
//! |---|---|
//! | accept connections; middleware of every request | [`http`] |
//! | API keys | [`keys`] |
//! | parse the request, convert the result | [`api`] |
//! | search the index; read files; ask the watchers | [`core`] |
//! | add and remove pictures | [`uploads`] |
//! | compare new pictures with saved searches | [`saved`] |
//! | send the matches of saved searches to webhooks | [`webhook`] |
//! | the page for people | [`page`] |
//!
//! An uploaded image is decoded and preprocessed here, within limits. Its vector comes from an
//! embedder; no network runs here.
//!
//! Guarantees: every request ends within its time limit; of clients, only the checked folder and name
//! of an upload reach the file system; original files are only read, except that [`uploads`] adds new
//! files and moves files to the trash where the settings permit it; every error is a [`problem`] with a
//! stable code.

mod api;
mod core;
mod error;
mod etag;
mod http;
mod keys;
mod metrics;
mod page;
mod problem;
mod routes;
mod saved;
mod settings;
mod time;
mod uploads;
mod webhook;

pub use core::service::Context;
pub use error::Error;
pub use http::server::{BoundListener, bind_address, openapi_json, serve_api, serve_metrics_only};
pub use keys::{KeyFile, KeyFileError, NewKey, Scope, StoredKey};
pub use saved::settings::SavedSearchSettings;
pub use settings::{KeyPolicy, Settings};
pub use uploads::settings::{LibraryPermissions, UploadSettings};
pub use webhook::settings::WebhookSettings;
