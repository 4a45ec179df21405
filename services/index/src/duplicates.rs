//! Reading for the audit: every row's key, and which ids have more than one row.
//!
//! After a kill Milvus may bring rows back that an upsert had replaced, and an id then has two
//! rows or more. A query hides that: it shows one row of each id, and not always the newest.
//! Only `count(*)` tells, so ids are counted, and a range that has more rows than ids is halved
//! until the doubled ones are found. In peace that is one count for thousands of rows.

use milvus::v2::prelude::{FieldData, QueryRequest};

use crate::{
    Error, Index, ReadConsistency, RowFilter, RowKey,
    filter::quote_literal,
    metrics::MilvusCall,
    list::{KEY_FIELDS, keys_from_columns},
    row::AnswerColumns,
    schema::field,
    write::MAX_IDS_PER_REQUEST,
};

/// Up to so many ids are counted by name, which the server looks up; more by their range, for
/// which it passes over all its rows.
const MAX_IDS_COUNTED_BY_NAME: usize = 256;

/// Reads the keys of all rows that pass a filter, by id, a page at a time.
pub struct RowReader {
    index: Index,
    condition: String,
    after: String,
    page_rows: usize,
}

impl RowReader {
    /// The next page, seeing every write answered before; empty at the end. A row appears as
    /// often as the server shows it.
    ///
    /// # Errors
    /// As the server says; the same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Vec<RowKey>, Error> {
        let mut expression = format!("{} > {}", field::ID, quote_literal(&self.after));
        if !self.condition.is_empty() {
            expression = format!("{expression} and ({})", self.condition);
        }
        loop {
            let read = self
                .index
                .query_columns(
                    MilvusCall::Query,
                    &expression,
                    &KEY_FIELDS,
                    self.page_rows,
                    ReadConsistency::Strong,
                )
                .await;
            let page = match read {
                // Paths of this index are long: the next pages are as small from the start.
                Err(Error::AnswerTooLarge { .. }) if self.page_rows > 1 => {
                    self.page_rows /= 2;
                    continue;
                }
                page => sorted_keys(&page?)?,
            };
            if let Some(last) = page.last() {
                self.after.clone_from(&last.id);
            }
            return Ok(page);
        }
    }
}

impl Index {
    /// Reads the keys of all rows that pass the filter, `page_rows` at a time (16,000 at most).
    ///
    /// # Errors
    /// [`Error::InvalidQuery`].
    pub fn row_reader(&self, filter: &RowFilter, page_rows: usize) -> Result<RowReader, Error> {
        Ok(RowReader {
            index: self.clone(),
            condition: filter.to_expression()?,
            after: String::new(),
            page_rows: page_rows.clamp(1, 16_000),
        })
    }

    /// The keys of these ids' rows, by id, in whatever library they are, seeing every write
    /// answered before.
    ///
    /// # Errors
    /// As the server says.
    pub async fn fetch_keys(&self, ids: &[String]) -> Result<Vec<RowKey>, Error> {
        let (mut keys, mut rest, mut chunk_ids) = (Vec::new(), ids, MAX_IDS_PER_REQUEST);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            // Servers that show all rows of an id must have room for them.
            let limit = chunk.len() * 4;
            let read = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &KEY_FIELDS,
                    limit,
                    ReadConsistency::Strong,
                )
                .await;
            match read {
                Err(Error::AnswerTooLarge { .. }) if chunk_ids > 1 => {
                    chunk_ids = (chunk.len() / 2).max(1)
                }
                read => {
                    keys.extend(keys_from_columns(&read?)?);
                    rest = after;
                }
            }
        }
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(keys)
    }

    /// Which of these ids have several rows. They must be sorted, each there once, and have rows
    /// (one that has none hides another one's second row): ask for what a reader has just read.
    /// Where they are all that lie between the first and the last, one count is enough in peace.
    ///
    /// # Errors
    /// As the server says.
    pub async fn find_duplicate_ids(&self, ids: &[String]) -> Result<Vec<String>, Error> {
        debug_assert!(ids.is_sorted_by(|a, b| a < b), "sorted, each there once");
        let mut duplicates = Vec::new();
        let mut unclear = vec![(ids, ReadConsistency::Strong)];
        // The left half comes last onto the stack, so that the answer is sorted.
        while let Some((ids, consistency)) = unclear.pop() {
            if ids.is_empty() || self.count_rows_of_ids(ids, consistency).await? <= ids.len() as u64
            {
                continue;
            }
            match ids {
                [id] => duplicates.push(id.clone()),
                ids => {
                    // The server is as far as the first count by now, and needs no more waiting.
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

    /// How many rows the server counts, doubled ones as often as they are there.
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

fn sorted_keys(page: &[FieldData]) -> Result<Vec<RowKey>, Error> {
    let mut keys = keys_from_columns(page)?;
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(keys)
}
