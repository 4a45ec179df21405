//! Searching by vector, and looking up single rows.

use std::collections::{HashMap, HashSet};

use milvus::v2::prelude::{
    ConsistencyLevel, FieldData, Ids, QueryRequest, SearchRequest, SearchVectors,
};

use crate::{
    Error, Filter, Hit, Image, Index, Row,
    metrics::Call,
    row::{Columns, check_vector},
    schema::{IMAGE_FIELDS, field},
    write::IDS_IN_ONE_REQUEST,
};

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// What the server has at hand: behind the last write by its tick (50 to 200 ms), and at most
    /// by its graceful time.
    #[default]
    Bounded,
    /// Every write that was answered before, for a tick of waiting.
    Strong,
}

impl Consistency {
    pub(crate) fn level(self) -> ConsistencyLevel {
        match self {
            Self::Bounded => ConsistencyLevel::Bounded,
            Self::Strong => ConsistencyLevel::Strong,
        }
    }
}

/// What a search asks for besides its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Hits at most, 1 to [`SearchQuery::MOST_HITS`].
    pub limit: usize,
    /// Only among these rows.
    pub filter: Filter,
    /// Only hits of at least this score.
    pub min_score: Option<f32>,
    /// How fresh.
    pub consistency: Consistency,
}

impl SearchQuery {
    /// Hits of one search at most.
    pub const MOST_HITS: usize = 1000;
}

impl Default for SearchQuery {
    fn default() -> Self {
        Self {
            limit: 10,
            filter: Filter::All,
            min_score: None,
            consistency: Consistency::Bounded,
        }
    }
}

/// Hits whose attributes come with the search itself. More than these could exceed the 4 MiB that
/// a client takes when their paths are long; the limit is only where a second request becomes
/// likely, and an answer that is too large is asked for again in two steps whatever its length.
const HITS_IN_ONE_ANSWER: usize = 500;

impl Index {
    /// The rows nearest to `vector`, best first. Every image appears once.
    ///
    /// # Errors
    /// [`Error::InvalidVector`]; [`Error::InvalidQuery`] for a limit or filter that can't be; else
    /// as the server says.
    pub async fn search(&self, vector: &[f32], query: &SearchQuery) -> Result<Vec<Hit>, Error> {
        check_vector(vector, self.inner.model.dimension)?;
        if query.limit == 0 || query.limit > SearchQuery::MOST_HITS {
            return Err(Error::InvalidQuery {
                reason: format!(
                    "limit = {} must be 1 to {}",
                    query.limit,
                    SearchQuery::MOST_HITS
                ),
            });
        }
        let filter = query.filter.render()?;
        if query.limit <= HITS_IN_ONE_ANSWER {
            match self.nearest(vector, query, &filter, true).await {
                Err(Error::TooLarge { .. }) => {}
                hits => return Ok(best(hits?, query.min_score)),
            }
        }
        let hits = best(
            self.nearest(vector, query, &filter, false).await?,
            query.min_score,
        );
        let ids: Vec<String> = hits.iter().map(|hit| hit.image.id.clone()).collect();
        let images = self.get(&ids, query.consistency).await?;
        let mut images: HashMap<String, Image> =
            images.into_iter().map(|i| (i.id.clone(), i)).collect();
        // A row that was deleted between the two requests is no hit any more.
        Ok(hits
            .into_iter()
            .filter_map(|hit| {
                Some(Hit {
                    image: images.remove(&hit.image.id)?,
                    score: hit.score,
                })
            })
            .collect())
    }

    /// One search; without `attributes` only ids and scores are filled in.
    async fn nearest(
        &self,
        vector: &[f32],
        query: &SearchQuery,
        filter: &str,
        attributes: bool,
    ) -> Result<Vec<Hit>, Error> {
        // Milvus refuses a search that looks at fewer candidates than it wants hits.
        let candidates = usize::from(self.inner.settings.search_ef).max(query.limit);
        let answer = self
            .call(Call::Search, async |client, collection| {
                let mut request = SearchRequest::builder()
                    .collection_name(collection)
                    .vector_field(field::VECTOR)
                    .vectors(SearchVectors::Float(vec![vector.to_vec()]))
                    .limit(query.limit as i64)
                    .extra_params(HashMap::from([("ef".to_owned(), candidates.to_string())]))
                    .consistency_level(query.consistency.level());
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
        let Some(found) = answer.results().get_results().first() else {
            return Ok(Vec::new());
        };
        let ids = match found.get_ids() {
            Ids::VarChar(ids) => ids.as_slice(),
            other if other.is_empty() => &[],
            _ => return Err(Error::answer(Call::Search, "ids that are no text")),
        };
        let scores = found.get_scores();
        if scores.len() != ids.len() {
            return Err(Error::answer(Call::Search, "fewer scores than ids"));
        }
        let images = if attributes {
            Columns::new(Call::Search, found.get_output_fields()).images(ids)?
        } else {
            ids.iter()
                .map(|id| Image {
                    id: id.clone(),
                    ..Image::default()
                })
                .collect()
        };
        Ok(images
            .into_iter()
            .zip(scores)
            .map(|(image, score)| Hit {
                image,
                // Rounding may leave the range of a cosine by a little.
                score: score.clamp(-1.0, 1.0),
            })
            .collect())
    }

    /// The images of these ids, in their order; ids that are not there are left out.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get(&self, ids: &[String], consistency: Consistency) -> Result<Vec<Image>, Error> {
        let mut found: HashMap<String, Image> = HashMap::with_capacity(ids.len());
        let mut most = IDS_IN_ONE_REQUEST;
        let mut rest = ids;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(most));
            let filter = Filter::Id(chunk.to_vec()).render()?;
            // Twice the number: a fault of the server can leave stale rows under one id.
            let columns = self
                .query(
                    Call::Query,
                    &filter,
                    &IMAGE_FIELDS,
                    chunk.len() * 2,
                    consistency,
                )
                .await;
            match columns {
                Err(Error::TooLarge { .. }) if chunk.len() > 1 => {
                    most = chunk.len() / 2;
                    continue;
                }
                columns => keep_newest(&mut found, images(&columns?)?),
            }
            rest = after;
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// The vector of one image, of the model's dimension; `None` where there is no such image.
    ///
    /// # Errors
    /// As the server says.
    pub async fn vector_of(
        &self,
        id: &str,
        consistency: Consistency,
    ) -> Result<Option<Vec<f32>>, Error> {
        let filter = Filter::Id(vec![id.to_owned()]).render()?;
        let columns = self
            .query(
                Call::Query,
                &filter,
                &[field::ID, field::VECTOR],
                1,
                consistency,
            )
            .await?;
        if columns.iter().all(FieldData::is_empty) {
            return Ok(None);
        }
        let columns = Columns::new(Call::Query, &columns);
        Ok(columns.vectors(field::VECTOR)?.first().cloned())
    }

    /// For each of these contents that the index knows, one of its rows with its vector. Bounded:
    /// a miss only costs one embedding.
    ///
    /// # Errors
    /// As the server says.
    pub async fn known_content(&self, hashes: &[String]) -> Result<HashMap<String, Row>, Error> {
        let wanted: HashSet<&String> = hashes.iter().filter(|h| !h.is_empty()).collect();
        let wanted: Vec<String> = wanted.into_iter().cloned().collect();
        // As many rows as fit into 3 MiB with attributes of ordinary length.
        let mut most = (3 << 20) / (self.inner.model.dimension * 4 + 2048);
        most = most.clamp(1, 1000);
        let mut known: HashMap<String, Row> = HashMap::new();
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(most));
            match self.known_chunk(chunk, most, &mut known).await {
                Err(Error::TooLarge { .. }) if most > 1 => most /= 2,
                done => {
                    done?;
                    rest = after;
                }
            }
        }
        Ok(known)
    }

    async fn known_chunk(
        &self,
        hashes: &[String],
        most: usize,
        known: &mut HashMap<String, Row>,
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
            let filter = Filter::ContentHash(missing).render()?;
            let columns = self
                .query(Call::Query, &filter, &fields, most, Consistency::Bounded)
                .await?;
            let images = images(&columns)?;
            let full = images.len() >= most;
            if !images.is_empty() {
                let columns = Columns::new(Call::Query, &columns);
                let vectors = columns.vectors(field::VECTOR)?;
                if vectors.len() != images.len() {
                    return Err(Error::answer(Call::Query, "fewer vectors than rows"));
                }
                for (image, vector) in images.into_iter().zip(vectors) {
                    known
                        .entry(image.content_hash.clone())
                        .or_insert_with(|| Row {
                            image,
                            vector: vector.clone(),
                        });
                }
            }
            // Many copies of one content can fill an answer and crowd out the others: each full
            // answer settles at least one content, so ask again for what is left.
            if !full {
                return Ok(());
            }
        }
    }

    /// Whether a search would be answered now, found out by one.
    ///
    /// # Errors
    /// What the search said.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut vector = vec![0.0; self.inner.model.dimension];
        vector[0] = 1.0;
        let query = SearchQuery {
            limit: 1,
            ..SearchQuery::default()
        };
        self.nearest(&vector, &query, "", false).await?;
        Ok(())
    }

    /// One query: the columns of at most `limit` rows.
    pub(crate) async fn query(
        &self,
        call: Call,
        filter: &str,
        fields: &[&str],
        limit: usize,
        consistency: Consistency,
    ) -> Result<Vec<FieldData>, Error> {
        let answer = self
            .call(call, async |client, collection| {
                let request = QueryRequest::builder()
                    .collection_name(collection)
                    .filter(filter)
                    .output_fields(fields.iter().copied())
                    .limit(limit as i64)
                    .consistency_level(consistency.level())
                    .build()?;
                client.query(request).await
            })
            .await?;
        Ok(answer.results().get_output_fields().to_vec())
    }
}

/// The images of an answer to a query for [`IMAGE_FIELDS`].
pub(crate) fn images(columns: &[FieldData]) -> Result<Vec<Image>, Error> {
    // An answer without rows may have no columns either.
    if columns.iter().all(FieldData::is_empty) {
        return Ok(Vec::new());
    }
    let columns = Columns::new(Call::Query, columns);
    columns.images(columns.texts(field::ID)?)
}

fn keep_newest(found: &mut HashMap<String, Image>, images: Vec<Image>) {
    for image in images {
        match found.get(&image.id) {
            Some(known) if known.generation > image.generation => {}
            _ => {
                found.insert(image.id.clone(), image);
            }
        }
    }
}

/// Best first, each image once, from `min_score` up.
fn best(mut hits: Vec<Hit>, min_score: Option<f32>) -> Vec<Hit> {
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
        let hit = |id: &str, score| Hit {
            image: Image {
                id: id.into(),
                ..Image::default()
            },
            score,
        };
        let hits = vec![hit("a", 0.5), hit("b", 0.9), hit("a", 0.7), hit("c", 0.1)];
        let kept: Vec<_> = best(hits, Some(0.2))
            .into_iter()
            .map(|h| (h.image.id, h.score))
            .collect();
        assert_eq!(kept, [("b".to_owned(), 0.9), ("a".to_owned(), 0.7)]);
    }
}
