//! Writes rows: upserts and deletes. All writes are idempotent.

use std::collections::HashMap;

use milvus::v2::prelude::{ConsistencyLevel, DeleteRequest, InsertRequest, UpsertRequest};

use crate::{
    columns::to_columns,
    error::Error,
    filter::{quote_literal, quote_literals},
    index::Index,
    metrics::MilvusCall,
    row::{IndexRow, check_vector},
    schema::field,
};

/// Conditions in one delete by generation; the server parses each of them.
const MAX_CONDITIONS_PER_DELETE: usize = 64;
/// Ids in one delete or lookup.
pub(crate) const MAX_IDS_PER_REQUEST: usize = 1000;

impl Index {
    /// Writes rows. An existing row is replaced as a whole, even if its library changed. If `rows`
    /// contains several rows of one id, the one with the highest generation is written (Milvus
    /// would store all of them).
    ///
    /// More than `milvus.upsert_rows` rows are sent in several requests. After an error some of
    /// them may have been written, after a timeout all of them: repeat the call, or read the rows.
    ///
    /// # Errors
    /// [`Error::InvalidRow`] or [`Error::InvalidVector`] before anything is written.
    pub async fn upsert_rows(&self, rows: &[IndexRow]) -> Result<(), Error> {
        for row in rows {
            row.image.check_fields()?;
            check_vector(&row.vector, self.inner.model.dimension)?;
        }
        for chunk in newest_row_per_id(rows).chunks(self.inner.settings.upsert_rows) {
            let answer = self
                .call_with_retries(MilvusCall::Upsert, async |client, collection| {
                    let rows = InsertRequest::builder()
                        .collection_name(collection)
                        .columns(to_columns(chunk))
                        .build()?;
                    let request = UpsertRequest::builder().insert(rows).build()?;
                    client.upsert(request).await
                })
                .await?;
            if !answer.failed_indices().is_empty() {
                return Err(Error::unexpected_answer(
                    MilvusCall::Upsert,
                    format!("{} rows were not accepted", answer.failed_indices().len()),
                ));
            }
        }
        Ok(())
    }

    /// Deletes each image's row unless the row has a newer generation than the given one. Missing
    /// rows are no error.
    pub async fn delete_up_to_generation(&self, images: &[(String, i64)]) -> Result<(), Error> {
        for chunk in images.chunks(MAX_CONDITIONS_PER_DELETE) {
            let expression = chunk
                .iter()
                .map(|(id, generation)| {
                    format!(
                        "({} == {} and {} <= {})",
                        field::ID,
                        quote_literal(id),
                        field::GENERATION,
                        // The parser rejects `i64::MIN`, and no generation is that low.
                        generation.max(&-1)
                    )
                })
                .collect::<Vec<_>>()
                .join(" or ");
            self.delete_where(expression).await?;
        }
        Ok(())
    }

    /// Deletes rows of any generation.
    pub async fn delete_ids(&self, ids: &[String]) -> Result<(), Error> {
        for chunk in ids.chunks(MAX_IDS_PER_REQUEST) {
            self.delete_where(format!("{} in [{}]", field::ID, quote_literals(chunk)))
                .await?;
        }
        Ok(())
    }

    async fn delete_where(&self, expression: String) -> Result<(), Error> {
        self.call_with_retries(MilvusCall::Delete, async |client, collection| {
            let request = DeleteRequest::builder()
                .collection_name(collection)
                .filter(expression.clone())
                // The server first looks up the rows; it must see every earlier upsert.
                .consistency_level(ConsistencyLevel::Strong)
                .build()?;
            client.delete(request).await
        })
        .await?;
        Ok(())
    }
}

/// Returns the newest row of each id, in the order of first appearance.
fn newest_row_per_id(rows: &[IndexRow]) -> Vec<&IndexRow> {
    let mut positions: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
    let mut newest: Vec<&IndexRow> = Vec::with_capacity(rows.len());
    for row in rows {
        match positions.get(row.image.id.as_str()) {
            Some(&place) => {
                if row.image.generation >= newest[place].image.generation {
                    newest[place] = row;
                }
            }
            None => {
                positions.insert(&row.image.id, newest.len());
                newest.push(row);
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::IndexedImage;

    #[test]
    fn the_newest_row_of_an_id_is_kept() {
        let row = |id: &str, generation| IndexRow {
            image: IndexedImage {
                id: id.into(),
                generation,
                ..IndexedImage::default()
            },
            vector: vec![],
        };
        let rows = [row("a", 2), row("b", 1), row("a", 1), row("b", 3)];
        let kept: Vec<_> = newest_row_per_id(&rows)
            .iter()
            .map(|r| (r.image.id.as_str(), r.image.generation))
            .collect();
        assert_eq!(kept, [("a", 2), ("b", 3)]);
    }
}
