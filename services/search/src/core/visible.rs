//! What a request sees. An API key may be limited to some libraries; for its requests, nothing else
//! exists: no row, no file, no watcher, no event.
//!
//! [`SearchService`](super::service::SearchService) gives an operation only these views, so no
//! operation can read a library without the check.
//!
//! | what | where |
//! |---|---|
//! | the libraries of a key | [`libraries`] |
//! | the rows of the index | [`index`], [`model`] |
//! | the watchers and their replies | [`watchers`] |
//! | events and counts | [`event_feed`](super::event_feed), whose readers name their libraries |

pub(crate) mod index;
pub(crate) mod libraries;
pub(crate) mod model;
pub(crate) mod watchers;
