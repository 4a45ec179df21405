//! `bench search`: latency and throughput of searches.
//!
//! [`workload`] knows the requests and what their answers must be, [`drive`] sends them, and
//! [`recorder`] keeps the latencies. [`remote`] measures a running lookalike, [`scenario`] one that it
//! starts itself, next to the usual system.

pub mod arguments;
pub mod arrivals;
pub mod check;
pub mod drive;
pub mod ingestion;
pub mod mix;
pub mod recorder;
pub mod remote;
pub mod scenario;
pub mod tables;
pub mod usual;
pub mod workload;
