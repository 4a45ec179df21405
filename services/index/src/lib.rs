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
//!   another model filled is refused with [`Error::OtherModel`].
//! - Every call ends: within `milvus.call_timeout` (times its attempts), or
//!   `milvus.admin_timeout` for the few that create, load or flush.
//! - Every error knows its [`Fate`]: try again, give this request up, or stop the role.

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

mod pages;

mod audit;

mod damage;

use std::sync::{Arc, RwLock};

pub use audit::RowReader;
pub use collections::{Collection, Collections};
pub use error::{Error, Fate};
pub use filter::{Filter, Range};
pub use model::{ModelIdentity, Origin, SCHEMA_VERSION};
pub use pages::RowKey;
pub use read::{Consistency, SearchQuery};
pub use row::{Hit, Image, Row, limits};
pub use settings::Settings;

use connection::Connection;

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
    origin: Origin,
    /// Filled while another collection serves: the alias is not ours to move.
    is_shadow: bool,
    /// What this process makes of the golden picture, once it said so: a collection that is made
    /// anew has it from the first moment.
    golden: std::sync::OnceLock<String>,
    connection: Connection,
    /// The collection behind the alias as [`Index::ensure`] last found it. Calls name it and not
    /// the alias: an alias that is moved to another model's collection must not move a running
    /// role with it.
    collection: RwLock<Arc<str>>,
    /// Held while the collection is created, checked or loaded: one at a time, whoever asks.
    lifecycle: tokio::sync::Mutex<()>,
    /// Counts finished loads; who waited for the lifecycle sees that another one has just loaded.
    loads: std::sync::atomic::AtomicU64,
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
        fn send<T: Send>(_: T) {}
        send(Index::open(settings, index.model()));
        send(async move { index.collections().put_in_service("").await });
        send(index.ensure());
        send(index.ready());
        send(index.upsert(&[]));
        send(index.delete(&[]));
        send(index.delete_ids(&[]));
        send(index.flush());
        send(index.vector_of("", Consistency::Strong));
        send(index.get(&[], Consistency::Strong));
        send(index.known_content(&[]));
        send(index.approximate_count(&Filter::All));
        send(index.count(&Filter::All));
        send(index.keys_after(&Filter::All, None));
        send(index.keys_of(&[]));
        send(index.doubled(&[]));
        send(async move { index.row_reader(&Filter::All, 1)?.next().await });
        send(index.list(&Filter::All, None, 1, Consistency::Strong));
        send(async move { index.search(&[], &SearchQuery::default()).await });
    }
}
