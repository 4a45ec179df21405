//! The search itself, and what requests share.

pub(crate) mod decode_limiter;
pub(crate) mod engine;
pub(crate) mod files;
pub(crate) mod libraries;
pub(crate) mod query;
pub(crate) mod service;
pub(crate) mod serving_model;
pub(crate) mod thumbnails;
pub(crate) mod watcher_client;
