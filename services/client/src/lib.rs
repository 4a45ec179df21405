//! The commands that query or instruct a running lookalike, and how they print.
//!
//! Each command's arguments are defined next to the command. Most commands use the HTTP API;
//! `confirm` and `audit` can use NATS, so that they also work where no service runs, and `export`
//! reads vectors from the index. Text from outside, such as file names, is escaped before it reaches
//! a terminal.
//!
//! A command fails with an [`anyhow::Error`]; a [`UsageError`] in it means wrong use or settings.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod usage_error;

mod event_stream;
mod running;
mod service;

pub mod duration_arg;
pub mod terminal;

mod file_list;
mod locate_file;

pub mod audit;
pub mod compare;
pub mod confirm;
pub mod duplicates;
pub mod export;
pub mod facets;
pub mod failures;
pub mod mcp;
pub mod remove;
pub mod search;
pub mod status;
pub mod upload;
pub mod watch_events;
pub mod why;

pub use running::RunningInstance;
pub use service::{FileArgs, ServiceArgs, ServiceClient, ServiceRefusal, is_transient};
pub use usage_error::{UsageError, exit_code, format_error, usage_error};
