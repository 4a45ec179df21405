//! Runs the roles: `up` runs all of them and the servers in one process; `watch`, `embed` and
//! `serve` run one of them.

mod role;
mod run;

mod build;
mod connected;
mod contexts;
mod servers;

mod running;

mod role_task;

mod drain;

mod announce;
mod indexing_bar;
mod log_output;
mod progress;

pub use role::AppRole;
pub use run::run_app;
