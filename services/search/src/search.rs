//! From a question to hits: decode and prepare an uploaded picture here, have its vector made by
//! an embedder, ask the index.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;
use lookalike_index::{Filter, SearchQuery};

use crate::convert;
use crate::metrics::{SEARCH_EMBED_SECONDS, SEARCH_SECONDS};
use crate::problem::{Code, Problem};
use crate::schema::{FilterBody, SearchAnswer, SearchRequest};
use crate::service::Service;

/// What is looked for.
pub(crate) enum Query {
    /// A picture's bytes.
    Picture(Bytes),
    /// An image of the index, itself among the hits.
    Id(String),
    /// Other images that look like this one.
    SimilarTo(String),
}

impl Query {
    fn kind(&self) -> &'static str {
        match self {
            Self::Picture(_) => "image",
            Self::Id(_) | Self::SimilarTo(_) => "id",
        }
    }
}

/// Checks a question and takes it apart.
pub(crate) fn understand(
    request: SearchRequest,
    service: &Service,
) -> Result<(Query, SearchQuery), Problem> {
    let query = query_of(
        request.image.as_deref(),
        request.id.as_deref(),
        &service.settings,
    )?;
    let filter = request.filter.unwrap_or_default();
    let conditions = SearchQuery {
        limit: convert::limit(request.limit, &service.settings)?,
        filter: convert::filter(&filter, &service.libraries)?,
        min_score: convert::min_score(request.min_score)?,
        consistency: convert::consistency(request.consistency),
    };
    Ok((query, conditions))
}

/// The conditions of a question that came in an address.
pub(crate) fn conditions(
    service: &Service,
    limit: Option<u32>,
    library: Option<String>,
    min_score: Option<f64>,
) -> Result<SearchQuery, Problem> {
    if let Some(name) = &library {
        convert::library("library", name)?;
    }
    let filter = FilterBody {
        library,
        ..FilterBody::default()
    };
    Ok(SearchQuery {
        limit: convert::limit(limit, &service.settings)?,
        filter: convert::filter(&filter, &service.libraries)?,
        min_score: convert::min_score(min_score)?,
        consistency: lookalike_index::Consistency::Bounded,
    })
}

/// Exactly one of the two.
fn query_of(
    image: Option<&str>,
    id: Option<&str>,
    settings: &crate::Settings,
) -> Result<Query, Problem> {
    match (image, id) {
        (Some(image), None) => {
            let bytes = from_base64(image)?;
            if bytes.len() as u64 > settings.max_upload_bytes {
                return Err(Problem::new(
                    Code::UploadTooLarge,
                    format!(
                        "the picture is larger than {}",
                        lookalike_chassis::settings::size::text(settings.max_upload_bytes)
                    ),
                ));
            }
            Ok(Query::Picture(bytes.into()))
        }
        (None, Some(id)) => Ok(Query::Id(convert::image_id("id", id)?)),
        (Some(_), Some(_)) => Err(Problem::parameter(
            "id",
            "give either image or id, not both",
        )),
        (None, None) => Err(Problem::parameter("image", "give image (base64) or id")),
    }
}

/// Programs disagree about padding and about two letters of the alphabet; both ways are read.
fn from_base64(text: &str) -> Result<Vec<u8>, Problem> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose =
        general_purpose::GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);
    let text = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,").map_or(url, |(_, data)| data),
        None => text,
    };
    let engine = if text.bytes().any(|b| matches!(b, b'-' | b'_')) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    engine
        .decode(text.trim())
        .map_err(|error| Problem::parameter("image", format!("image is not base64: {error}")))
}

/// Answers a question.
pub(crate) async fn answer(
    service: &Service,
    query: Query,
    mut conditions: SearchQuery,
) -> Result<SearchAnswer, Problem> {
    let started = Instant::now();
    let kind = query.kind();
    let vector = match query {
        Query::Picture(bytes) => vector_of_picture(service, bytes).await?,
        Query::Id(id) => vector_of_image(service, &id, conditions.consistency).await?,
        Query::SimilarTo(id) => {
            let vector = vector_of_image(service, &id, conditions.consistency).await?;
            conditions.filter = Filter::And(vec![conditions.filter, Filter::NotId(vec![id])]);
            vector
        }
    };
    let hits = service.index.search(&vector, &conditions).await?;
    let took = started.elapsed();
    SEARCH_SECONDS
        .with_label_values(&[kind])
        .observe(took.as_secs_f64());
    Ok(SearchAnswer {
        hits: hits.into_iter().map(convert::hit).collect(),
        model: service.description.name.clone(),
        took_ms: (took.as_secs_f64() * 1e4).round() / 10.0,
    })
}

async fn vector_of_image(
    service: &Service,
    id: &str,
    consistency: lookalike_index::Consistency,
) -> Result<Vec<f32>, Problem> {
    let vector = service.index.vector_of(id, consistency).await?;
    vector.ok_or_else(|| Problem::no_such_image(id))
}

async fn vector_of_picture(service: &Service, bytes: Bytes) -> Result<Vec<f32>, Problem> {
    let (description, limits) = (service.description.clone(), service.limits.clone());
    let prepare = move || {
        let short_side = description.preprocessing.resize_short_side;
        let (picture, _) = lookalike_vision::decode(&bytes, short_side, &limits)?;
        Ok::<_, lookalike_vision::DecodeError>(lookalike_vision::preprocess(&description, &picture))
    };
    let pixels = service.search_gate.run(prepare).await??;
    // Without a connection the request would wait in the client until its time is up.
    if !service.bus.is_connected() {
        return Err(Problem::new(
            Code::QueueUnavailable,
            "NATS can't be reached now, so that no embedder can be asked",
        ));
    }
    let model = &service.description;
    let timer = SEARCH_EMBED_SECONDS.start_timer();
    let embedded = service
        .bus
        .embed_pixels(&model.name, pixels.into_vec())
        .await
        .map_err(|error| Problem::from_embed(&error))?;
    timer.observe_duration();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn base64_of_every_kind() {
        for text in [
            "+/8=",
            "+/8",
            "-_8",
            "-_8=",
            "data:image/jpeg;base64,+/8=",
            " +/8= ",
        ] {
            assert_eq!(from_base64(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        for text in ["!", "data:image/jpeg,hello", "+/8=+/8="] {
            assert_eq!(from_base64(text).unwrap_err().param.unwrap(), "image");
        }
    }

    #[test]
    fn one_query_and_only_one() {
        let settings = Settings {
            max_upload_bytes: 2,
            ..Settings::default()
        };
        let id = "3ac9aecf0ebba98faed9a9884f264d9d";
        let code = |image, id| query_of(image, id, &settings).err().map(|p| p.code);
        assert_eq!(code(Some("+/8="), None), None);
        assert_eq!(code(None, Some(id)), None);
        assert_eq!(code(None, None), Some(Code::InvalidParameter));
        assert_eq!(code(Some("+/8="), Some(id)), Some(Code::InvalidParameter));
        assert_eq!(code(Some("AAAA"), None), Some(Code::UploadTooLarge));
        assert_eq!(code(None, Some("../x")), Some(Code::InvalidParameter));
    }
}
