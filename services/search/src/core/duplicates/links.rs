//! Which contents show the same picture.
//!
//! The candidates of a content are its nearest neighbours whose bands, which the sketches confirm, say that the
//! pictures are the same, turned, or near-duplicates. Two contents are linked if each is a candidate of the
//! other: a search of an approximate index and a limited list may find only one direction.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_index::{IndexHit, IndexRow, RowFilter, SearchQuery};
use lookalike_vision::{Band, Bands};

use crate::core::hit_bands::{BandedHits, MIN_COMPARED_HITS, QueryPicture};
use crate::core::service::SearchService;
use crate::core::visible::index::VisibleIndex;
use crate::problem::Problem;

/// Searches in progress at once. The index sends several of them in one request.
const MAX_CONCURRENT_SEARCHES: usize = 32;
/// Hits of the first search. Most pictures have no near-duplicates.
const FIRST_HITS: usize = 16;
/// Hits of the largest search.
const MAX_HITS: usize = SearchQuery::MAX_HITS;
/// Candidates of one content, the nearest ones.
pub(super) const MAX_CANDIDATES: usize = 64;

/// The candidates that one request has found.
pub(super) struct PictureLinks<'a> {
    service: &'a SearchService,
    index: &'a VisibleIndex,
    filter: &'a RowFilter,
    bands: Bands,
    candidates: HashMap<String, Vec<String>>,
}

impl<'a> PictureLinks<'a> {
    pub(super) fn new(
        service: &'a SearchService,
        index: &'a VisibleIndex,
        filter: &'a RowFilter,
        bands: Bands,
    ) -> Self {
        Self {
            service,
            index,
            filter,
            bands,
            candidates: HashMap::new(),
        }
    }

    /// Finds the candidates of these contents, unless they are known.
    pub(super) async fn find_candidates(&mut self, hashes: &[String]) -> Result<(), Problem> {
        let mut unknown: Vec<String> = hashes
            .iter()
            .filter(|hash| !self.candidates.contains_key(*hash))
            .cloned()
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = self.index.find_rows_by_content(&unknown).await?;
        let searches = rows.into_values().map(|row| self.search_neighbours(row));
        let found: Vec<(IndexRow, Vec<IndexHit>)> = stream::iter(searches)
            .buffer_unordered(MAX_CONCURRENT_SEARCHES)
            .try_collect()
            .await?;
        let bands = self.bands;
        let compare = move || {
            let confirmed = found.into_iter().map(|(row, hits)| {
                let candidates = confirm_candidates(&bands, &row, hits);
                (row.image.content_hash, candidates)
            });
            confirmed.collect::<Vec<_>>()
        };
        let confirmed = self.service.search_decodes.run_decode(compare).await?;
        self.candidates.extend(confirmed);
        // A content whose last image was removed meanwhile has none.
        for hash in unknown {
            self.candidates.entry(hash).or_default();
        }
        Ok(())
    }

    /// Returns the candidates of a content; none if they were not looked for.
    pub(super) fn candidates(&self, hash: &str) -> &[String] {
        self.candidates.get(hash).map_or(&[], Vec::as_slice)
    }

    /// Returns whether two contents, whose candidates were looked for, are linked.
    pub(super) fn are_linked(&self, hash: &str, other: &str) -> bool {
        let has = |from: &str, to: &str| self.candidates(from).iter().any(|hash| hash == to);
        has(hash, other) && has(other, hash)
    }

    /// Returns the nearest images of other contents, best first. More are requested while all of them may
    /// show the same picture.
    async fn search_neighbours(&self, row: IndexRow) -> Result<(IndexRow, Vec<IndexHit>), Problem> {
        let hash = &row.image.content_hash;
        let mut conditions = SearchQuery {
            limit: FIRST_HITS,
            filter: self.filter.clone(),
            min_score: Some(self.bands.very_similar),
            ..SearchQuery::default()
        };
        loop {
            let hits = self
                .index
                .search_by_vector(&row.vector, &conditions)
                .await?;
            let is_full = hits.len() >= conditions.limit;
            let least = hits.last().map_or(-1.0, |hit| hit.score);
            let own = hits.iter().filter(|hit| hit.image.content_hash == *hash);
            if is_full && own.count() * 2 >= hits.len() {
                // Its own copies leave no place for others. Such a search joins no other one.
                let own = RowFilter::ContentHash(vec![hash.clone()]);
                let others = RowFilter::Not(Box::new(own));
                conditions.filter = RowFilter::And(vec![self.filter.clone(), others]);
                conditions.limit = MIN_COMPARED_HITS;
                continue;
            }
            if is_full && conditions.limit < MIN_COMPARED_HITS {
                conditions.limit = MIN_COMPARED_HITS;
                continue;
            }
            if is_full && least >= self.bands.near_duplicate && conditions.limit < MAX_HITS {
                conditions.limit = (conditions.limit * 4).min(MAX_HITS);
                continue;
            }
            return Ok((row, hits));
        }
    }
}

/// Returns the contents of the hits that show the picture of the row, nearest first.
fn confirm_candidates(bands: &Bands, row: &IndexRow, mut hits: Vec<IndexHit>) -> Vec<String> {
    let mut seen = HashSet::from([row.image.content_hash.clone()]);
    hits.retain(|hit| {
        let hash = &hit.image.content_hash;
        !hash.is_empty() && seen.insert(hash.clone())
    });
    let picture = QueryPicture::from_row(&row.image);
    let banded = BandedHits::compare(bands, &picture, hits);
    let confirmed = banded.hits.into_iter().zip(banded.bands);
    confirmed
        .filter(|(_, band)| *band <= Band::NearDuplicate)
        .map(|(hit, _)| hit.image.content_hash)
        .take(MAX_CANDIDATES)
        .collect()
}
