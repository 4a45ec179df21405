//! The HTTP server and the middleware of every request.

mod connections;
mod middleware;
pub(crate) mod server;

pub(crate) use middleware::{AccessControl, KEY_COOKIE, key_of_request, link_prefix};
pub use middleware::{BasePath, Origin};
