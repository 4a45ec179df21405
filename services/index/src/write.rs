//! Writing: upserts, deletes, flush. All of them may be done twice with the same result.

use std::collections::HashMap;

use milvus::v2::prelude::{
    ConsistencyLevel, DeleteRequest, FlushRequest, InsertRequest, UpsertRequest,
};

use crate::{
    Error, Index, IndexRow,
    filter::{quote_literal, quote_literals},
    metrics::MilvusCall,
    row::{check_vector, to_columns},
    schema::field,
};

/// Conditions in one delete by generation: the server parses each of them.
const MAX_CONDITIONS_PER_DELETE: usize = 64;
/// Ids in one delete or one look-up.
pub(crate) const MAX_IDS_PER_REQUEST: usize = 1000;

impl Index {
    /// Writes rows; a row that exists is replaced whole, also when its library changed. Of several
    /// rows of one id the one of the highest generation counts (Milvus would store them all).
    ///
    /// More than `milvus.upsert_rows` go in several requests; after an error the first ones may
    /// have been written, and after a timeout all of them: do it again, or ask.
    ///
    /// # Errors
    /// [`Error::InvalidRow`] or [`Error::InvalidVector`] before anything is written; else as the
    /// server says.
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
                    format!("{} rows not taken", answer.failed_indices().len()),
                ));
            }
        }
        Ok(())
    }

    /// Removes each image's row unless it is of a newer generation than the one given with it.
    /// What is not there is removed already.
    ///
    /// # Errors
    /// As the server says.
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
                        // The parser takes no `i64::MIN`, and no generation is that low.
                        generation.max(&-1)
                    )
                })
                .collect::<Vec<_>>()
                .join(" or ");
            self.delete_where(expression).await?;
        }
        Ok(())
    }

    /// Removes rows whatever their generation.
    ///
    /// # Errors
    /// As the server says.
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
                // The server first looks the rows up: it must see every upsert before this.
                .consistency_level(ConsistencyLevel::Strong)
                .build()?;
            client.delete(request).await
        })
        .await?;
        Ok(())
    }

    /// Seals what was written and brings it to the server's storage; some seconds. Rows are safe
    /// in the server's log without it: this is for leaving in order.
    ///
    /// # Errors
    /// As the server says; [`Error::Timeout`] after `milvus.admin_timeout`.
    pub async fn flush(&self) -> Result<(), Error> {
        let limit = self.inner.settings.admin_timeout;
        let collection = self.collection().to_string();
        let target = format!("collection {collection:?}");
        self.inner
            .connection
            .send_once(MilvusCall::Flush, limit, &target, async |client| {
                let request = FlushRequest::builder()
                    .collection_names([collection.as_str()])
                    .wait_flushed_ms(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
                    .build()?;
                client.flush(request).await
            })
            .await?;
        Ok(())
    }
}

/// One row for each id, in the order of first appearance.
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
    use crate::IndexedImage;

    #[test]
    fn the_newest_row_of_an_id_counts() {
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
