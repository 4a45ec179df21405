//! From a question to hits: decode and prepare an uploaded picture here, have its vector made by
//! an embedder, or that of words, put the vectors together, ask the index.

use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_bus::EmbeddedVector;
use lookalike_index::{ReadConsistency, RowFilter, SearchQuery};
use lookalike_proto::QueryText;
use lookalike_vision::Band;

use crate::api::convert;
use crate::api::schema::{FilterBody, SearchAnswer, SearchRequest};
use crate::core::libraries;
use crate::core::query::{ParsedQuery, QueryInput, WeightedInput, combine_vectors, parse_query};
use crate::core::service::{SearchService, ServingModel};
use crate::metrics::{SEARCH_EMBED_SECONDS, SEARCH_SECONDS};
use crate::problem::{Code, Problem};

/// Checks a question and takes it apart.
pub(crate) async fn parse_search_request(
    mut request: SearchRequest,
    service: &SearchService,
) -> Result<(ParsedQuery, SearchQuery), Problem> {
    let query = parse_query(&mut request, &service.settings)?;
    let filter = request.filter.unwrap_or_default();
    let conditions = SearchQuery {
        limit: convert::check_limit(request.limit, &service.settings)?,
        filter: convert::to_index_filter(&filter, &service.libraries)?,
        min_score: convert::check_min_score(request.min_score)?,
        consistency: convert::to_index_consistency(request.consistency),
    };
    libraries::check_library_exists(service, "filter.library", filter.library.as_deref()).await?;
    Ok((query, conditions))
}

/// The conditions of a question that came in an address.
pub(crate) async fn parse_search_params(
    service: &SearchService,
    limit: Option<u32>,
    library: Option<String>,
    min_score: Option<f64>,
) -> Result<SearchQuery, Problem> {
    libraries::check_library_exists(service, "library", library.as_deref()).await?;
    let filter = FilterBody {
        library,
        ..FilterBody::default()
    };
    Ok(SearchQuery {
        limit: convert::check_limit(limit, &service.settings)?,
        filter: convert::to_index_filter(&filter, &service.libraries)?,
        min_score: convert::check_min_score(min_score)?,
        consistency: ReadConsistency::Bounded,
    })
}

/// Answers a question.
pub(crate) async fn run_search(
    service: &SearchService,
    query: ParsedQuery,
    mut conditions: SearchQuery,
) -> Result<SearchAnswer, Problem> {
    let started = Instant::now();
    // Once for the whole request: a vector must not meet another model's index.
    let serving = service.serving();
    let description = &serving.description;
    if query.has_text() && !description.has_text() {
        return Err(Problem::model_without_text(&description.name));
    }
    let kind = query.kind();
    let bands = description.bands.filter(|_| query.is_single_image());
    let asker = VectorSource {
        service,
        serving: &serving,
        consistency: conditions.consistency,
    };
    let vector = combine_vectors(&asker.fetch_vectors(query.parts).await?)?;
    if let Some(id) = query.excluded_id {
        conditions.filter = RowFilter::And(vec![conditions.filter, RowFilter::NotId(vec![id])]);
    }
    let hits = serving.index.search_by_vector(&vector, &conditions).await?;
    let took = started.elapsed();
    SEARCH_SECONDS
        .with_label_values(&[kind])
        .observe(took.as_secs_f64());
    let best = hits.first().map(|hit| hit.score);
    let band = bands.map(|bands| best.map_or(Band::NoMatch, |score| bands.band_for(score)));
    Ok(SearchAnswer {
        band: band.map(Into::into),
        hits: hits
            .into_iter()
            .map(|hit| convert::to_hit_body(hit, bands.as_ref()))
            .collect(),
        model: description.name.clone(),
        took_ms: (took.as_secs_f64() * 1e4).round() / 10.0,
    })
}

/// Parts of one question whose vectors are asked for at the same time.
const MAX_CONCURRENT_PARTS: usize = 4;

/// Whoever asks for the vectors of one question, all of one model.
struct VectorSource<'a> {
    service: &'a SearchService,
    serving: &'a ServingModel,
    consistency: ReadConsistency,
}

impl VectorSource<'_> {
    /// The vectors of all parts with their weights, in their order.
    async fn fetch_vectors(
        &self,
        parts: Vec<WeightedInput>,
    ) -> Result<Vec<(Vec<f32>, f64)>, Problem> {
        let asked = parts.into_iter().map(|part| async move {
            let is_picture = matches!(part.input, QueryInput::Image(_));
            let vector = self.fetch_vector(part.input).await;
            let vector = vector.map_err(|problem| match problem.status().is_client_error() {
                // Of several pictures, the sentence says which one.
                true if is_picture => problem.about_image(&part.param),
                true => problem.about(&part.param),
                false => problem,
            });
            Ok((vector?, part.weight))
        });
        stream::iter(asked)
            .buffered(MAX_CONCURRENT_PARTS)
            .try_collect()
            .await
    }

    async fn fetch_vector(&self, what: QueryInput) -> Result<Vec<f32>, Problem> {
        match what {
            QueryInput::Image(bytes) => self.embed_image(bytes).await,
            QueryInput::Id(id) => self.read_indexed_vector(&id).await,
            QueryInput::Text(text) => self.embed_text(text).await,
        }
    }

    async fn read_indexed_vector(&self, id: &str) -> Result<Vec<f32>, Problem> {
        let vector = self
            .serving
            .index
            .fetch_vector(id, self.consistency)
            .await?;
        vector.ok_or_else(|| Problem::no_such_image(id))
    }

    async fn embed_image(&self, bytes: Bytes) -> Result<Vec<f32>, Problem> {
        let (description, limits) = (
            self.serving.description.clone(),
            self.service.limits.clone(),
        );
        let prepare = move || {
            let short_side = description.preprocessing.resize_short_side;
            let (picture, _) = lookalike_vision::decode_image(&bytes, short_side, &limits)?;
            let input = lookalike_vision::preprocess_image(&description, &picture);
            Ok::<_, lookalike_vision::DecodeError>(input)
        };
        let pixels = self.service.search_decodes.run_decode(prepare).await??;
        let bus = &self.service.bus;
        let asked_as = self.serving.request_subject();
        let asked = bus.embed_pixels(&asked_as, pixels.into_vec());
        self.await_vector(asked).await
    }

    async fn embed_text(&self, text: QueryText) -> Result<Vec<f32>, Problem> {
        let bus = &self.service.bus;
        let asked_as = self.serving.request_subject();
        self.await_vector(bus.embed_text(&asked_as, text)).await
    }

    /// What an embedder answers, if it is of the model that the index was made with.
    async fn await_vector(
        &self,
        asked: impl Future<Output = Result<EmbeddedVector, lookalike_bus::Error>>,
    ) -> Result<Vec<f32>, Problem> {
        // Without a connection the request would wait in the client until its time is up.
        if !self.service.bus.is_connected() {
            return Err(Problem::new(
                Code::QueueUnavailable,
                "NATS can't be reached now, so that no embedder can be asked",
            ));
        }
        let model = &self.serving.description;
        let begun = Instant::now();
        let embedded = asked
            .await
            .map_err(|error| Problem::from_embed(&error, &model.name))?;
        SEARCH_EMBED_SECONDS.observe(begun.elapsed().as_secs_f64());
        // Same name, other weights: such vectors must not meet the index's.
        if embedded.checksum != model.checksum {
            return Err(Problem::new(
                Code::OtherModel,
                format!(
                    "an embedder answered with weights {} of {}, and this service expects {}",
                    embedded.checksum, embedded.model, model.checksum
                ),
            ));
        }
        Ok(embedded.vector)
    }
}
