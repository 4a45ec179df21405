//! Errors of the service as a whole. Errors of one request are
//! [`Problem`](crate::problem::Problem)s.

use crate::keys::KeyFileError;

/// Why the HTTP service cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--listen {listen:?} is not an address like 127.0.0.1:8080 (port 0 selects a free one): {source}"
    )]
    InvalidAddress {
        listen: String,
        source: std::io::Error,
    },
    #[error(
        "{listen} is in use by another program: stop it, or choose another address with --listen (127.0.0.1:0 selects a free port)"
    )]
    AddressInUse { listen: String },
    #[error("cannot listen on {listen}: {source}; choose another address with --listen")]
    Listen {
        listen: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The server stopped on its own.
    #[error("the HTTP service stopped: {0}")]
    Serve(#[source] std::io::Error),
}
