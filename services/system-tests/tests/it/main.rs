//! Guarantees of the whole system, tested from outside with real processes, servers and files.
//!
//! Tests run side by side. Each has a namespace, folders and processes of its own, and shares a pair of
//! nats-server and Milvus with the other tests of its group. All processes die with this one, however
//! it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod harness;

mod api_document;
mod api_guide;
mod bad_input;
mod bench;
mod chaos;
mod client_commands;
mod client_habits;
mod command_line;
mod config_command;
mod connections;
mod doctor;
mod duplicates;
mod failures;
mod faults;
mod filters;
mod key_libraries;
mod keys;
mod mcp;
mod models;
mod outputs;
mod own_servers;
mod page;
mod quality;
mod roles;
mod rollover;
mod saved_searches;
mod search_depth;
mod text_search;
mod tidy;
mod uploads;
mod webhooks;
mod whole_way;
