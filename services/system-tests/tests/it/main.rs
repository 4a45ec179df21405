//! Real processes, real servers, real files: the promises of the whole, from outside.
//!
//! One nats-server and one Milvus serve all tests; each test has its own namespace on them, its
//! own folders and its own processes. They die with this process, however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod harness;

mod bad_input;
mod chaos;
mod command_line;
mod failures;
mod faults;
mod models;
mod own_servers;
mod quality;
mod roles;
mod rollover;
mod text_search;
mod tidy;
mod whole_way;
