//! The HTTP server and the middleware of every request.

mod middleware;
pub(crate) mod server;
