//! Stands in for `loopback` where there is no seccomp: it changes nothing and warns.

use std::io;
use std::process::Command;

/// Nothing to hand over.
pub(crate) struct UnfilteredBinds;

/// Leaves the command as it is.
pub(crate) fn prepare_command(_command: &mut Command) -> io::Result<UnfilteredBinds> {
    Ok(UnfilteredBinds)
}

impl UnfilteredBinds {
    /// Warns that the server's sockets are where it puts them.
    pub(crate) fn serve_binds(self, name: &'static str) {
        tracing::warn!(
            server = name,
            "THE SERVER LISTENS ON ALL NETWORK INTERFACES WITHOUT A PASSWORD: only on Linux can \
             its sockets be kept on loopback; use a firewall, or a server of your own"
        );
    }
}
