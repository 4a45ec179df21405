//! The visual index: one row per picture in Milvus, and every question asked of it.
//!
//! This crate is the only user of Milvus. It speaks 2.3.5 (what `lookalike up` and the tests
//! start) and later; where servers differ or mislead, the remedy stands here, beside its reason,
//! so that nobody else needs to know.
//!
//! The order of the modules is the order in which a start meets them: settings and the identity
//! of the model, opening the collection ([`Index::open`]), writing rows, reading them.
//!
//! What may be relied on:
//! - An [`Index`] is cheap to clone and may be used from any number of tasks.
//! - A vector that enters has the model's dimension, is finite and of unit length; an index that
//!   another model filled is refused with [`Error::ModelMismatch`].
//! - Every call ends: within `milvus.call_timeout` (times its attempts), or
//!   `milvus.admin_timeout` for the few that create, load or flush.
//! - Every error knows its [`ErrorClass`]: try again, give this request up, or stop the role.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod settings;

mod model;

mod error;

mod metrics;

mod row;

mod schema;

mod filter;

mod connection;

mod open;

mod collections;

mod golden;

mod write;

mod read;

mod list;

mod duplicates;

mod test_faults;

use std::sync::{Arc, RwLock};

pub use duplicates::RowReader;
pub use collections::{Collection, Collections};
pub use error::{Error, ErrorClass};
pub use filter::{RowFilter, ValueRange};
pub use model::{ModelIdentity, ModelSource, SCHEMA_VERSION};
pub use list::RowKey;
pub use read::{ReadConsistency, SearchQuery};
pub use row::{IndexHit, IndexRow, IndexedImage, limits};
pub use settings::Settings;

use connection::MilvusConnection;

/// One collection of Milvus that belongs to one model, and the alias in front of it.
///
/// Clones share one connection.
#[derive(Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    model: ModelIdentity,
    /// What a collection that is made says of its model.
    model_source: ModelSource,
    /// Filled while another collection serves: the alias is not ours to move.
    is_shadow: bool,
    /// What this process makes of the golden picture, once it said so: a collection that is made
    /// anew has it from the first moment.
    golden_text: std::sync::OnceLock<String>,
    connection: MilvusConnection,
    /// The collection behind the alias as [`Index::ensure_collection`] last found it. Calls name it and not
    /// the alias: an alias that is moved to another model's collection must not move a running
    /// role with it.
    collection: RwLock<Arc<str>>,
    /// Held while the collection is created, checked or loaded: one at a time, whoever asks.
    lifecycle: tokio::sync::Mutex<()>,
    /// Counts finished loads; who waited for the lifecycle sees that another one has just loaded.
    load_count: std::sync::atomic::AtomicU64,
}

impl Index {
    /// The model whose vectors this index holds.
    pub fn model(&self) -> &ModelIdentity {
        &self.inner.model
    }

    /// All collections of this index' namespace.
    pub fn collections(&self) -> Collections {
        Collections::new(&self.inner.settings, &self.inner.connection)
    }

    /// The collection in service, `<namespace>_<model>_<n>`.
    pub fn collection(&self) -> Arc<str> {
        self.inner
            .collection
            .read()
            .expect("no holder of this lock can panic")
            .clone()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Index")
            .field("collection", &self.collection())
            .field("model", &self.inner.model)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Roles spawn these on a runtime of many threads. Never run: it is enough that it compiles.
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
        assert_send(index.flush());
        assert_send(index.fetch_vector("", ReadConsistency::Strong));
        assert_send(index.fetch_images(&[], ReadConsistency::Strong));
        assert_send(index.find_rows_by_content(&[]));
        assert_send(index.approximate_count(&RowFilter::All));
        assert_send(index.count(&RowFilter::All));
        assert_send(index.keys_after(&RowFilter::All, None));
        assert_send(index.fetch_keys(&[]));
        assert_send(index.find_duplicate_ids(&[]));
        assert_send(async move { index.row_reader(&RowFilter::All, 1)?.next_page().await });
        assert_send(index.list_images(&RowFilter::All, None, 1, ReadConsistency::Strong));
        assert_send(async move { index.search_by_vector(&[], &SearchQuery::default()).await });
    }
}
