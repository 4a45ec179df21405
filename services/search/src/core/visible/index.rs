//! The index as a request sees it: rows of other libraries do not exist.
//!
//! Every function fails with the [`Error`] of the same function of [`Index`].

use std::borrow::Cow;
use std::collections::HashMap;

use lookalike_index::{
    ContentKeys, ContentRange, Error, FacetColumn, FacetRow, HitFields, Index, IndexHit, IndexRow,
    IndexedImage, NearestHits, ReadConsistency, RowFilter, SearchQuery,
};

use super::libraries::VisibleLibraries;

/// The rows of the visible libraries. Each function does what the one of [`Index`] with the same name
/// does.
#[derive(Clone)]
pub(crate) struct VisibleIndex {
    index: Index,
    libraries: VisibleLibraries,
}

impl VisibleIndex {
    pub(crate) fn new(index: Index, libraries: VisibleLibraries) -> Self {
        Self { index, libraries }
    }

    /// Returns the filter that a request with this filter has in effect.
    pub(crate) fn limit_filter<'a>(&self, filter: &'a RowFilter) -> Cow<'a, RowFilter> {
        self.libraries.limit_rows(filter)
    }

    fn limit_query<'a>(&self, query: &'a SearchQuery) -> Cow<'a, SearchQuery> {
        match self.limit_filter(&query.filter) {
            Cow::Borrowed(_) => Cow::Borrowed(query),
            Cow::Owned(filter) => Cow::Owned(SearchQuery {
                filter,
                ..query.clone()
            }),
        }
    }

    pub(crate) async fn find_nearest(
        &self,
        vector: &[f32],
        query: &SearchQuery,
        fields: HitFields,
    ) -> Result<NearestHits, Error> {
        let query = self.limit_query(query);
        self.index.find_nearest(vector, &query, fields).await
    }

    pub(crate) async fn search_by_vector(
        &self,
        vector: &[f32],
        query: &SearchQuery,
    ) -> Result<Vec<IndexHit>, Error> {
        let query = self.limit_query(query);
        self.index.search_by_vector(vector, &query).await
    }

    pub(crate) async fn fetch_images(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexedImage>, Error> {
        let mut images = self.index.fetch_images(ids, consistency).await?;
        images.retain(|image| self.libraries.contains(&image.library));
        Ok(images)
    }

    pub(crate) async fn fetch_row(
        &self,
        id: &str,
        consistency: ReadConsistency,
    ) -> Result<Option<IndexRow>, Error> {
        let row = self.index.fetch_row(id, consistency).await?;
        Ok(row.filter(|row| self.libraries.contains(&row.image.library)))
    }

    pub(crate) async fn fetch_rows(
        &self,
        ids: &[String],
        filter: &RowFilter,
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexRow>, Error> {
        let filter = self.limit_filter(filter);
        self.index.fetch_rows(ids, &filter, consistency).await
    }

    pub(crate) async fn fetch_vectors(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<HashMap<String, Vec<f32>>, Error> {
        if !self.libraries.is_limited() {
            return self.index.fetch_vectors(ids, consistency).await;
        }
        let rows = self.fetch_rows(ids, &RowFilter::All, consistency).await?;
        let vectors = rows.into_iter().map(|row| (row.image.id, row.vector));
        Ok(vectors.collect())
    }

    pub(crate) async fn find_rows_by_content(
        &self,
        hashes: &[String],
    ) -> Result<HashMap<String, IndexRow>, Error> {
        let filter = self.limit_filter(&RowFilter::All);
        self.index.find_rows_by_content(hashes, &filter).await
    }

    pub(crate) async fn list_images(
        &self,
        filter: &RowFilter,
        after: Option<&str>,
        limit: usize,
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexedImage>, Error> {
        let filter = self.limit_filter(filter);
        self.index
            .list_images(&filter, after, limit, consistency)
            .await
    }

    pub(crate) async fn approximate_count(&self, filter: &RowFilter) -> Result<u64, Error> {
        let filter = self.limit_filter(filter);
        self.index.approximate_count(&filter).await
    }

    pub(crate) async fn facet_rows(
        &self,
        filter: &RowFilter,
        columns: &[FacetColumn],
        after: Option<&str>,
        max_rows: usize,
    ) -> Result<Vec<FacetRow>, Error> {
        let filter = self.limit_filter(filter);
        self.index
            .facet_rows(&filter, columns, after, max_rows)
            .await
    }

    pub(crate) async fn read_content_keys(
        &self,
        filter: &RowFilter,
        range: &ContentRange,
        max_rows: usize,
    ) -> Result<ContentKeys, Error> {
        let filter = self.limit_filter(filter);
        self.index.read_content_keys(&filter, range, max_rows).await
    }
}
