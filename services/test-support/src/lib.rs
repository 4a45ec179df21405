//! Support for tests and the load test, which run lookalike from outside: processes, a network that can
//! be broken, and servers.
//!
//! These functions panic where a test cannot continue; `# Panics` sections are left out.

pub mod process;
pub mod proxy;
#[cfg(feature = "servers")]
pub mod servers;
mod wait;

pub use process::Process;
pub use proxy::{Proxy, Wire};
pub use wait::eventually;
