//! The catalog: the recorded state of every file, in one SQLite file, which is also the outbox.
//!
//! A row's state and the fact that it must be sent are columns of one row, so they commit together.
//! Only the keeper's thread uses the catalog. A lost catalog is rebuilt from the folders and the
//! index. All functions fail with [`Error`] when SQLite fails.

mod connection;
mod files;
mod last_outcomes;
mod libraries;
mod missing;
mod outbox;
mod row;
mod schema;

pub use connection::{Catalog, Error};
pub use files::{CatalogedFile, FileLocation};
pub use missing::MissingPosition;
pub use row::{CatalogRow, FileState, LibraryKey};

#[cfg(test)]
pub use connection::downgrade_to_version_1;
