//! Searches: embeds uploaded images and texts, combines the vectors and queries the index.
//!
//! An uploaded image is decoded and preprocessed here; its pixels go to an embedder.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_bus::EmbeddedVector;
use lookalike_index::{IndexHit, ReadConsistency, RowFilter, SearchQuery};
use lookalike_proto::{ContentHash, QueryText};
use lookalike_vision::Band;

use super::hit_bands::{BandedHits, MAX_INLINE_HITS, MIN_COMPARED_HITS, QueryPicture};
use super::query::{ParsedQuery, QueryInput, WeightedPart, combine_vectors};
use super::service::SearchService;
use super::serving_model::ServingModel;
use crate::metrics::{SEARCH_EMBED_SECONDS, SEARCH_SECONDS};
use crate::problem::{Code, Problem};

/// The result of a search.
pub(crate) struct SearchResult {
    /// The nearest images by falling score; if there are bands, the same pictures come first.
    pub hits: Vec<IndexHit>,
    /// The band of each hit, if the model has bands and they hold for the scores of this query.
    pub bands: Option<Vec<Band>>,
    pub model: String,
    pub took: Duration,
}

pub(crate) async fn run_search(
    service: &SearchService,
    query: ParsedQuery,
    mut conditions: SearchQuery,
) -> Result<SearchResult, Problem> {
    let _permit = service.search_permits.acquire()?;
    let started = Instant::now();
    let serving = service.model.load();
    let description = &serving.description;
    if query.has_text() && !description.has_text() {
        return Err(Problem::model_without_text(&description.name));
    }
    let kind = query.kind();
    let bands = description.bands.filter(|_| query.is_single_image());
    let source = VectorSource {
        service,
        serving: &serving,
        consistency: conditions.consistency,
    };
    let parts = source.fetch_vectors(query.parts).await?;
    let (pictures, vectors): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .map(|(part, weight)| (part.picture, (part.vector, weight)))
        .unzip();
    let vector = combine_vectors(&vectors)?;
    if let Some(id) = query.excluded_id {
        conditions.filter = RowFilter::And(vec![conditions.filter, RowFilter::NotId(vec![id])]);
    }
    let limit = conditions.limit;
    if bands.is_some() {
        conditions.limit = limit.max(MIN_COMPARED_HITS);
    }
    let hits = serving.index.search_by_vector(&vector, &conditions).await?;
    let hit_count = hits.len();
    let (hits, bands) = match (bands, pictures.into_iter().next()) {
        (Some(bands), Some(Some(picture))) => {
            let compare = move || BandedHits::compare(&bands, &picture, hits, limit);
            // Many hits would delay the other tasks of this thread.
            let banded = if hit_count > MAX_INLINE_HITS {
                service.search_decodes.run_decode(compare).await?
            } else {
                compare()
            };
            (banded.hits, Some(banded.bands))
        }
        _ => (hits, None),
    };
    let took = started.elapsed();
    SEARCH_SECONDS
        .with_label_values(&[kind])
        .observe(took.as_secs_f64());
    Ok(SearchResult {
        hits,
        bands,
        model: description.name.clone(),
        took,
    })
}

/// The vector of a query, and its picture if the query is a single one.
pub(crate) struct EmbeddedQuery {
    pub vector: Vec<f32>,
    pub picture: Option<QueryPicture>,
}

/// Computes the vector of a query without searching. Images of the index are read in their newest
/// state.
pub(crate) async fn embed_query(
    service: &SearchService,
    serving: &ServingModel,
    parts: Vec<WeightedPart>,
) -> Result<EmbeddedQuery, Problem> {
    let is_text = |part: &WeightedPart| matches!(part.input, QueryInput::Text(_));
    if parts.iter().any(is_text) && !serving.description.has_text() {
        return Err(Problem::model_without_text(&serving.description.name));
    }
    let source = VectorSource {
        service,
        serving,
        consistency: ReadConsistency::Strong,
    };
    let mut parts = source.fetch_vectors(parts).await?;
    let picture = match parts.as_mut_slice() {
        [(part, _)] => part.picture.take(),
        _ => None,
    };
    let vectors = parts
        .into_iter()
        .map(|(part, weight)| (part.vector, weight));
    Ok(EmbeddedQuery {
        vector: combine_vectors(&vectors.collect::<Vec<_>>())?,
        picture,
    })
}

/// Parts of one query whose vectors are requested at the same time.
const MAX_CONCURRENT_PARTS: usize = 4;

/// The vector of one part of a query, and its picture unless it is a text.
struct PartVector {
    vector: Vec<f32>,
    picture: Option<QueryPicture>,
}

/// Provides the vectors of one query, all of one model.
struct VectorSource<'a> {
    service: &'a SearchService,
    serving: &'a ServingModel,
    consistency: ReadConsistency,
}

impl VectorSource<'_> {
    /// Returns the vectors of all parts with their weights, in the order of the parts.
    async fn fetch_vectors(
        &self,
        parts: Vec<WeightedPart>,
    ) -> Result<Vec<(PartVector, f64)>, Problem> {
        let vectors = parts.into_iter().map(|part| async move {
            let is_image = matches!(part.input, QueryInput::Image(_));
            let vector = self.fetch_vector(part.input).await;
            let vector = vector.map_err(|problem| match problem.status().is_client_error() {
                true if is_image => problem.about_image(&part.param),
                true => problem.with_param(&part.param),
                false => problem,
            });
            Ok((vector?, part.weight))
        });
        stream::iter(vectors)
            .buffered(MAX_CONCURRENT_PARTS)
            .try_collect()
            .await
    }

    async fn fetch_vector(&self, input: QueryInput) -> Result<PartVector, Problem> {
        match input {
            QueryInput::Image(bytes) => self.embed_image(bytes).await,
            QueryInput::Id(id) => self.read_indexed_vector(&id).await,
            QueryInput::Text(text) => Ok(PartVector {
                vector: self.embed_text(text).await?,
                picture: None,
            }),
        }
    }

    async fn read_indexed_vector(&self, id: &str) -> Result<PartVector, Problem> {
        let row = self.serving.index.fetch_row(id, self.consistency).await?;
        let row = row.ok_or_else(|| Problem::no_such_image(id))?;
        Ok(PartVector {
            picture: Some(QueryPicture::from_row(&row.image)),
            vector: row.vector,
        })
    }

    async fn embed_image(&self, bytes: Bytes) -> Result<PartVector, Problem> {
        let (description, limits) = (
            self.serving.description.clone(),
            self.service.limits.clone(),
        );
        let prepare = move || {
            let short_side = description.preprocessing.resize_short_side;
            let (image, attributes) = lookalike_vision::decode_image(&bytes, short_side, &limits)?;
            let input = lookalike_vision::preprocess_image(&description, &image);
            let picture = QueryPicture {
                content_hash: ContentHash::hash_content(&bytes).to_string(),
                sketch: Some(attributes.sketch),
            };
            Ok::<_, lookalike_vision::DecodeError>((input, picture))
        };
        let bus = &self.service.bus;
        let subject = self.serving.request_subject();
        // Without an embedder, decoding would be useless. The check is polled first.
        let checked = self.check_embedder(&subject);
        let decoding = self.service.search_decodes.run_decode(prepare);
        let ((), decoded) = try_join(checked, decoding).await?;
        let (pixels, picture) = decoded?;
        let reply = bus.embed_pixels(&subject, pixels.into_vec());
        Ok(PartVector {
            vector: self.await_vector(&subject, reply).await?,
            picture: Some(picture),
        })
    }

    async fn embed_text(&self, text: QueryText) -> Result<Vec<f32>, Problem> {
        let bus = &self.service.bus;
        let subject = self.serving.request_subject();
        self.await_vector(&subject, bus.embed_text(&subject, text))
            .await
    }

    fn check_connection(&self, subject: &str) -> Result<(), Problem> {
        match self.service.bus.can_request_vectors(subject) {
            true => Ok(()),
            false => Err(Problem::new(
                Code::QueueUnavailable,
                "NATS is unreachable, so no embedder can be reached",
            )),
        }
    }

    async fn check_embedder(&self, subject: &str) -> Result<(), Problem> {
        self.check_connection(subject)?;
        let model = &self.serving.description.name;
        let checked = self.service.bus.check_embedder(subject).await;
        checked.map_err(|error| Problem::from_embed(&error, model))
    }

    /// Returns the vector of an embedder's reply if it has the weights that the index was built with.
    async fn await_vector(
        &self,
        subject: &str,
        reply: impl Future<Output = Result<EmbeddedVector, lookalike_bus::Error>>,
    ) -> Result<Vec<f32>, Problem> {
        self.check_connection(subject)?;
        let model = &self.serving.description;
        let started = Instant::now();
        let embedded = reply
            .await
            .map_err(|error| Problem::from_embed(&error, &model.name))?;
        SEARCH_EMBED_SECONDS.observe(started.elapsed().as_secs_f64());
        // A model of the same name can have other weights; their vectors must not be compared.
        if embedded.checksum != model.checksum {
            return Err(Problem::new(
                Code::OtherModel,
                format!(
                    "an embedder serves the weights {} of {}; this service expects {}",
                    embedded.checksum, embedded.model, model.checksum
                ),
            ));
        }
        Ok(embedded.vector)
    }
}
