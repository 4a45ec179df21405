//! The search itself and what requests share, in the order in which a search uses it.

pub(crate) mod service;

pub(crate) mod visible;

pub(crate) mod model_rollover;
pub(crate) mod readiness;
pub(crate) mod serving_model;

pub(crate) mod compare;
pub(crate) mod decode_limiter;
pub(crate) mod duplicates;
pub(crate) mod engine;
pub(crate) mod event_feed;
pub(crate) mod facets;
pub(crate) mod hit_bands;
pub(crate) mod hit_groups;
pub(crate) mod libraries;
pub(crate) mod query;
pub(crate) mod query_embedders;
pub(crate) mod query_vectors;
pub(crate) mod ranking;
pub(crate) mod search_cursor;
pub(crate) mod search_pages;
pub(crate) mod search_permits;
pub(crate) mod seen_ids;
pub(crate) mod upload_budget;

pub(crate) mod file_response;
pub(crate) mod files;
pub(crate) mod library_disk;
pub(crate) mod thumbnail_cache;
pub(crate) mod thumbnails;

pub(crate) mod watcher_client;
