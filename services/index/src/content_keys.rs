//! Reads which images have which content, a range of content hashes at a time.
//!
//! Hashes are spread evenly, so a range of them contains a predictable share of all rows, and all images of
//! a content are in the same range. Files of equal content can therefore be found range by range, without
//! remembering what earlier ranges contained. Milvus sorts answers by id only, so a range is read
//! completely and sorted here.

use milvus::v2::prelude::FieldData;

use crate::{
    columns::AnswerColumns,
    consistency::ReadConsistency,
    error::Error,
    filter::{RowFilter, quote_literal},
    index::Index,
    metrics::MilvusCall,
    schema::field,
};

/// Rows of one request to Milvus. Their two columns need less than 1 MiB.
const ROWS_PER_PAGE: usize = 8000;

/// An image and its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentKey {
    /// BLAKE3 of the file's bytes, in hexadecimal.
    pub content_hash: String,
    /// The image's id, 32 hexadecimal digits.
    pub id: String,
}

/// Content hashes between two texts, both excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// A content hash or the start of one; empty for the first range.
    pub after: String,
    /// `None` for the last range.
    pub before: Option<String>,
}

impl ContentRange {
    fn to_expression(&self) -> String {
        let hash = field::CONTENT_HASH;
        let after = format!("{hash} > {}", quote_literal(&self.after));
        match &self.before {
            Some(before) => format!("{after} and {hash} < {}", quote_literal(before)),
            None => after,
        }
    }
}

/// Images of a range, sorted by content hash and then by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentKeys {
    pub keys: Vec<ContentKey>,
    /// Whether these are all images of the range. Otherwise they are those with the smallest ids.
    pub is_complete: bool,
}

impl Index {
    /// Returns the images that pass the filter and whose content is in the range, at most `max_rows`.
    /// The read may miss the writes of the last few seconds.
    pub async fn read_content_keys(
        &self,
        filter: &RowFilter,
        range: &ContentRange,
        max_rows: usize,
    ) -> Result<ContentKeys, Error> {
        let mut condition = range.to_expression();
        let filter = filter.to_expression()?;
        if !filter.is_empty() {
            condition = format!("{condition} and ({filter})");
        }
        let mut keys = Vec::new();
        let mut last = String::new();
        let is_complete = loop {
            let free = max_rows.saturating_sub(keys.len());
            if free == 0 {
                break false;
            }
            let page = self
                .read_page(
                    MilvusCall::Query,
                    &condition,
                    &[field::ID, field::CONTENT_HASH],
                    &last,
                    free.min(ROWS_PER_PAGE),
                    ReadConsistency::Bounded,
                )
                .await?;
            let page = read_keys(&page)?;
            match page.iter().map(|key| &key.id).max() {
                Some(id) => last.clone_from(id),
                None => break true,
            }
            keys.extend(page);
        };
        keys.sort_unstable();
        // A server fault can leave several rows of one id.
        keys.dedup();
        Ok(ContentKeys { keys, is_complete })
    }
}

fn read_keys(page: &[FieldData]) -> Result<Vec<ContentKey>, Error> {
    if page.iter().all(FieldData::is_empty) {
        return Ok(Vec::new());
    }
    let columns = AnswerColumns::new(MilvusCall::Query, page);
    let ids = columns.text_column(field::ID)?;
    let hashes = columns.text_column(field::CONTENT_HASH)?;
    if ids.len() != hashes.len() {
        return Err(Error::unexpected_answer(
            MilvusCall::Query,
            "columns of different lengths",
        ));
    }
    let keys = ids.iter().zip(hashes).map(|(id, content_hash)| ContentKey {
        content_hash: content_hash.clone(),
        id: id.clone(),
    });
    Ok(keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_or_closed_at_their_end() {
        let range = |after: &str, before: Option<&str>| {
            let range = ContentRange {
                after: after.into(),
                before: before.map(Into::into),
            };
            range.to_expression()
        };
        assert_eq!(range("", None), "content_hash > \"\"");
        assert_eq!(
            range("0a", Some("10")),
            "content_hash > \"0a\" and content_hash < \"10\""
        );
    }
}
