//! Read: files of the libraries, on disks that may hang.

pub mod file;
pub mod library_reader;
pub mod memory_permits;
pub mod sidecars;
pub mod unknown_libraries;
