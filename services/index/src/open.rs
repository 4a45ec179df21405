//! Opening the index: find or make the collection, check whose it is, index it, load it, and last
//! of all put the alias on it.
//!
//! Every step may already have been done, by an earlier start that was killed or by another role
//! that starts at this moment; so every step takes "it is there" for success and looks again at
//! what is there. The alias comes last: a collection behind the alias is always complete.

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
    Error, Index, Inner, ModelIdentity, ModelSource, Settings,
    collections::{read_properties, resolve_alias, set_alias},
    connection::MilvusConnection,
    schema,
};

/// Collections of one model and namespace that are tried before giving up. More than one exists
/// only while models of the same name follow each other.
const MAX_COLLECTIONS: u32 = 100;

impl Index {
    /// Connects, and makes the collection of this model unless it is there.
    ///
    /// # Errors
    /// [`Error::Settings`]; [`Error::Connect`] when no server answers within
    /// `milvus.connect_timeout`; [`Error::ModelMismatch`] when the index in service was made by
    /// another model.
    pub async fn open(settings: &Settings, model: &ModelIdentity) -> Result<Self, Error> {
        Self::open_with_source(settings, model, &ModelSource::default()).await
    }

    /// As [`Index::open`]; a collection that is made says where its model comes from.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub async fn open_with_source(
        settings: &Settings,
        model: &ModelIdentity,
        origin: &ModelSource,
    ) -> Result<Self, Error> {
        Self::connect(settings, model, origin, false).await
    }

    /// Opens a collection of this model that is not in service, and makes it unless it is there:
    /// to be filled while another one serves. The alias is never touched by it;
    /// [`Collections::put_in_service`](crate::Collections::put_in_service) does that.
    ///
    /// # Errors
    /// As [`Index::open`], but that another model may be in service.
    pub async fn open_shadow(
        settings: &Settings,
        model: &ModelIdentity,
        origin: &ModelSource,
    ) -> Result<Self, Error> {
        Self::connect(settings, model, origin, true).await
    }

    /// The index of another model on the same server, as [`Index::open_with_source`] opens it.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub async fn open_for_model(
        &self,
        model: &ModelIdentity,
        origin: &ModelSource,
    ) -> Result<Self, Error> {
        Self::open_with_source(&self.inner.settings, model, origin).await
    }

    async fn connect(
        settings: &Settings,
        model: &ModelIdentity,
        origin: &ModelSource,
        is_shadow: bool,
    ) -> Result<Self, Error> {
        settings.check_values()?;
        if !(2..=32_768).contains(&model.dimension) {
            return Err(Error::Settings {
                reason: format!(
                    "model {:?} makes vectors of {} numbers, and Milvus takes 2 to 32768",
                    model.name, model.dimension
                ),
            });
        }
        let index = Self {
            inner: Arc::new(Inner {
                settings: settings.clone(),
                model: model.clone(),
                model_source: origin.clone(),
                is_shadow,
                golden_text: std::sync::OnceLock::new(),
                connection: MilvusConnection::open(settings).await?,
                collection: RwLock::new(Arc::from("")),
                lifecycle: tokio::sync::Mutex::new(()),
                load_count: AtomicU64::new(0),
            }),
        };
        index.ensure_collection().await?;
        Ok(index)
    }

    /// Makes what is missing (collection, indexes, load, alias) and checks what is there. For a
    /// running role after [`Error::Missing`]; the new collection is empty.
    ///
    /// # Errors
    /// As [`Index::open`].
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
        // Once more after the alias is set, which checks what it now points to; and once more
        // again where another role was quicker.
        for _ in 0..3 {
            let target = self.resolve_alias().await?;
            let in_service = match &target {
                Some(name) => self.read_properties(name).await?.map(|found| (name, found)),
                None => None,
            };
            if let Some((name, found)) = in_service {
                if let Some(difference) = self.inner.model.describe_difference(&found) {
                    return Err(Error::ModelMismatch {
                        collection: name.clone(),
                        found: model_label(
                            &ModelSource::from_properties(&found),
                            ModelIdentity::from_properties(&found),
                        ),
                        wanted: model_label(
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
            // An alias whose collection is gone is moved, where the server kept it.
            let moved = self.set_alias(&name, target.is_some()).await;
            match moved {
                Ok(()) => tracing::info!(collection = %name, %alias, "the index is in service"),
                // Somebody was quicker, or it was there all along: the next round looks.
                Err(error) => {
                    tracing::debug!(%error, "the alias is looked at again");
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.unwrap_or_else(|| Error::Missing {
            what: format!("alias {alias:?}"),
        }))
    }

    /// Loads the collection after the server said it is not loaded; whoever comes while another
    /// one loads only waits for that.
    pub(crate) async fn reload_collection(&self, collection: &str) -> Result<(), Error> {
        let count_before = self.inner.load_count.load(Ordering::Acquire);
        let _lifecycle_guard = self.inner.lifecycle.lock().await;
        if self.inner.load_count.load(Ordering::Acquire) != count_before {
            return Ok(());
        }
        tracing::warn!(%collection, "Milvus says that the collection is not loaded: loading it");
        self.load_collection(collection).await
    }

    /// The collection behind the alias.
    async fn resolve_alias(&self) -> Result<Option<String>, Error> {
        let (settings, connection) = (&self.inner.settings, &self.inner.connection);
        resolve_alias(connection, settings, &settings.namespace).await
    }

    /// Properties of a collection; `None` where there is no such collection.
    async fn read_properties(&self, name: &str) -> Result<Option<HashMap<String, String>>, Error> {
        read_properties(&self.inner.connection, &self.inner.settings, name).await
    }

    /// The first of `<namespace>_<model>_1`, `_2`, … that is this model's, or is free and now
    /// made.
    async fn find_or_create(&self) -> Result<String, Error> {
        let (settings, model) = (&self.inner.settings, &self.inner.model);
        let mut last_error = None;
        for n in 1..=MAX_COLLECTIONS {
            let name = model.collection_name(&settings.namespace, n);
            let mut properties = self.read_properties(&name).await?;
            if properties.is_none() {
                match self.create_collection(&name).await {
                    Ok(()) => tracing::info!(collection = %name, "made a collection"),
                    // Another role made it in between, perhaps for another model.
                    Err(error) => {
                        tracing::debug!(%error, collection = %name, "looked at again");
                        last_error = Some(error);
                    }
                }
                properties = self.read_properties(&name).await?;
            }
            match properties {
                Some(found) if model.describe_difference(&found).is_none() => return Ok(name),
                Some(_) => {}
                // Not made, and not there: the server's reason matters, not the next number.
                None => break,
            }
        }
        Err(last_error.unwrap_or_else(|| Error::Missing {
            what: format!(
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

    /// Indexes and loads, as far as that is not done.
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
            let found = self
                .call_admin(&target, false, async |client| {
                    let request = ListIndexesRequest::builder()
                        .collection_name(name)
                        .build()?;
                    client.list_indexes(request).await
                })
                .await;
            match found {
                Ok(found) => Ok(found.index_names().to_vec()),
                Err(Error::Missing { what }) => Err(Error::Missing { what }),
                // A collection without any index: some versions call that an error.
                Err(error) => {
                    tracing::debug!(%error, collection = name, "no index is listed");
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
                // Another role may have made it in between, with other numbers even: then those
                // hold, as they would for an index from an earlier start.
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
        // A failed load counts too: who waited for it tries its own request and sees.
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

/// By what `--model` finds a model; nothing where nobody said.
fn model_label(origin: &ModelSource, model: Option<ModelIdentity>) -> String {
    match &origin.locator[..] {
        "" => model.map(|model| model.name).unwrap_or_default(),
        source => source.to_owned(),
    }
}
