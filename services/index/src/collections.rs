//! The collections of a namespace, of all models: which one is in service, which one was in service
//! before, and changing the one in service.
//!
//! Milvus stores this in two aliases: `<namespace>` points to the collection in service,
//! `_<namespace>_previous` to the one before (no namespace starts with `_`). The second alias is set
//! before the first one moves, so a rollback is always possible. If both point to the same
//! collection, there is nothing to roll back to.

use std::collections::HashMap;

use milvus::v2::prelude::{
    AlterAliasRequest, AlterCollectionPropertiesRequest, CollectionDesc, CreateAliasRequest,
    DescribeAliasRequest, DescribeCollectionRequest, DropAliasRequest, DropCollectionRequest,
    FlushRequest, ListCollectionsRequest, QueryRequest,
};

use crate::{
    columns::AnswerColumns,
    connection::MilvusConnection,
    error::Error,
    metrics::MilvusCall,
    model::{ModelIdentity, ModelSource},
    settings::Settings,
};

/// One collection of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// `<namespace>_<model>_<n>`.
    pub name: String,
    /// Model of the stored vectors.
    pub model: ModelIdentity,
    pub model_source: ModelSource,
}

/// The collections of a namespace. Cheap to clone.
#[derive(Clone)]
pub struct Collections {
    settings: Settings,
    connection: MilvusConnection,
}

impl Collections {
    /// Connects without changing anything.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        settings.check_values()?;
        let connection = MilvusConnection::open(settings).await?;
        Ok(Self::new(settings, &connection))
    }

    pub(crate) fn new(settings: &Settings, connection: &MilvusConnection) -> Self {
        Self {
            settings: settings.clone(),
            connection: connection.clone(),
        }
    }

    /// Returns the collection in service.
    pub async fn in_service(&self) -> Result<Option<Collection>, Error> {
        self.collection_behind(&self.settings.namespace).await
    }

    /// Returns the name of the collection in service with one small request, for frequent polls.
    pub async fn name_in_service(&self) -> Result<Option<String>, Error> {
        resolve_alias(&self.connection, &self.settings, &self.settings.namespace).await
    }

    /// Returns the collection that was in service before, unless it is in service again.
    pub async fn previous(&self) -> Result<Option<Collection>, Error> {
        let previous = self.collection_behind(&self.previous_alias()).await?;
        let in_service = self.name_in_service().await?;
        Ok(previous.filter(|previous| Some(&previous.name) != in_service.as_ref()))
    }

    /// Lists all collections of this namespace, sorted by name.
    pub async fn list_all(&self) -> Result<Vec<Collection>, Error> {
        let names = self
            .call_admin("the list of collections", false, async |client| {
                let request = ListCollectionsRequest::builder().build()?;
                client.list_collections(request).await
            })
            .await?;
        let prefix = format!("{}_", self.settings.namespace);
        let mut collections = Vec::new();
        for name in names.collection_names() {
            if name.starts_with(&prefix)
                && let Some(collection) = self.read_collection(name).await?
                && collection
                    .model
                    .owns_collection(&self.settings.namespace, name)
            {
                collections.push(collection);
            }
        }
        collections.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(collections)
    }

    /// Counts the rows of a collection; the count lags slightly behind writes.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] if the collection is not loaded.
    pub async fn count_rows(&self, name: &str) -> Result<u64, Error> {
        const COUNT: &str = "count(*)";
        let target = format!("collection {name:?}");
        let limit = self.settings.call_timeout;
        let answer = self
            .connection
            .send_once(MilvusCall::Count, limit, &target, async |client| {
                let request = QueryRequest::builder()
                    .collection_name(name)
                    .output_fields([COUNT])
                    .build()?;
                client.query(request).await
            })
            .await?;
        let columns = answer.results().get_output_fields();
        let counted = AnswerColumns::new(MilvusCall::Count, columns).number_column(COUNT)?;
        u64::try_from(counted.first().copied().unwrap_or(0))
            .map_err(|_| Error::unexpected_answer(MilvusCall::Count, "a count below zero"))
    }

    /// Puts a collection in service and records the one that was in service before. The change is
    /// atomic: every later request sees it. Does nothing if the collection is already in service.
    ///
    /// After an error, check which collection is in service before repeating the call.
    pub async fn put_in_service(&self, name: &str) -> Result<(), Error> {
        let current = self.name_in_service().await?;
        if current.as_deref() == Some(name) {
            return Ok(());
        }
        if let Some(current) = &current {
            let alias = self.previous_alias();
            let exists = resolve_alias(&self.connection, &self.settings, &alias)
                .await?
                .is_some();
            self.set_alias(&alias, current, exists).await?;
        }
        let alias = &self.settings.namespace;
        self.set_alias(alias, name, current.is_some()).await?;
        tracing::info!(collection = name, before = ?current, "put another collection in service");
        Ok(())
    }

    /// Removes a collection and all its rows.
    ///
    /// # Errors
    /// [`Error::InService`] if the collection is in service.
    pub async fn remove_collection(&self, name: &str) -> Result<(), Error> {
        if self.name_in_service().await?.as_deref() == Some(name) {
            return Err(Error::InService {
                collection: name.to_owned(),
            });
        }
        let alias = self.previous_alias();
        let target = resolve_alias(&self.connection, &self.settings, &alias).await?;
        // Some versions refuse to drop a collection that has an alias.
        if target.as_deref() == Some(name) {
            self.call_admin(&format!("alias {alias:?}"), false, async |client| {
                let request = DropAliasRequest::builder().alias(&alias).build()?;
                client.drop_alias(request).await
            })
            .await?;
        }
        self.call_admin(&format!("collection {name:?}"), true, async |client| {
            let request = DropCollectionRequest::builder()
                .collection_name(name)
                .build()?;
            client.drop_collection(request).await
        })
        .await
    }

    /// Flushes the collection in service to the server's storage, which takes some seconds. Rows are
    /// already safe in the server's log; this makes the next start faster.
    pub async fn flush_in_service(&self) -> Result<(), Error> {
        let Some(name) = self.name_in_service().await? else {
            return Ok(());
        };
        let limit = self.settings.admin_timeout;
        let target = format!("collection {name:?}");
        self.connection
            .send_once(MilvusCall::Flush, limit, &target, async |client| {
                let request = FlushRequest::builder()
                    .collection_names([name.as_str()])
                    .wait_flushed_ms(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
                    .build()?;
                client.flush(request).await
            })
            .await?;
        Ok(())
    }

    /// Records where a collection's model was found, if that differs from the recorded place.
    ///
    /// # Errors
    /// [`Error::Missing`] if the collection does not exist.
    pub async fn record_model_source(
        &self,
        name: &str,
        model_source: &ModelSource,
    ) -> Result<(), Error> {
        let target = format!("collection {name:?}");
        let Some(collection) = self.read_collection(name).await? else {
            return Err(Error::Missing { object: target });
        };
        if model_source.locator.is_empty()
            || collection.model_source.locator == model_source.locator
        {
            return Ok(());
        }
        let properties = model_source.to_properties();
        self.call_admin(&target, false, async |client| {
            let request = AlterCollectionPropertiesRequest::builder()
                .collection_name(name)
                .properties(properties)
                .build()?;
            client.alter_collection_properties(request).await
        })
        .await?;
        tracing::info!(collection = name, source = %model_source.locator, "recorded where the collection's model is");
        Ok(())
    }

    fn previous_alias(&self) -> String {
        format!("_{}_previous", self.settings.namespace)
    }

    async fn collection_behind(&self, alias: &str) -> Result<Option<Collection>, Error> {
        match resolve_alias(&self.connection, &self.settings, alias).await? {
            Some(name) => self.read_collection(&name).await,
            None => Ok(None),
        }
    }

    /// Returns `None` if the collection does not exist or was not created by lookalike.
    async fn read_collection(&self, name: &str) -> Result<Option<Collection>, Error> {
        let properties = read_properties(&self.connection, &self.settings, name).await?;
        Ok(properties.and_then(|properties| {
            Some(Collection {
                name: name.to_owned(),
                model: ModelIdentity::from_properties(&properties)?,
                model_source: ModelSource::from_properties(&properties),
            })
        }))
    }

    async fn set_alias(&self, alias: &str, collection: &str, exists: bool) -> Result<(), Error> {
        set_alias(&self.connection, &self.settings, alias, collection, exists).await
    }

    async fn call_admin<T, F>(
        &self,
        target: &str,
        long: bool,
        request: impl FnOnce(milvus::v2::ClientV2) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, milvus::v2::error::Error>>,
    {
        let limit = match long {
            true => self.settings.admin_timeout,
            false => self.settings.call_timeout,
        };
        let admin = self
            .connection
            .send_once(MilvusCall::Admin, limit, target, request);
        admin.await
    }
}

pub(crate) async fn resolve_alias(
    connection: &MilvusConnection,
    settings: &Settings,
    alias: &str,
) -> Result<Option<String>, Error> {
    let limit = settings.call_timeout;
    let target = format!("alias {alias:?}");
    let described = connection
        .send_once(MilvusCall::Admin, limit, &target, async |client| {
            let request = DescribeAliasRequest::builder().alias(alias).build()?;
            client.describe_alias(request).await
        })
        .await;
    match described {
        Ok(alias) if alias.collection_name().is_empty() => Ok(None),
        Ok(alias) => Ok(Some(alias.collection_name().to_owned())),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `None` if the collection does not exist.
pub(crate) async fn read_properties(
    connection: &MilvusConnection,
    settings: &Settings,
    name: &str,
) -> Result<Option<HashMap<String, String>>, Error> {
    let limit = settings.call_timeout;
    let target = format!("collection {name:?}");
    let described = connection
        .send_once(MilvusCall::Admin, limit, &target, async |client| {
            let request = DescribeCollectionRequest::builder()
                .collection_name(name)
                .build()?;
            client.describe_collection(request).await
        })
        .await;
    match described {
        Ok(described) => {
            let description: &CollectionDesc = described.description();
            Ok(Some(description.get_properties().clone()))
        }
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates an alias, or moves it if it `exists`.
pub(crate) async fn set_alias(
    connection: &MilvusConnection,
    settings: &Settings,
    alias: &str,
    collection: &str,
    exists: bool,
) -> Result<(), Error> {
    let limit = settings.call_timeout;
    let target = format!("alias {alias:?}");
    connection
        .send_once(MilvusCall::Admin, limit, &target, async |client| {
            if exists {
                let request = AlterAliasRequest::builder()
                    .alias(alias)
                    .collection_name(collection)
                    .build()?;
                client.alter_alias(request).await
            } else {
                let request = CreateAliasRequest::builder()
                    .alias(alias)
                    .collection_name(collection)
                    .build()?;
                client.create_alias(request).await
            }
        })
        .await
}
