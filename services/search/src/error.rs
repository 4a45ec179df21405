//! What can go wrong with the service as a whole; what goes wrong with one request is a
//! [`Problem`](crate::problem::Problem).

/// An operation of the service that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that is no address to listen on.
    #[error(
        "--listen {listen:?} is not an address like 127.0.0.1:8080 (port 0 takes a free one): {source}"
    )]
    InvalidAddress {
        /// As given.
        listen: String,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// Another process listens there.
    #[error(
        "{listen} is taken by another program: stop it, or choose another address with --listen (127.0.0.1:0 takes a free port)"
    )]
    AddressInUse {
        /// As given.
        listen: String,
    },
    /// The system refuses to listen there.
    #[error("can't listen on {listen}: {source}; choose another address with --listen")]
    Listen {
        /// As given.
        listen: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The server ended on its own.
    #[error("the HTTP service stopped: {0}")]
    Serve(#[source] std::io::Error),
}
