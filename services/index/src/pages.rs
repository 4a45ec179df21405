//! Reading many rows: lists, audits, counts.
//!
//! Pages go by primary key (`id > last`), sorted by it. Offsets end at 16,384, and the SDK's
//! iterator silently drops rows after upserts. A page may be short without being the last one
//! (the server leaves out doubled rows after it has counted them), so only an empty page ends.

use milvus::v2::prelude::FieldData;

use crate::{
    Consistency, Error, Filter, Image, Index,
    filter::literal,
    metrics::Call,
    read::images,
    row::Columns,
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
const IDS_IN_ONE_PAGE: usize = 16_000;

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
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Vec<Image>, Error> {
        let condition = filter.render()?;
        let mut listed: Vec<Image> = Vec::new();
        let mut last = after.unwrap_or_default().to_owned();
        while listed.len() < limit {
            let page = self
                .page(
                    Call::Query,
                    &condition,
                    &IMAGE_FIELDS,
                    &last,
                    (limit - listed.len()).min(self.inner.settings.page_rows),
                    consistency,
                )
                .await?;
            let mut page = images(&page)?;
            newest_by_id(&mut page, |i| (&i.id, i.generation));
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
        filter: &Filter,
        after: Option<&str>,
    ) -> Result<Vec<RowKey>, Error> {
        let page = self
            .page(
                Call::Query,
                &filter.render()?,
                &KEY_FIELDS,
                after.unwrap_or_default(),
                self.inner.settings.page_rows,
                Consistency::Strong,
            )
            .await?;
        let mut keys = keys(&page)?;
        newest_by_id(&mut keys, |k| (&k.id, k.generation));
        Ok(keys)
    }

    /// How many images pass the filter: distinct ids, counted one by one, every write answered
    /// before included. A million take some seconds.
    ///
    /// # Errors
    /// [`Error::InvalidQuery`]; else as the server says.
    pub async fn count(&self, filter: &Filter) -> Result<u64, Error> {
        let condition = filter.render()?;
        let (mut count, mut last) = (0, String::new());
        loop {
            let page = self
                .page(
                    Call::Count,
                    &condition,
                    &[field::ID],
                    &last,
                    IDS_IN_ONE_PAGE,
                    Consistency::Strong,
                )
                .await?;
            if page.iter().all(FieldData::is_empty) {
                return Ok(count);
            }
            let columns = Columns::new(Call::Count, &page);
            let mut ids = columns.texts(field::ID)?.to_vec();
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
    pub async fn approximate_count(&self, filter: &Filter) -> Result<u64, Error> {
        self.count_rows(&filter.render()?, Consistency::Bounded)
            .await
    }

    /// One page of at most `most` rows, not empty unless nothing is left: an answer that is too
    /// large is asked for in halves.
    async fn page(
        &self,
        call: Call,
        condition: &str,
        fields: &[&str],
        after: &str,
        most: usize,
        consistency: Consistency,
    ) -> Result<Vec<FieldData>, Error> {
        let mut expression = format!("{} > {}", field::ID, literal(after));
        if !condition.is_empty() {
            expression = format!("{expression} and ({condition})");
        }
        let mut most = most.max(1);
        loop {
            let page = self
                .query(call, &expression, fields, most, consistency)
                .await;
            match page {
                Err(Error::TooLarge { .. }) if most > 1 => most /= 2,
                page => return page,
            }
        }
    }
}

pub(crate) fn keys(page: &[FieldData]) -> Result<Vec<RowKey>, Error> {
    if page.iter().all(FieldData::is_empty) {
        return Ok(Vec::new());
    }
    let columns = Columns::new(Call::Query, page);
    let ids = columns.texts(field::ID)?;
    let (libraries, paths, hashes, generations) = (
        columns.texts(field::LIBRARY)?,
        columns.texts(field::PATH)?,
        columns.texts(field::CONTENT_HASH)?,
        columns.numbers(field::GENERATION)?,
    );
    let lengths = [
        libraries.len(),
        paths.len(),
        hashes.len(),
        generations.len(),
    ];
    if lengths.iter().any(|length| *length != ids.len()) {
        return Err(Error::answer(Call::Query, "columns of different lengths"));
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
fn newest_by_id<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> (&String, i64)) {
    rows.sort_by(|a, b| {
        let ((a, a_generation), (b, b_generation)) = (key(a), key(b));
        a.cmp(b).then(b_generation.cmp(&a_generation))
    });
    rows.dedup_by(|later, earlier| key(later).0 == key(earlier).0);
}
