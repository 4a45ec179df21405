//! The HTTP server and the middleware of every request.

pub(crate) mod middleware;
pub(crate) mod server;
