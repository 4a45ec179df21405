//! The HTTP server and the middleware of every request.

mod connections;
mod middleware;
pub(crate) mod server;
