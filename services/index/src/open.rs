//! Opens the index: finds or creates the collection, checks its model, creates its indexes, loads
//! it, and finally sets the alias.
//!
//! An earlier start that was killed, or another role that starts at the same time, may already have
//! done any step. Each step therefore treats "already exists" as success and reads the result
//! again. The alias comes last, so a collection behind the alias is always complete.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use milvus::v2::prelude::{
    ConsistencyLevel, CreateCollectionRequest, CreateIndexRequest, GetLoadStateRequest,
    GetServerVersionRequest, ListIndexesRequest, LoadCollectionRequest, LoadState,
};

use crate::{
    collections::{read_properties, resolve_alias, set_alias},
    connection::MilvusConnection,
    error::Error,
    index::{Index, IndexState},
    model::{ModelIdentity, ModelSource},
    schema,
    search_batches::SearchBatches,
    settings::Settings,
};

/// Numbers tried for a collection's name. More than one collection of a model exists only if models
/// of the same name replaced each other.
const MAX_COLLECTIONS: u32 = 100;

impl Index {
    /// Connects, and creates this model's collection unless it exists.
    ///
    /// # Errors
    /// [`Error::Connect`] if no server answers within `milvus.connect_timeout`;
    /// [`Error::ModelMismatch`] if the index in service belongs to another model.
    pub async fn open(settings: &Settings, model: &ModelIdentity) -> Result<Self, Error> {
        Self::open_with_source(settings, model, &ModelSource::default()).await
    }

    /// Opens the index like [`Index::open`]; a new collection stores where its model comes from.
    pub async fn open_with_source(
        settings: &Settings,
        model: &ModelIdentity,
        model_source: &ModelSource,
    ) -> Result<Self, Error> {
        Self::connect(settings, model, model_source, false).await
    }

    /// Opens a collection of this model that is not in service, to fill it while another one
    /// serves; creates it unless it exists. Another model may be in service. The alias never
    /// changes; use [`Collections::put_in_service`](crate::Collections::put_in_service) for that.
    pub async fn open_shadow(
        settings: &Settings,
        model: &ModelIdentity,
        model_source: &ModelSource,
    ) -> Result<Self, Error> {
        Self::connect(settings, model, model_source, true).await
    }

    /// Opens the index of another model on the same server, like [`Index::open_with_source`].
    pub async fn open_for_model(
        &self,
        model: &ModelIdentity,
        model_source: &ModelSource,
    ) -> Result<Self, Error> {
        Self::open_with_source(&self.inner.settings, model, model_source).await
    }

    async fn connect(
        settings: &Settings,
        model: &ModelIdentity,
        model_source: &ModelSource,
        is_shadow: bool,
    ) -> Result<Self, Error> {
        settings.check_values()?;
        if !(2..=32_768).contains(&model.dimension) {
            return Err(Error::Settings {
                reason: format!(
                    "model {:?} has vectors of {} numbers, but Milvus supports 2 to 32768",
                    model.name, model.dimension
                ),
            });
        }
        let index = Self {
            inner: Arc::new(IndexState {
                settings: settings.clone(),
                model: model.clone(),
                model_source: model_source.clone(),
                is_shadow,
                golden_text: std::sync::OnceLock::new(),
                connection: MilvusConnection::open(settings).await?,
                collection: RwLock::new(Arc::from("")),
                lifecycle: tokio::sync::Mutex::new(()),
                load_count: AtomicU64::new(0),
                search_batches: Arc::new(SearchBatches::new(settings.max_concurrent_searches)),
            }),
        };
        index.ensure_collection().await?;
        Ok(index)
    }

    /// Creates what is missing (collection, indexes, load, alias) and checks what exists. Running
    /// roles call this after [`Error::Missing`]; the new collection is empty.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`] if another model is in service now.
    pub async fn ensure_collection(&self) -> Result<(), Error> {
        let _lifecycle_guard = self.inner.lifecycle.lock().await;
        if self.inner.is_shadow {
            let name = self.find_or_create().await?;
            self.index_and_load(&name).await?;
            self.set_collection(&name);
            return Ok(());
        }
        let alias = &self.inner.settings.namespace;
        let mut last_error = None;
        // The second round checks the alias that the first one set. The third one is needed if
        // another role set it first.
        for _ in 0..3 {
            let target = self.resolve_alias().await?;
            let in_service = match &target {
                Some(name) => self
                    .read_properties(name)
                    .await?
                    .map(|properties| (name, properties)),
                None => None,
            };
            if let Some((name, properties)) = in_service {
                if let Some(difference) = self.inner.model.describe_difference(&properties) {
                    return Err(Error::ModelMismatch {
                        collection: name.clone(),
                        actual: model_label(
                            &ModelSource::from_properties(&properties),
                            ModelIdentity::from_properties(&properties),
                        ),
                        expected: model_label(
                            &self.inner.model_source,
                            Some(self.inner.model.clone()),
                        ),
                        difference,
                    });
                }
                self.index_and_load(name).await?;
                self.set_collection(name);
                return Ok(());
            }
            let name = self.find_or_create().await?;
            self.index_and_load(&name).await?;
            // If the server kept the alias of a dropped collection, the alias must be moved.
            let moved = self.set_alias(&name, target.is_some()).await;
            match moved {
                Ok(()) => tracing::info!(collection = %name, %alias, "the index is in service"),
                // Another role set it first, or it already existed; the next round checks.
                Err(error) => {
                    tracing::debug!(%error, "cannot set the alias, checking it again");
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.unwrap_or_else(|| Error::Missing {
            object: format!("alias {alias:?}"),
        }))
    }

    /// Loads the collection after the server reported that it is not loaded. A task that arrives
    /// while another one loads only waits for it.
    pub(crate) async fn reload_collection(&self, collection: &str) -> Result<(), Error> {
        let count_before = self.inner.load_count.load(Ordering::Acquire);
        let _lifecycle_guard = self.inner.lifecycle.lock().await;
        if self.inner.load_count.load(Ordering::Acquire) != count_before {
            return Ok(());
        }
        tracing::warn!(%collection, "Milvus has not loaded the collection, loading it");
        self.load_collection(collection).await
    }

    async fn resolve_alias(&self) -> Result<Option<String>, Error> {
        let (settings, connection) = (&self.inner.settings, &self.inner.connection);
        resolve_alias(connection, settings, &settings.namespace).await
    }

    async fn read_properties(&self, name: &str) -> Result<Option<HashMap<String, String>>, Error> {
        read_properties(&self.inner.connection, &self.inner.settings, name).await
    }

    /// Returns the first of `<namespace>_<model>_1`, `_2`, … that belongs to this model; creates it
    /// if the name is free.
    async fn find_or_create(&self) -> Result<String, Error> {
        let (settings, model) = (&self.inner.settings, &self.inner.model);
        let mut last_error = None;
        for n in 1..=MAX_COLLECTIONS {
            let name = model.collection_name(&settings.namespace, n);
            let mut properties = self.read_properties(&name).await?;
            if properties.is_none() {
                match self.create_collection(&name).await {
                    Ok(()) => tracing::info!(collection = %name, "created a collection"),
                    // Another role may have created it meanwhile, perhaps for another model.
                    Err(error) => {
                        tracing::debug!(%error, collection = %name, "cannot create the collection, checking it again");
                        last_error = Some(error);
                    }
                }
                properties = self.read_properties(&name).await?;
            }
            match properties {
                Some(properties) if model.describe_difference(&properties).is_none() => {
                    return Ok(name);
                }
                Some(_) => {}
                // It was not created: report the server's reason instead of trying the next number.
                None => break,
            }
        }
        Err(last_error.unwrap_or_else(|| Error::Missing {
            object: format!(
                "a free name among {}_{}_1 to _{MAX_COLLECTIONS}",
                settings.namespace,
                model.collection_name_part()
            ),
        }))
    }

    async fn create_collection(&self, name: &str) -> Result<(), Error> {
        let (settings, model) = (&self.inner.settings, &self.inner.model);
        let version = self
            .call_admin("the server's version", false, async |client| {
                let request = GetServerVersionRequest::builder().build()?;
                client.server_version(request).await
            })
            .await?;
        let partition_key = schema::supports_partition_key(version.version());
        let mut properties = model.to_properties(&self.inner.model_source);
        properties.extend(self.golden_property());
        self.call_admin(&format!("collection {name:?}"), true, async |client| {
            let mut request = CreateCollectionRequest::builder()
                .collection_name(name)
                .schema(schema::collection_schema(model.dimension, partition_key))
                .num_shards(i32::from(settings.shards))
                .consistency_level(ConsistencyLevel::Bounded)
                .properties(properties);
            if partition_key {
                request = request.num_partitions(i64::from(settings.partitions));
            }
            client.create_collection(request.build()?).await
        })
        .await
    }

    /// Creates missing indexes and loads the collection unless it is loaded.
    async fn index_and_load(&self, name: &str) -> Result<(), Error> {
        self.create_indexes(name).await?;
        let target = format!("collection {name:?}");
        let state = self
            .call_admin(&target, false, async |client| {
                let request = GetLoadStateRequest::builder()
                    .collection_name(name)
                    .build()?;
                client.get_load_state(request).await
            })
            .await?;
        if state.state() == LoadState::Loaded {
            return Ok(());
        }
        self.load_collection(name).await
    }

    async fn create_indexes(&self, name: &str) -> Result<(), Error> {
        let target = format!("collection {name:?}");
        let list_indexes = async || {
            let listed = self
                .call_admin(&target, false, async |client| {
                    let request = ListIndexesRequest::builder()
                        .collection_name(name)
                        .build()?;
                    client.list_indexes(request).await
                })
                .await;
            match listed {
                Ok(listed) => Ok(listed.index_names().to_vec()),
                Err(Error::Missing { object }) => Err(Error::Missing { object }),
                // Some versions report a collection without any index as an error.
                Err(error) => {
                    tracing::debug!(%error, collection = name, "cannot list the indexes");
                    Ok(Vec::new())
                }
            }
        };
        let mut present = list_indexes().await?;
        for index_param in schema::index_params(&self.inner.settings) {
            let index_name = index_param.get_index_name().to_owned();
            if present.contains(&index_name) {
                continue;
            }
            let created = self
                .call_admin(&target, true, async |client| {
                    let request = CreateIndexRequest::builder()
                        .collection_name(name)
                        .index_param(index_param)
                        .sync(false)
                        .build()?;
                    client.create_index(request).await
                })
                .await;
            if let Err(error) = created {
                // Another role may have created it meanwhile, even with other parameters. Those
                // apply then, as for an index from an earlier start.
                present = list_indexes().await?;
                if !present.contains(&index_name) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn load_collection(&self, name: &str) -> Result<(), Error> {
        let limit = self.inner.settings.admin_timeout;
        let loaded = self
            .call_admin(&format!("collection {name:?}"), true, async |client| {
                let request = LoadCollectionRequest::builder()
                    .collection_name(name)
                    .sync(true)
                    .timeout_ms(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
                    .build()?;
                client.load_collection(request).await
            })
            .await;
        // A failed load counts, too: a task that waited for it repeats its own request.
        self.inner.load_count.fetch_add(1, Ordering::Release);
        loaded
    }

    async fn set_alias(&self, collection: &str, exists: bool) -> Result<(), Error> {
        let (settings, connection) = (&self.inner.settings, &self.inner.connection);
        set_alias(
            connection,
            settings,
            &settings.namespace,
            collection,
            exists,
        )
        .await
    }

    fn set_collection(&self, name: &str) {
        *self
            .inner
            .collection
            .write()
            .expect("no holder of this lock can panic") = Arc::from(name);
    }
}

/// Returns the name or folder by which `--model` finds the model; empty if unknown.
fn model_label(model_source: &ModelSource, model: Option<ModelIdentity>) -> String {
    match &model_source.locator[..] {
        "" => model.map(|model| model.name).unwrap_or_default(),
        source => source.to_owned(),
    }
}
