//! `bench`: measures the table of performance targets and prints each value next to its bar.
//!
//! [`targets`] is the table, [`report`] prints the rows and draws the page. One module per subcommand
//! measures its rows: [`network`] and [`decode`] parts of lookalike alone, [`ingest`], [`search`],
//! [`changes`] and [`index`] whole processes. [`peers`] are the Python programs that lookalike is
//! compared with; lookalike and they alternate, because machines are shared.

pub mod affinity;
pub mod changes;
pub mod decode;
pub mod index;
pub mod ingest;
pub mod instance;
pub mod models;
pub mod network;
pub mod options;
pub mod peers;
pub mod photos;
pub mod report;
mod run;
pub mod samples;
pub mod search;
pub mod targets;
pub mod vision;

pub use run::{BenchArguments, run};
