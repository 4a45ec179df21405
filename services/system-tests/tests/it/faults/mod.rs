//! One test per fault, with real processes, servers and files; each ends in the same
//! [`assert_index_equals_folder`]. `FAULTS.md` lists all faults.
//!
//! [`assert_index_equals_folder`]: crate::harness::SystemWorld::assert_index_equals_folder

mod audit;
mod files;
mod folders;
mod index;
mod names;
mod periodic_audit;
mod query_side;
mod queue;
mod roots;
mod service;
mod shutdown;
mod standby;
mod whole;
mod worker;
