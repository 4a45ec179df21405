//! The visual index: one row for each image in Milvus, and all requests to it.
//!
//! This crate is the only user of Milvus. It supports 2.3.5 (started by `lookalike up` and the
//! tests) and later versions. Workarounds for differences and faults of the servers are documented
//! where they are applied.
//!
//! The modules follow a start: settings and the identity of the model, the connection, opening the
//! collection ([`Index::open`]), writing rows, reading them, changing the served model.
//!
//! Guarantees:
//! - An [`Index`] is cheap to clone and can be used from any number of tasks.
//! - Every stored vector has the model's dimension, is finite and of unit length. An index that
//!   was filled by another model is refused with [`Error::ModelMismatch`].
//! - Every call ends within `milvus.call_timeout` times its attempts, or within
//!   `milvus.admin_timeout` for the few that create, load or flush. A search ends within
//!   `milvus.search_timeout`.
//! - Every error has an [`ErrorClass`]: retry, reject this request, or stop the role.
//!
//! All async functions fail with the [`Error`] that Milvus reports; a function documents only
//! variants that its caller must handle.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod error;
mod metrics;
mod settings;

pub mod limits;
mod model;
mod row;
mod schema;

mod columns;
mod consistency;
mod filter;

mod connection;

mod collections;
mod index;

mod calls;
mod golden;
mod open;

mod write;

mod content_keys;
mod facet_rows;
mod list;
mod read;
mod row_keys;
mod search;
mod search_batches;

mod duplicates;

mod served_model;

#[cfg(feature = "test-faults")]
mod test_faults;

pub use collections::{Collection, Collections};
pub use consistency::ReadConsistency;
pub use content_keys::{ContentKey, ContentKeys, ContentRange};
pub use error::{Error, ErrorClass};
pub use facet_rows::{FacetColumn, FacetRow};
pub use filter::{RowFilter, ValueRange};
pub use index::Index;
pub use model::{ModelIdentity, ModelSource, SCHEMA_VERSION};
pub use row::{ContentAttributes, HitFields, IndexHit, IndexRow, IndexedImage};
pub use row_keys::{RowKey, RowReader};
pub use search::{NearestHits, SearchQuery};
pub use served_model::{ServedModel, ServedModelWatcher};
pub use settings::Settings;

#[cfg(test)]
mod tests {
    use super::*;

    /// Roles spawn these futures on a multi-threaded runtime. Never run; it only has to compile.
    #[allow(dead_code)]
    fn every_future_can_change_threads(index: &'static Index, settings: &'static Settings) {
        fn assert_send<T: Send>(_: T) {}
        assert_send(Index::open(settings, index.model()));
        assert_send(async move { index.collections().put_in_service("").await });
        assert_send(index.ensure_collection());
        assert_send(index.check_ready());
        assert_send(index.upsert_rows(&[]));
        assert_send(index.delete_up_to_generation(&[]));
        assert_send(index.delete_ids(&[]));
        assert_send(index.fetch_vector("", ReadConsistency::Strong));
        assert_send(index.fetch_vectors(&[], ReadConsistency::Strong));
        assert_send(async move {
            let query = SearchQuery::default();
            index.find_nearest(&[], &query, HitFields::Id).await
        });
        assert_send(index.fetch_row("", ReadConsistency::Strong));
        assert_send(index.fetch_images(&[], ReadConsistency::Strong));
        assert_send(index.find_rows_by_content(&[], &RowFilter::All));
        assert_send(index.approximate_count(&RowFilter::All));
        assert_send(index.fetch_keys(&[]));
        assert_send(index.find_duplicate_ids(&[]));
        assert_send(async move { index.row_reader(&RowFilter::All, 1)?.next_page().await });
        assert_send(index.facet_rows(&RowFilter::All, &[], None, 1));
        assert_send(async move {
            let range = ContentRange {
                after: String::new(),
                before: None,
            };
            index.read_content_keys(&RowFilter::All, &range, 1).await
        });
        assert_send(index.list_images(&RowFilter::All, None, 1, ReadConsistency::Strong));
        assert_send(async move { index.search_by_vector(&[], &SearchQuery::default()).await });
    }
}
