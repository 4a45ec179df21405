//! Commands that combine the client with connections or with the model store.

pub mod audit;
pub mod config;
pub mod confirm;
pub mod export;
pub mod keys;
pub mod man;
pub mod models;
pub mod search;
