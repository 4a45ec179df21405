//! Lists images and counts rows.
//!
//! Pages go by primary key (`id > last`) and are sorted by it. Offsets end at 16,384, and the SDK's
//! iterator silently drops rows after upserts. The server removes duplicate rows from a page after
//! counting them, so a page may be short without being the last one; only an empty page ends a
//! list.

use milvus::v2::prelude::FieldData;

use crate::{
    columns::images_from_columns,
    consistency::ReadConsistency,
    error::Error,
    filter::{RowFilter, quote_literal},
    index::Index,
    metrics::MilvusCall,
    row::IndexedImage,
    schema::{IMAGE_FIELDS, field},
};

impl Index {
    /// Returns up to `limit` images that pass the filter, by id, starting after `after`. Fewer than
    /// `limit` images: this is the last page.
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

    /// Counts the rows that pass the filter in one cheap request. The count lags slightly behind
    /// writes, and stays too high after a server fault that restored stale rows.
    pub async fn approximate_count(&self, filter: &RowFilter) -> Result<u64, Error> {
        self.count_rows(&filter.to_expression()?, ReadConsistency::Bounded)
            .await
    }

    /// Reads one page of at most `max_rows` rows; empty only at the end. Halves the page while the
    /// answer is too large.
    pub(crate) async fn read_page(
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

/// Sorts by id and keeps the newest row of each id.
fn keep_newest_by_id<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> (&String, i64)) {
    rows.sort_by(|a, b| {
        let ((a, a_generation), (b, b_generation)) = (key(a), key(b));
        a.cmp(b).then(b_generation.cmp(&a_generation))
    });
    rows.dedup_by(|later, earlier| key(later).0 == key(earlier).0);
}
