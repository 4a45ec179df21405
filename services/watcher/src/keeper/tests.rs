//! The keeper, proved without NATS and Milvus: real folders and a real catalog, and around them
//! a model of the queue, the embedder and the index that can be as nasty as the real ones.
//!
//! Time is the keeper's argument, so nothing here sleeps, except where the file system's own
//! clock matters.

mod answers;
mod brake;
mod delivery;
mod files;
mod folders;
mod ignoring;
mod live;
mod many;
mod put_off;
mod random;
mod roots;
mod standing;
mod watching;
mod world;
mod world_folders;
