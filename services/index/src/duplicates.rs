//! Finds ids with several rows.
//!
//! After a kill Milvus may restore rows that an upsert had replaced; an id then has two rows or
//! more. A query hides that: it returns one row of each id, and not always the newest. Only
//! `count(*)` counts all of them. This module counts ids in ranges and halves every range that has
//! more rows than ids, until the duplicates are found. Normally one count covers thousands of rows.

use milvus::v2::prelude::QueryRequest;

use crate::{
    columns::AnswerColumns,
    consistency::ReadConsistency,
    error::Error,
    filter::{RowFilter, quote_literal},
    index::Index,
    metrics::MilvusCall,
    schema::field,
};

/// Up to this many ids are counted by name, which uses the server's index. More are counted by
/// their range, for which the server scans all rows.
const MAX_IDS_COUNTED_BY_NAME: usize = 256;

impl Index {
    /// Returns the ids that have several rows, sorted.
    ///
    /// `ids` must be sorted and unique, and each id must have a row, because a missing row hides a
    /// duplicate of another id. Pass the ids that a [`RowReader`](crate::RowReader) just returned:
    /// they are contiguous, so that one count normally suffices.
    pub async fn find_duplicate_ids(&self, ids: &[String]) -> Result<Vec<String>, Error> {
        debug_assert!(ids.is_sorted_by(|a, b| a < b), "ids are sorted and unique");
        let mut duplicates = Vec::new();
        let mut unclear = vec![(ids, ReadConsistency::Strong)];
        // The left half is pushed last, so that the result is sorted.
        while let Some((ids, consistency)) = unclear.pop() {
            if ids.is_empty() || self.count_rows_of_ids(ids, consistency).await? <= ids.len() as u64
            {
                continue;
            }
            match ids {
                [id] => duplicates.push(id.clone()),
                ids => {
                    // The first, strong count already waited for all earlier writes.
                    let (left, right) = ids.split_at(ids.len() / 2);
                    unclear.extend([
                        (right, ReadConsistency::Bounded),
                        (left, ReadConsistency::Bounded),
                    ]);
                }
            }
        }
        Ok(duplicates)
    }

    async fn count_rows_of_ids(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<u64, Error> {
        let condition = match ids {
            [first, .., last] if ids.len() > MAX_IDS_COUNTED_BY_NAME => format!(
                "{id} >= {} and {id} <= {}",
                quote_literal(first),
                quote_literal(last),
                id = field::ID
            ),
            ids => RowFilter::Id(ids.to_vec()).to_expression()?,
        };
        self.count_rows(&condition, consistency).await
    }

    /// Counts rows, including every duplicate.
    pub(crate) async fn count_rows(
        &self,
        condition: &str,
        consistency: ReadConsistency,
    ) -> Result<u64, Error> {
        const COUNT: &str = "count(*)";
        let answer = self
            .call_with_retries(MilvusCall::Count, async |client, collection| {
                let request = QueryRequest::builder()
                    .collection_name(collection)
                    .filter(condition)
                    .output_fields([COUNT])
                    .consistency_level(consistency.to_milvus())
                    .build()?;
                client.query(request).await
            })
            .await?;
        let columns = answer.results().get_output_fields();
        let count = AnswerColumns::new(MilvusCall::Count, columns)
            .number_column(COUNT)?
            .first()
            .copied();
        u64::try_from(count.unwrap_or(0))
            .map_err(|_| Error::unexpected_answer(MilvusCall::Count, "a count below zero"))
    }
}
