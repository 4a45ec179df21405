//! What faults do to an index, done on purpose: for the tests of the whole, which prove that it
//! is found and repaired. No role calls any of this.

use milvus::v2::prelude::{DropAliasRequest, DropCollectionRequest, InsertRequest};

use crate::{Error, Index, IndexRow, metrics::MilvusCall, row::to_columns};

impl Index {
    /// Adds rows without looking for others of the same id, which are then there twice.
    ///
    /// # Errors
    /// As the server says.
    #[doc(hidden)]
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

    /// Removes the collection in service with all its rows, and the alias with it.
    ///
    /// # Errors
    /// As the server says.
    #[doc(hidden)]
    pub async fn drop_collection(&self) -> Result<(), Error> {
        let collection = self.collection();
        let alias = &self.inner.settings.namespace;
        // A collection that has an alias is not dropped by some versions.
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
