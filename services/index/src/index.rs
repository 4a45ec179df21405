//! The handle of one model's collection.

use std::sync::{Arc, RwLock};

use crate::{
    collections::Collections,
    connection::MilvusConnection,
    model::{ModelIdentity, ModelSource},
    search_batches::SearchBatches,
    settings::Settings,
};

/// One model's collection in Milvus. Clones share one connection.
#[derive(Clone)]
pub struct Index {
    pub(crate) inner: Arc<IndexState>,
}

pub(crate) struct IndexState {
    pub(crate) settings: Settings,
    pub(crate) model: ModelIdentity,
    /// Stored in a new collection.
    pub(crate) model_source: ModelSource,
    /// Whether the collection is filled while another one serves: then the alias is not moved.
    pub(crate) is_shadow: bool,
    /// This process's vector of the golden picture, encoded, once it is known. A collection that is
    /// created again contains it from the start.
    pub(crate) golden_text: std::sync::OnceLock<String>,
    pub(crate) connection: MilvusConnection,
    /// The collection behind the alias when [`Index::ensure_collection`] last resolved it. Requests
    /// name the collection, not the alias: moving the alias to another model's collection must not
    /// redirect a running role.
    pub(crate) collection: RwLock<Arc<str>>,
    /// Serializes creating, checking and loading the collection.
    pub(crate) lifecycle: tokio::sync::Mutex<()>,
    /// Number of finished loads. A task that waited for `lifecycle` sees whether another one loaded.
    pub(crate) load_count: std::sync::atomic::AtomicU64,
    pub(crate) search_batches: Arc<SearchBatches>,
}

impl Index {
    pub fn model(&self) -> &ModelIdentity {
        &self.inner.model
    }

    /// Returns all collections of this index's namespace.
    pub fn collections(&self) -> Collections {
        Collections::new(&self.inner.settings, &self.inner.connection)
    }

    /// Returns the collection's name, `<namespace>_<model>_<n>`.
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
