//! Queue: takes events from JetStream, limits how many are in flight, and defers the unfinished.

pub mod circuit_breaker;
pub mod consumer;
pub mod defer_on_shutdown;
pub mod in_flight;
