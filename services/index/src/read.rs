//! Searches by vector and looks up rows by id or content.

use std::collections::{HashMap, HashSet};

use milvus::v2::prelude::{
    ConsistencyLevel, FieldData, Ids, QueryRequest, SearchRequest, SearchVectors,
};

use crate::{
    columns::{AnswerColumns, images_from_columns},
    error::Error,
    filter::RowFilter,
    index::Index,
    metrics::MilvusCall,
    row::{IndexHit, IndexRow, IndexedImage, check_vector},
    schema::{IMAGE_FIELDS, field},
    write::MAX_IDS_PER_REQUEST,
};

/// Required freshness of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadConsistency {
    /// The answer may lag behind the last write by the server's time tick (50 to 200 ms), at most
    /// by its graceful time.
    #[default]
    Bounded,
    /// Includes every write answered before, at the cost of waiting for one time tick.
    Strong,
}

impl ReadConsistency {
    pub(crate) fn to_milvus(self) -> ConsistencyLevel {
        match self {
            Self::Bounded => ConsistencyLevel::Bounded,
            Self::Strong => ConsistencyLevel::Strong,
        }
    }
}

/// Parameters of a search besides its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Maximum number of hits, 1 to [`SearchQuery::MAX_HITS`].
    pub limit: usize,
    pub filter: RowFilter,
    pub min_score: Option<f32>,
    pub consistency: ReadConsistency,
}

impl SearchQuery {
    pub const MAX_HITS: usize = 1000;
}

impl Default for SearchQuery {
    fn default() -> Self {
        Self {
            limit: 10,
            filter: RowFilter::All,
            min_score: None,
            consistency: ReadConsistency::Bounded,
        }
    }
}

/// Up to this many hits, the search itself returns the attributes. More hits with long paths could
/// exceed the 4 MiB that a client accepts, so their attributes are fetched in a second request. An
/// answer that is still too large is also repeated in two steps.
const MAX_HITS_PER_ANSWER: usize = 500;

impl Index {
    /// Returns the rows nearest to `vector`, best first. Every image appears once.
    ///
    /// # Errors
    /// [`Error::InvalidVector`]; [`Error::InvalidQuery`] for an invalid limit or filter.
    pub async fn search_by_vector(
        &self,
        vector: &[f32],
        query: &SearchQuery,
    ) -> Result<Vec<IndexHit>, Error> {
        check_vector(vector, self.inner.model.dimension)?;
        if query.limit == 0 || query.limit > SearchQuery::MAX_HITS {
            return Err(Error::InvalidQuery {
                reason: format!(
                    "limit = {} must be 1 to {}",
                    query.limit,
                    SearchQuery::MAX_HITS
                ),
            });
        }
        let filter = query.filter.to_expression()?;
        if query.limit <= MAX_HITS_PER_ANSWER {
            match self.search_once(vector, query, &filter, true).await {
                Err(Error::AnswerTooLarge { .. }) => {}
                hits => return Ok(rank_hits(hits?, query.min_score)),
            }
        }
        let hits = rank_hits(
            self.search_once(vector, query, &filter, false).await?,
            query.min_score,
        );
        let ids: Vec<String> = hits.iter().map(|hit| hit.image.id.clone()).collect();
        let images = self.fetch_images(&ids, query.consistency).await?;
        let mut images: HashMap<String, IndexedImage> =
            images.into_iter().map(|i| (i.id.clone(), i)).collect();
        // A row that was deleted between the two requests is dropped.
        Ok(hits
            .into_iter()
            .filter_map(|hit| {
                Some(IndexHit {
                    image: images.remove(&hit.image.id)?,
                    score: hit.score,
                })
            })
            .collect())
    }

    /// Sends one search; without `attributes` only ids and scores are filled in.
    async fn search_once(
        &self,
        vector: &[f32],
        query: &SearchQuery,
        filter: &str,
        attributes: bool,
    ) -> Result<Vec<IndexHit>, Error> {
        // Milvus refuses a search with fewer candidates than hits.
        let candidates = usize::from(self.inner.settings.search_ef).max(query.limit);
        let answer = self
            .call_with_retries(MilvusCall::Search, async |client, collection| {
                let mut request = SearchRequest::builder()
                    .collection_name(collection)
                    .vector_field(field::VECTOR)
                    .vectors(SearchVectors::Float(vec![vector.to_vec()]))
                    .limit(query.limit as i64)
                    .extra_params(HashMap::from([("ef".to_owned(), candidates.to_string())]))
                    .consistency_level(query.consistency.to_milvus());
                if !filter.is_empty() {
                    request = request.filter(filter);
                }
                if attributes {
                    // The id comes with every hit.
                    request = request
                        .output_fields(IMAGE_FIELDS.into_iter().filter(|name| *name != field::ID));
                }
                client.search(request.build()?).await
            })
            .await?;
        let Some(result) = answer.results().get_results().first() else {
            return Ok(Vec::new());
        };
        let ids = match result.get_ids() {
            Ids::VarChar(ids) => ids.as_slice(),
            other if other.is_empty() => &[],
            _ => {
                return Err(Error::unexpected_answer(
                    MilvusCall::Search,
                    "ids of another type than text",
                ));
            }
        };
        let scores = result.get_scores();
        if scores.len() != ids.len() {
            return Err(Error::unexpected_answer(
                MilvusCall::Search,
                "fewer scores than ids",
            ));
        }
        let images = if attributes {
            AnswerColumns::new(MilvusCall::Search, result.get_output_fields()).read_images(ids)?
        } else {
            ids.iter()
                .map(|id| IndexedImage {
                    id: id.clone(),
                    ..IndexedImage::default()
                })
                .collect()
        };
        Ok(images
            .into_iter()
            .zip(scores)
            .map(|(image, score)| IndexHit {
                image,
                // Rounding may slightly exceed the range of a cosine.
                score: score.clamp(-1.0, 1.0),
            })
            .collect())
    }

    /// Returns the images of these ids in their order; ids without a row are skipped.
    pub async fn fetch_images(
        &self,
        ids: &[String],
        consistency: ReadConsistency,
    ) -> Result<Vec<IndexedImage>, Error> {
        let mut images_by_id: HashMap<String, IndexedImage> = HashMap::with_capacity(ids.len());
        let mut chunk_ids = MAX_IDS_PER_REQUEST;
        let mut rest = ids;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(chunk_ids));
            let filter = RowFilter::Id(chunk.to_vec()).to_expression()?;
            // Twice the number, because a server fault can leave stale rows under one id.
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &IMAGE_FIELDS,
                    chunk.len() * 2,
                    consistency,
                )
                .await;
            match columns {
                Err(Error::AnswerTooLarge { .. }) if chunk.len() > 1 => {
                    chunk_ids = chunk.len() / 2;
                    continue;
                }
                columns => keep_newest(&mut images_by_id, images_from_columns(&columns?)?),
            }
            rest = after;
        }
        Ok(ids
            .iter()
            .filter_map(|id| images_by_id.remove(id))
            .collect())
    }

    /// Returns the vector of one image, or `None` if the index has no such image.
    pub async fn fetch_vector(
        &self,
        id: &str,
        consistency: ReadConsistency,
    ) -> Result<Option<Vec<f32>>, Error> {
        let filter = RowFilter::Id(vec![id.to_owned()]).to_expression()?;
        let columns = self
            .query_columns(
                MilvusCall::Query,
                &filter,
                &[field::ID, field::VECTOR],
                1,
                consistency,
            )
            .await?;
        if columns.iter().all(FieldData::is_empty) {
            return Ok(None);
        }
        let columns = AnswerColumns::new(MilvusCall::Query, &columns);
        Ok(columns.vector_column(field::VECTOR)?.first().cloned())
    }

    /// Returns one row with its vector for each content hash that the index contains. Reads with
    /// bounded consistency, because a miss only costs one embedding.
    pub async fn find_rows_by_content(
        &self,
        hashes: &[String],
    ) -> Result<HashMap<String, IndexRow>, Error> {
        let distinct: HashSet<&String> = hashes.iter().filter(|h| !h.is_empty()).collect();
        let distinct: Vec<String> = distinct.into_iter().cloned().collect();
        // Rows that fit into 3 MiB with attributes of ordinary length.
        let mut max_rows = (3 << 20) / (self.inner.model.dimension * 4 + 2048);
        max_rows = max_rows.clamp(1, 1000);
        let mut rows_by_hash: HashMap<String, IndexRow> = HashMap::new();
        let mut rest = distinct.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(max_rows));
            match self
                .find_content_chunk(chunk, max_rows, &mut rows_by_hash)
                .await
            {
                Err(Error::AnswerTooLarge { .. }) if max_rows > 1 => max_rows /= 2,
                done => {
                    done?;
                    rest = after;
                }
            }
        }
        Ok(rows_by_hash)
    }

    async fn find_content_chunk(
        &self,
        hashes: &[String],
        most: usize,
        known: &mut HashMap<String, IndexRow>,
    ) -> Result<(), Error> {
        let fields: Vec<&str> = IMAGE_FIELDS.into_iter().chain([field::VECTOR]).collect();
        loop {
            let missing: Vec<String> = hashes
                .iter()
                .filter(|hash| !known.contains_key(*hash))
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            let filter = RowFilter::ContentHash(missing).to_expression()?;
            let columns = self
                .query_columns(
                    MilvusCall::Query,
                    &filter,
                    &fields,
                    most,
                    ReadConsistency::Bounded,
                )
                .await?;
            let images = images_from_columns(&columns)?;
            let page_is_full = images.len() >= most;
            if !images.is_empty() {
                let columns = AnswerColumns::new(MilvusCall::Query, &columns);
                let vectors = columns.vector_column(field::VECTOR)?;
                if vectors.len() != images.len() {
                    return Err(Error::unexpected_answer(
                        MilvusCall::Query,
                        "fewer vectors than rows",
                    ));
                }
                for (image, vector) in images.into_iter().zip(vectors) {
                    known
                        .entry(image.content_hash.clone())
                        .or_insert_with(|| IndexRow {
                            image,
                            vector: vector.clone(),
                        });
                }
            }
            // Many copies of one content can fill an answer and displace the others. Each full
            // answer resolves at least one content, so the rest is requested again.
            if !page_is_full {
                return Ok(());
            }
        }
    }

    /// Checks with a trial search that searches are answered now.
    pub async fn check_ready(&self) -> Result<(), Error> {
        let mut vector = vec![0.0; self.inner.model.dimension];
        vector[0] = 1.0;
        let query = SearchQuery {
            limit: 1,
            ..SearchQuery::default()
        };
        self.search_once(&vector, &query, "", false).await?;
        Ok(())
    }

    /// Queries the columns of at most `limit` rows.
    pub(crate) async fn query_columns(
        &self,
        call: MilvusCall,
        filter: &str,
        fields: &[&str],
        limit: usize,
        consistency: ReadConsistency,
    ) -> Result<Vec<FieldData>, Error> {
        let answer = self
            .call_with_retries(call, async |client, collection| {
                let request = QueryRequest::builder()
                    .collection_name(collection)
                    .filter(filter)
                    .output_fields(fields.iter().copied())
                    .limit(limit as i64)
                    .consistency_level(consistency.to_milvus())
                    .build()?;
                client.query(request).await
            })
            .await?;
        Ok(answer.results().get_output_fields().to_vec())
    }
}

fn keep_newest(images_by_id: &mut HashMap<String, IndexedImage>, images: Vec<IndexedImage>) {
    for image in images {
        match images_by_id.get(&image.id) {
            Some(kept) if kept.generation > image.generation => {}
            _ => {
                images_by_id.insert(image.id.clone(), image);
            }
        }
    }
}

/// Sorts hits best first, keeps each image once, and drops scores below `min_score`.
fn rank_hits(mut hits: Vec<IndexHit>, min_score: Option<f32>) -> Vec<IndexHit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut seen = HashSet::new();
    hits.retain(|hit| {
        min_score.is_none_or(|least| hit.score >= least) && seen.insert(hit.image.id.clone())
    });
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_sorted_unique_and_good_enough() {
        let hit = |id: &str, score| IndexHit {
            image: IndexedImage {
                id: id.into(),
                ..IndexedImage::default()
            },
            score,
        };
        let hits = vec![hit("a", 0.5), hit("b", 0.9), hit("a", 0.7), hit("c", 0.1)];
        let kept: Vec<_> = rank_hits(hits, Some(0.2))
            .into_iter()
            .map(|h| (h.image.id, h.score))
            .collect();
        assert_eq!(kept, [("b".to_owned(), 0.9), ("a".to_owned(), 0.7)]);
    }
}
