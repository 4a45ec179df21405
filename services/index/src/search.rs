//! Searches by vector.
//!
//! Searches that arrive at the same time and differ only in their vectors are sent in one request:
//! a request costs Milvus a millisecond of CPU time, and each further vector in it about 0.2 ms.

use std::collections::{HashMap, HashSet};

use milvus::v2::prelude::{Ids, SearchRequest, SearchVectors, SingleResult};
use tokio::sync::{SemaphorePermit, oneshot};

use crate::{
    columns::AnswerColumns,
    consistency::ReadConsistency,
    error::Error,
    filter::RowFilter,
    index::Index,
    metrics::MilvusCall,
    row::{HitFields, IndexHit, IndexedImage, check_vector},
    schema::{IMAGE_FIELDS, field},
    search_batches::{BatchSender, MAX_HITS_PER_ANSWER, SearchShape, WaitingSearch},
};

/// The hits of a search that may be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestHits {
    /// Best first; hits of equal score are ordered by id. Every image appears once.
    pub hits: Vec<IndexHit>,
    /// Whether a search with a higher limit may find more hits. The server may return somewhat fewer
    /// hits than the limit although there are more.
    pub may_have_more: bool,
}

/// Parameters of a search besides its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Maximum number of hits, 1 to [`SearchQuery::MAX_HITS`]; [`Index::find_nearest`] accepts up to
    /// [`SearchQuery::MAX_DEPTH`].
    pub limit: usize,
    pub filter: RowFilter,
    pub min_score: Option<f32>,
    pub consistency: ReadConsistency,
}

impl SearchQuery {
    pub const MAX_HITS: usize = 1000;
    /// Milvus searches for at most this many hits.
    pub const MAX_DEPTH: usize = 16_384;
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

impl Index {
    /// Returns the rows nearest to `vector`, best first. Every image appears once.
    ///
    /// # Errors
    /// [`Error::InvalidVector`]; [`Error::InvalidQuery`] for an invalid limit or filter;
    /// [`Error::Timeout`] after `milvus.search_timeout`.
    pub async fn search_by_vector(
        &self,
        vector: &[f32],
        query: &SearchQuery,
    ) -> Result<Vec<IndexHit>, Error> {
        check_limit(query.limit, SearchQuery::MAX_HITS)?;
        let found = self.find_nearest(vector, query, HitFields::All).await?;
        Ok(found.hits)
    }

    /// Does the same as [`search_by_vector`](Self::search_by_vector) up to a higher limit, fills in only
    /// `fields`, and returns whether there may be more hits.
    ///
    /// # Errors
    /// As [`search_by_vector`](Self::search_by_vector).
    pub async fn find_nearest(
        &self,
        vector: &[f32],
        query: &SearchQuery,
        fields: HitFields,
    ) -> Result<NearestHits, Error> {
        check_vector(vector, self.inner.model.dimension)?;
        check_limit(query.limit, SearchQuery::MAX_DEPTH)?;
        let limit = self.inner.settings.search_timeout;
        let searched = self.search_checked(vector, query, fields);
        let searched = tokio::time::timeout(limit, searched).await;
        // A search whose caller is gone is not sent any more.
        searched.unwrap_or_else(|_| {
            let call = MilvusCall::Search.label();
            Err(Error::Timeout { call, limit })
        })
    }

    async fn search_checked(
        &self,
        vector: &[f32],
        query: &SearchQuery,
        fields: HitFields,
    ) -> Result<NearestHits, Error> {
        let mut shape = SearchShape {
            limit: query.limit,
            filter: query.filter.to_expression()?,
            consistency: query.consistency,
            fields,
        };
        if fields == HitFields::Id || query.limit <= MAX_HITS_PER_ANSWER {
            match self.search_joined(vector, &shape).await {
                Err(Error::AnswerTooLarge { .. }) if fields != HitFields::Id => {}
                hits => return Ok(rank_hits(hits?, query)),
            }
        }
        if fields == HitFields::All {
            shape.fields = HitFields::Id;
        }
        let mut found = rank_hits(self.search_alone(vector, &shape).await?, query);
        if shape.fields != fields {
            let ids: Vec<String> = found.hits.iter().map(|hit| hit.image.id.clone()).collect();
            let images = self.fetch_images(&ids, query.consistency).await?;
            let mut images: HashMap<String, IndexedImage> =
                images.into_iter().map(|i| (i.id.clone(), i)).collect();
            // A row that was deleted between the two requests is dropped.
            found.hits.retain_mut(|hit| {
                let image = images.remove(&hit.image.id);
                image.map(|image| hit.image = image).is_some()
            });
        }
        Ok(found)
    }

    /// Searches together with others of the same shape.
    async fn search_joined(
        &self,
        vector: &[f32],
        shape: &SearchShape,
    ) -> Result<Vec<IndexHit>, Error> {
        let (reply, answer) = oneshot::channel();
        let search = WaitingSearch {
            vector: vector.to_vec(),
            reply,
        };
        let started = BatchSender::push_search(&self.inner.search_batches, shape, search);
        if let Some(sender) = started {
            tokio::spawn(self.clone().send_batches(sender));
        }
        match answer.await {
            Ok(hits) => hits,
            // The batch was refused, perhaps because of another search.
            Err(_) => self.search_alone(vector, shape).await,
        }
    }

    async fn send_batches(self, mut sender: BatchSender) {
        // A batch of the network completes several searches at once. They all arrive meanwhile.
        tokio::task::yield_now().await;
        loop {
            // Searches that arrive while this one waits join the batch.
            let _permit = self.acquire_permit().await;
            let Some(batch) = sender.take_batch() else {
                return;
            };
            let (vectors, replies): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|search| (search.vector, search.reply))
                .unzip();
            match self.search_vectors(vectors, sender.shape()).await {
                Ok(hits) => {
                    for (reply, hits) in replies.into_iter().zip(hits) {
                        let _ = reply.send(Ok(hits));
                    }
                }
                // Without a reply, each search is repeated alone.
                Err(error) if replies.len() > 1 && error.may_concern_one_search() => {}
                // An outage concerns all of them. Repeating each would add to the load.
                Err(error) => {
                    for reply in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn search_alone(
        &self,
        vector: &[f32],
        shape: &SearchShape,
    ) -> Result<Vec<IndexHit>, Error> {
        let _permit = self.acquire_permit().await;
        let mut hits = self.search_vectors(vec![vector.to_vec()], shape).await?;
        Ok(hits.pop().unwrap_or_default())
    }

    /// Waits until a request may be sent to Milvus. The permit ends with the request.
    async fn acquire_permit(&self) -> SemaphorePermit<'_> {
        let permits = &self.inner.search_batches.permits;
        permits
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }

    /// Sends one search of several vectors, and returns the hits of each. Without attributes, only
    /// ids and scores are filled in.
    async fn search_vectors(
        &self,
        vectors: Vec<Vec<f32>>,
        shape: &SearchShape,
    ) -> Result<Vec<Vec<IndexHit>>, Error> {
        // Milvus refuses a search with fewer candidates than hits.
        let candidates = usize::from(self.inner.settings.search_ef).max(shape.limit);
        let answer = self
            .call_with_retries(MilvusCall::Search, async |client, collection| {
                let mut request = SearchRequest::builder()
                    .collection_name(collection)
                    .vector_field(field::VECTOR)
                    .vectors(SearchVectors::Float(vectors.clone()))
                    .limit(shape.limit as i64)
                    .extra_params(HashMap::from([("ef".to_owned(), candidates.to_string())]))
                    .consistency_level(shape.consistency.to_milvus());
                if !shape.filter.is_empty() {
                    request = request.filter(&shape.filter);
                }
                // The id comes with every hit.
                match shape.fields {
                    HitFields::Id => {}
                    HitFields::ContentHash => {
                        request = request.output_fields([field::CONTENT_HASH]);
                    }
                    HitFields::All => {
                        request = request.output_fields(
                            IMAGE_FIELDS.into_iter().filter(|name| *name != field::ID),
                        );
                    }
                }
                client.search(request.build()?).await
            })
            .await?;
        let results = answer.results().get_results();
        // An answer without any hit may lack the results of the vectors.
        if results.is_empty() {
            return Ok(vec![Vec::new(); vectors.len()]);
        }
        if results.len() != vectors.len() {
            return Err(Error::unexpected_answer(
                MilvusCall::Search,
                "results of another number of vectors",
            ));
        }
        results
            .iter()
            .map(|result| read_hits(result, shape.fields))
            .collect()
    }

    /// Checks with a trial search that searches are answered now.
    pub async fn check_ready(&self) -> Result<(), Error> {
        let mut vector = vec![0.0; self.inner.model.dimension];
        vector[0] = 1.0;
        let shape = SearchShape {
            limit: 1,
            filter: String::new(),
            consistency: ReadConsistency::Bounded,
            fields: HitFields::Id,
        };
        // A probe does not wait for searches.
        self.search_vectors(vec![vector], &shape).await?;
        Ok(())
    }
}

fn read_hits(result: &SingleResult, fields: HitFields) -> Result<Vec<IndexHit>, Error> {
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
    let columns = AnswerColumns::new(MilvusCall::Search, result.get_output_fields());
    let images = match fields {
        HitFields::All => columns.read_images(ids)?,
        HitFields::ContentHash => columns.read_content_hashes(ids)?,
        HitFields::Id => ids
            .iter()
            .map(|id| IndexedImage {
                id: id.clone(),
                ..IndexedImage::default()
            })
            .collect(),
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

fn check_limit(limit: usize, max_limit: usize) -> Result<(), Error> {
    match (1..=max_limit).contains(&limit) {
        true => Ok(()),
        false => Err(Error::InvalidQuery {
            reason: format!("limit = {limit} must be 1 to {max_limit}"),
        }),
    }
}

/// Sorts hits best first, keeps each image once, and drops scores below the least one of the query.
fn rank_hits(mut hits: Vec<IndexHit>, query: &SearchQuery) -> NearestHits {
    // The server drops rows of one id after counting, and may find fewer rows in its graph with a filter.
    let is_short = hits.len() < query.limit - query.limit / 4;
    hits.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then_with(|| a.image.id.cmp(&b.image.id))
    });
    let good = hits.partition_point(|hit| query.min_score.is_none_or(|least| hit.score >= least));
    // All further hits would be worse than those that were dropped.
    let may_have_more = !is_short && good == hits.len();
    hits.truncate(good);
    let mut seen = HashSet::new();
    hits.retain(|hit| seen.insert(hit.image.id.clone()));
    NearestHits {
        hits,
        may_have_more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refused_searches_are_repeated_alone() {
        let call = MilvusCall::Search.label();
        let limit = std::time::Duration::from_secs(1);
        let object = "collection".to_owned();
        assert!(!Error::Timeout { call, limit }.may_concern_one_search());
        assert!(!Error::Missing { object }.may_concern_one_search());
        let reason = "for tests".to_owned();
        assert!(Error::InvalidQuery { reason }.may_concern_one_search());
        assert!(Error::unexpected_answer(MilvusCall::Search, "short").may_concern_one_search());
    }

    #[test]
    fn hits_are_sorted_unique_and_good_enough() {
        let hit = |id: &str, score| IndexHit {
            image: IndexedImage {
                id: id.into(),
                ..IndexedImage::default()
            },
            score,
        };
        let hits = vec![
            hit("a", 0.5),
            hit("c", 0.7),
            hit("b", 0.9),
            hit("a", 0.7),
            hit("d", 0.1),
        ];
        let rank = |limit, min_score| {
            let query = SearchQuery {
                limit,
                min_score,
                ..SearchQuery::default()
            };
            let found = rank_hits(hits.clone(), &query);
            let kept: Vec<_> = found
                .hits
                .into_iter()
                .map(|h| (h.image.id, h.score))
                .collect();
            (kept, found.may_have_more)
        };
        let best = [("b", 0.9), ("a", 0.7), ("c", 0.7)].map(|(id, score)| (id.to_owned(), score));
        assert_eq!(rank(5, Some(0.2)), (best.to_vec(), false));
        assert!(rank(5, None).1);
        assert!(rank(6, None).1, "one hit may be a duplicate");
        assert!(!rank(64, None).1);
    }
}
