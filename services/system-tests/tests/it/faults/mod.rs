//! Faults, one by one: each is provoked with real processes, real servers and real files, and
//! each test ends in the same [`assert_index_equals_folder`]. `FAULTS.md` lists them all.
//!
//! [`assert_index_equals_folder`]: crate::harness::World::assert_index_equals_folder

mod audit;
mod files;
mod folders;
mod index;
mod names;
mod periodic_audit;
mod queue;
mod roots;
mod service;
mod shutdown;
mod standby;
mod whole;
mod worker;
