//! `bench index`: upsert rate, latency and recall of the vector index.
//!
//! [`vectors`] makes clustered rows and their exact neighbours. [`ours`] writes and searches them
//! with lookalike's index. [`grid`] lets pymilvus replace the index by others and measures each.

pub mod arguments;
pub mod grid;
pub mod measure;
pub mod ours;
pub mod vectors;
