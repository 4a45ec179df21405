//! Reading many rows: lists, audits, counts.
//!
//! Pages go by primary key (`id > last`), sorted by it. Offsets end at 16,384, and the SDK's
//! iterator silently drops rows after upserts. A page may be short without being the last one
//! (the server leaves out doubled rows after it has counted them), so only an empty page ends.

use milvus::v2::prelude::FieldData;

use crate::{
    Error, Index, IndexedImage, ReadConsistency, RowFilter,
    filter::quote_literal,
    metrics::MilvusCall,
    read::images_from_columns,
    row::AnswerColumns,
    schema::{IMAGE_FIELDS, field},
};

/// What an audit compares of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// The image.
    pub id: String,
    /// Its library.
    pub library: String,
    /// Its path below the library's root.
    pub path: String,
    /// BLAKE3 of its bytes, hexadecimal.
    pub content_hash: String,
    /// Its generation.
    pub generation: i64,
}

/// Ids in one page that asks for nothing else: the most rows that Milvus answers, 600 kB.
const MAX_IDS_PER_PAGE: usize = 16_000;

pub(crate) const KEY_FIELDS: [&str; 5] = [
    field::ID,
    field::LIBRARY,
    field::PATH,
    field::CONTENT_HASH,
    field::GENERATION,
];

impl Index {
    /// Up to `limit` images that pass the filter, by id, from the first one after `after`.
    /// Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`]; else as the server says.
    pub async fn list_images(
        &self,
        filter: &RowFilter,
        after: Option<&str>,
        limit: usize,
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexedImage>, Error> {
        let condition = filter.to_expression()?;
        let mut listed: Vec<IndexedImage> = Vec::new();
        let mut last = after.unwrap_or_default().to_owned();
        while listed.len() < limit {
            let page = self
                .read_page(
                    MilvusCall::Query,
                    &condition,
                    &IMAGE_FIELDS,
                    &last,
                    (limit - listed.len()).min(self.inner.settings.page_rows),
                    consistency,
                )
                .await?;
            let mut page = images_from_columns(&page)?;
            keep_newest_by_id(&mut page, |i| (&i.id, i.generation));
            match page.last() {
                Some(end) => last.clone_from(&end.id),
                None => break,
            }
            listed.append(&mut page);
        }
        Ok(listed)
    }

    /// The next page of keys after `after`, by id, seeing every write answered before; empty at
    /// the end. Bounded memory: at most `milvus.page_rows` rows at a time.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`]; else as the server says.
    pub async fn keys_after(
        &self,
        filter: &RowFilter,
        after: Option<&str>,
    ) -> Result<Vec<RowKey>, Error> {
        let page = self
            .read_page(
                MilvusCall::Query,
                &filter.to_expression()?,
                &KEY_FIELDS,
                after.unwrap_or_default(),
                self.inner.settings.page_rows,
                ReadConsistency::Strong,
            )
            .await?;
        let mut keys = keys_from_columns(&page)?;
        keep_newest_by_id(&mut keys, |k| (&k.id, k.generation));
        Ok(keys)
    }

    /// How many images pass the filter: distinct ids, counted one by one, every write answered
    /// before included. A million take some seconds.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`]; else as the server says.
    pub async fn count(&self, filter: &RowFilter) -> Result<u64, Error> {
        let condition = filter.to_expression()?;
        let (mut count, mut last) = (0, String::new());
        loop {
            let page = self
                .read_page(
                    MilvusCall::Count,
                    &condition,
                    &[field::ID],
                    &last,
                    MAX_IDS_PER_PAGE,
                    ReadConsistency::Strong,
                )
                .await?;
            if page.iter().all(FieldData::is_empty) {
                return Ok(count);
            }
            let columns = AnswerColumns::new(MilvusCall::Count, &page);
            let mut ids = columns.text_column(field::ID)?.to_vec();
            ids.sort_unstable();
            ids.dedup();
            count += ids.len() as u64;
            last = ids.pop().expect("a page that is not empty has a last id");
        }
    }

    /// How many rows pass the filter, as Milvus counts them in one request: cheap, a little
    /// behind, and too high for good after a fault of the server that brought stale rows back.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`]; else as the server says.
    pub async fn approximate_count(&self, filter: &RowFilter) -> Result<u64, Error> {
        self.count_rows(&filter.to_expression()?, ReadConsistency::Bounded)
            .await
    }

    /// One page of at most `max_rows` rows, not empty unless nothing is left: an answer that is too
    /// large is asked for in halves.
    async fn read_page(
        &self,
        call: MilvusCall,
        condition: &str,
        fields: &[&str],
        after: &str,
        most: usize,
        consistency: ReadConsistency,
    ) -> Result<Vec<FieldData>, Error> {
        let mut expression = format!("{} > {}", field::ID, quote_literal(after));
        if !condition.is_empty() {
            expression = format!("{expression} and ({condition})");
        }
        let mut max_rows = most.max(1);
        loop {
            let page = self
                .query_columns(call, &expression, fields, max_rows, consistency)
                .await;
            match page {
                Err(Error::AnswerTooLarge { .. }) if max_rows > 1 => max_rows /= 2,
                page => return page,
            }
        }
    }
}

pub(crate) fn keys_from_columns(page: &[FieldData]) -> Result<Vec<RowKey>, Error> {
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

/// Sorted by id; of rows of one id the newest.
fn keep_newest_by_id<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> (&String, i64)) {
    rows.sort_by(|a, b| {
        let ((a, a_generation), (b, b_generation)) = (key(a), key(b));
        a.cmp(b).then(b_generation.cmp(&a_generation))
    });
    rows.dedup_by(|later, earlier| key(later).0 == key(earlier).0);
}
