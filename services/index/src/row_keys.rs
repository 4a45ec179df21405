//! Reads row keys: the fields of a row that identify a file state, for audits.

use milvus::v2::prelude::FieldData;

use crate::{
    columns::AnswerColumns,
    consistency::ReadConsistency,
    error::Error,
    filter::{RowFilter, quote_literal},
    index::Index,
    metrics::MilvusCall,
    schema::field,
    write::MAX_IDS_PER_REQUEST,
};

/// The fields of a row that an audit compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The image's id, 32 hexadecimal digits.
    pub id: String,
    pub library: String,
    /// Relative to the library's root.
    pub path: String,
    /// BLAKE3 of the file's bytes, in hexadecimal.
    pub content_hash: String,
    pub generation: i64,
}

const KEY_FIELDS: [&str; 5] = [
    field::ID,
    field::LIBRARY,
    field::PATH,
    field::CONTENT_HASH,
    field::GENERATION,
];

/// Reads the keys of all rows that pass a filter in the order of ids, a page at a time.
pub struct RowReader {
    index: Index,
    condition: String,
    after: String,
    page_rows: usize,
}

impl RowReader {
    /// Reads the next page with strong consistency; empty at the end. A row appears as often as
    /// the server returns it. After an error the same page can be read again.
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
                // The paths are long, so further pages keep the smaller size.
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
    /// Creates a reader of the keys of all rows that pass the filter, with up to `page_rows` rows
    /// (at most 16,000) in a page.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`] for an invalid filter.
    pub fn row_reader(&self, filter: &RowFilter, page_rows: usize) -> Result<RowReader, Error> {
        Ok(RowReader {
            index: self.clone(),
            condition: filter.to_expression()?,
            after: String::new(),
            page_rows: page_rows.clamp(1, 16_000),
        })
    }

    /// Returns the keys of these ids' rows in the order of ids, with strong consistency. The rows may
    /// be in any library.
    pub async fn fetch_keys(&self, ids: &[String]) -> Result<Vec<RowKey>, Error> {
        let (mut keys, mut rest, mut chunk_ids) = (Vec::new(), ids, MAX_IDS_PER_REQUEST);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            // Leaves room for servers that return all rows of an id.
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
}

fn keys_from_columns(page: &[FieldData]) -> Result<Vec<RowKey>, Error> {
    if page.iter().all(FieldData::is_empty) {
        return Ok(Vec::new());
    }
    let columns = AnswerColumns::new(MilvusCall::Query, page);
    let ids = columns.text_column(field::ID)?;
    let (libraries, paths, hashes, generations) = (
        columns.text_column(field::LIBRARY)?,
        columns.text_column(field::PATH)?,
        columns.text_column(field::CONTENT_HASH)?,
        columns.number_column(field::GENERATION)?,
    );
    let lengths = [
        libraries.len(),
        paths.len(),
        hashes.len(),
        generations.len(),
    ];
    if lengths.iter().any(|length| *length != ids.len()) {
        return Err(Error::unexpected_answer(
            MilvusCall::Query,
            "columns of different lengths",
        ));
    }
    Ok((0..ids.len())
        .map(|i| RowKey {
            id: ids[i].clone(),
            library: libraries[i].clone(),
            path: paths[i].clone(),
            content_hash: hashes[i].clone(),
            generation: generations[i],
        })
        .collect())
}

fn sorted_keys(page: &[FieldData]) -> Result<Vec<RowKey>, Error> {
    let mut keys = keys_from_columns(page)?;
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(keys)
}
