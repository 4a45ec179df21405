//! Connections from their acceptance to their end. All of them are bounded in number and time, which
//! poem's own server does not do.
//!
//! | step | where |
//! |---|---|
//! | accept; wait while no descriptor or no place is left | [`acceptor`] |
//! | know what each connection does; choose one that must make place | [`registry`] |
//! | read and write; end a connection that is idle, slow or blocked | [`stream`] |

mod acceptor;
mod registry;
mod stream;

pub(super) use acceptor::BoundedAcceptor;
pub(super) use registry::{ConnectionLimits, ConnectionRegistry};
