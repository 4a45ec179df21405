//! Queries: requests that an embedder answers, for vectors and for rows.

pub mod embed;
pub mod rows;
