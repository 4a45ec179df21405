//! Replacement for systems without seccomp: changes nothing and logs a warning.

use std::io;
use std::process::Command;

/// Placeholder for the handshake of Linux.
pub(crate) struct UnfilteredBinds;

/// Leaves the command unchanged.
pub(crate) fn prepare_command(_command: &mut Command) -> io::Result<UnfilteredBinds> {
    Ok(UnfilteredBinds)
}

impl UnfilteredBinds {
    /// Logs that the server may listen on all interfaces.
    pub(crate) fn serve_binds(self, name: &'static str) {
        tracing::warn!(
            server = name,
            "THE SERVER LISTENS ON ALL NETWORK INTERFACES WITHOUT A PASSWORD: only on Linux can \
             its sockets be redirected to loopback; use a firewall, or run your own server"
        );
    }
}
