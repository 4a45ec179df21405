//! Tests of the keeper without NATS and Milvus: real folders and a real catalog, with a model of the
//! queue, the embedder and the index that fails as the real ones do.
//!
//! Time is an argument of the keeper, so no test sleeps, except where the file system's own clock
//! matters.

mod busy;
mod deferral;
mod delivery;
mod files;
mod folders;
mod folding;
mod ignoring;
mod leases;
mod live;
mod many;
mod mass_delete;
mod random;
mod requests;
mod roots;
mod sidecars;
mod touched;
mod unreadable;
mod watches;
mod world;
mod world_folders;
