//! Faults for tests: damages an index on purpose, so that the system tests can prove that audits find
//! and repair the damage. Compiled only with the feature `test-faults`.

use milvus::v2::prelude::{DropAliasRequest, DropCollectionRequest, InsertRequest};

use crate::{columns::to_columns, error::Error, index::Index, metrics::MilvusCall, row::IndexRow};

impl Index {
    /// Inserts rows without replacing existing rows of the same ids.
    pub async fn insert_duplicates(&self, rows: &[&IndexRow]) -> Result<(), Error> {
        self.call_with_retries(MilvusCall::Upsert, async |client, collection| {
            let request = InsertRequest::builder()
                .collection_name(collection)
                .columns(to_columns(rows))
                .build()?;
            client.insert(request).await
        })
        .await?;
        Ok(())
    }

    /// Drops this index's collection with all its rows, and the alias.
    pub async fn drop_collection(&self) -> Result<(), Error> {
        let collection = self.collection();
        let alias = &self.inner.settings.namespace;
        // Some versions refuse to drop a collection that has an alias.
        self.call_admin(&format!("alias {alias:?}"), false, async |client| {
            let request = DropAliasRequest::builder().alias(alias).build()?;
            client.drop_alias(request).await
        })
        .await?;
        self.call_admin(
            &format!("collection {collection:?}"),
            true,
            async |client| {
                let request = DropCollectionRequest::builder()
                    .collection_name(&*collection)
                    .build()?;
                client.drop_collection(request).await
            },
        )
        .await
    }
}
