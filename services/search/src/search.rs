//! From a question to hits: decode and prepare an uploaded picture here, have its vector made by
//! an embedder, or that of words, put the vectors together, ask the index.

use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_bus::Embedded;
use lookalike_index::{Consistency, Filter, SearchQuery};
use lookalike_proto::QueryText;
use lookalike_vision::Band;

use crate::metrics::{SEARCH_EMBED_SECONDS, SEARCH_SECONDS};
use crate::problem::{Code, Problem};
use crate::query::{Part, Query, What, combined, query_of};
use crate::schema::{FilterBody, SearchAnswer, SearchRequest};
use crate::service::{Service, Serving};
use crate::{convert, libraries};

/// Checks a question and takes it apart.
pub(crate) async fn understand(
    mut request: SearchRequest,
    service: &Service,
) -> Result<(Query, SearchQuery), Problem> {
    let query = query_of(&mut request, &service.settings)?;
    let filter = request.filter.unwrap_or_default();
    let conditions = SearchQuery {
        limit: convert::limit(request.limit, &service.settings)?,
        filter: convert::filter(&filter, &service.libraries)?,
        min_score: convert::min_score(request.min_score)?,
        consistency: convert::consistency(request.consistency),
    };
    libraries::must_be_known(service, "filter.library", filter.library.as_deref()).await?;
    Ok((query, conditions))
}

/// The conditions of a question that came in an address.
pub(crate) async fn conditions(
    service: &Service,
    limit: Option<u32>,
    library: Option<String>,
    min_score: Option<f64>,
) -> Result<SearchQuery, Problem> {
    libraries::must_be_known(service, "library", library.as_deref()).await?;
    let filter = FilterBody {
        library,
        ..FilterBody::default()
    };
    Ok(SearchQuery {
        limit: convert::limit(limit, &service.settings)?,
        filter: convert::filter(&filter, &service.libraries)?,
        min_score: convert::min_score(min_score)?,
        consistency: Consistency::Bounded,
    })
}

/// Answers a question.
pub(crate) async fn answer(
    service: &Service,
    query: Query,
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
    let bands = description.bands.filter(|_| query.is_one_picture());
    let asker = Asker {
        service,
        serving: &serving,
        consistency: conditions.consistency,
    };
    let vector = combined(&asker.vectors(query.parts).await?)?;
    if let Some(id) = query.left_out {
        conditions.filter = Filter::And(vec![conditions.filter, Filter::NotId(vec![id])]);
    }
    let hits = serving.index.search(&vector, &conditions).await?;
    let took = started.elapsed();
    SEARCH_SECONDS
        .with_label_values(&[kind])
        .observe(took.as_secs_f64());
    let best = hits.first().map(|hit| hit.score);
    let band = bands.map(|bands| best.map_or(Band::NoMatch, |score| bands.of(score)));
    Ok(SearchAnswer {
        band: band.map(Into::into),
        hits: hits
            .into_iter()
            .map(|hit| convert::hit(hit, bands.as_ref()))
            .collect(),
        model: description.name.clone(),
        took_ms: (took.as_secs_f64() * 1e4).round() / 10.0,
    })
}

/// Parts of one question whose vectors are asked for at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Whoever asks for the vectors of one question, all of one model.
struct Asker<'a> {
    service: &'a Service,
    serving: &'a Serving,
    consistency: Consistency,
}

impl Asker<'_> {
    /// The vectors of all parts with their weights, in their order.
    async fn vectors(&self, parts: Vec<Part>) -> Result<Vec<(Vec<f32>, f64)>, Problem> {
        let asked = parts.into_iter().map(|part| async move {
            let is_picture = matches!(part.what, What::Picture(_));
            let vector = self.vector(part.what).await;
            let vector = vector.map_err(|problem| match problem.status().is_client_error() {
                // Of several pictures, the sentence says which one.
                true if is_picture => problem.named(&part.param),
                true => problem.about(&part.param),
                false => problem,
            });
            Ok((vector?, part.weight))
        });
        stream::iter(asked)
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn vector(&self, what: What) -> Result<Vec<f32>, Problem> {
        match what {
            What::Picture(bytes) => self.of_picture(bytes).await,
            What::Id(id) => self.of_image(&id).await,
            What::Text(text) => self.of_text(text).await,
        }
    }

    async fn of_image(&self, id: &str) -> Result<Vec<f32>, Problem> {
        let vector = self.serving.index.vector_of(id, self.consistency).await?;
        vector.ok_or_else(|| Problem::no_such_image(id))
    }

    async fn of_picture(&self, bytes: Bytes) -> Result<Vec<f32>, Problem> {
        let (description, limits) = (
            self.serving.description.clone(),
            self.service.limits.clone(),
        );
        let prepare = move || {
            let short_side = description.preprocessing.resize_short_side;
            let (picture, _) = lookalike_vision::decode(&bytes, short_side, &limits)?;
            let input = lookalike_vision::preprocess(&description, &picture);
            Ok::<_, lookalike_vision::DecodeError>(input)
        };
        let pixels = self.service.search_gate.run(prepare).await??;
        let bus = &self.service.bus;
        let asked_as = self.serving.asked_as();
        let asked = bus.embed_pixels(&asked_as, pixels.into_vec());
        self.embedded(asked).await
    }

    async fn of_text(&self, text: QueryText) -> Result<Vec<f32>, Problem> {
        let bus = &self.service.bus;
        let asked_as = self.serving.asked_as();
        self.embedded(bus.embed_text(&asked_as, text)).await
    }

    /// What an embedder answers, if it is of the model that the index was made with.
    async fn embedded(
        &self,
        asked: impl Future<Output = Result<Embedded, lookalike_bus::Error>>,
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
