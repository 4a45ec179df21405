//! Queue: events from JetStream, and the limits on how many are in flight.

pub mod circuit_breaker;
pub mod consumer;
pub mod in_flight;
