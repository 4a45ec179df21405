//! Keeps a child's listening sockets on loopback, even if the child requests other addresses.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod unsupported;

#[cfg(target_os = "linux")]
pub(crate) use linux::prepare_command;
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::prepare_command;
