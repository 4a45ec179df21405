//! Parses search requests: the query with its images, ids and texts, and the conditions for hits.

use lookalike_index::{ReadConsistency, SearchQuery};
use lookalike_proto::QueryText;

use super::body::upload_too_large;
use super::convert::{check_limit, check_min_score, parse_image_id, to_index_consistency};
use super::filter::{FilterParams, to_row_filter};
use super::image_text::decode_image_text;
use super::schema::{QueryPart, SearchRequest};
use crate::core::query::{ParsedQuery, QueryInput, WeightedPart};
use crate::core::service::SearchService;
use crate::problem::Problem;
use crate::settings::Settings;

/// Parses a request in JSON.
pub(crate) async fn parse_search_request(
    mut request: SearchRequest,
    service: &SearchService,
) -> Result<(ParsedQuery, SearchQuery), Problem> {
    let query = parse_query(&mut request, &service.settings)?;
    let conditions = SearchQuery {
        limit: check_limit(request.limit, &service.settings)?,
        filter: to_row_filter(service, request.filter.as_ref()).await?,
        min_score: check_min_score(request.min_score)?,
        consistency: to_index_consistency(request.consistency),
    };
    Ok((query, conditions))
}

/// Parses the conditions in the parameters of an address.
pub(crate) async fn parse_search_params(
    service: &SearchService,
    limit: Option<u32>,
    filter: &FilterParams,
    min_score: Option<f64>,
) -> Result<SearchQuery, Problem> {
    Ok(SearchQuery {
        limit: check_limit(limit, &service.settings)?,
        filter: filter.to_row_filter(service).await?,
        min_score: check_min_score(min_score)?,
        consistency: ReadConsistency::Bounded,
    })
}

const MAX_WEIGHT: f64 = 100.0;

/// Moves the query out of a request and checks it.
pub(crate) fn parse_query(
    request: &mut SearchRequest,
    settings: &Settings,
) -> Result<ParsedQuery, Problem> {
    let positive = request.positive.take().unwrap_or_default();
    let negative = request.negative.take().unwrap_or_default();
    let mut parts = Vec::with_capacity(positive.len() + negative.len() + 3);
    let alone = QueryPart {
        id: request.id.take(),
        text: request.text.take(),
        image: request.image.take(),
        weight: None,
    };
    for (param, input) in parse_inputs(alone, "", settings)? {
        let weight = 1.0;
        parts.push(WeightedPart {
            param,
            input,
            weight,
        });
    }
    for (at, entry) in positive.into_iter().enumerate() {
        parts.push(parse_part(entry, &format!("positive[{at}]"), settings)?);
    }
    if parts.is_empty() {
        let detail = match negative.is_empty() {
            true => "the query is empty: give image (base64), id, text, or a list in positive",
            false => {
                "negative alone is not a query: give image (base64), id, text or positive as well"
            }
        };
        return Err(Problem::invalid_parameter("image", detail));
    }
    for (at, entry) in negative.into_iter().enumerate() {
        let part = parse_part(entry, &format!("negative[{at}]"), settings)?;
        let weight = -part.weight;
        parts.push(WeightedPart { weight, ..part });
    }
    Ok(ParsedQuery {
        parts,
        excluded_id: None,
    })
}

/// Parses an entry of a list.
fn parse_part(part: QueryPart, at: &str, settings: &Settings) -> Result<WeightedPart, Problem> {
    let weight = part.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight <= MAX_WEIGHT) {
        return Err(Problem::invalid_parameter(
            format!("{at}.weight"),
            format!("the weight is {weight}; it must be above 0 and at most {MAX_WEIGHT}"),
        ));
    }
    let mut inputs = parse_inputs(part, &format!("{at}."), settings)?;
    match (inputs.pop(), inputs.is_empty()) {
        (Some((param, input)), true) => Ok(WeightedPart {
            param,
            input,
            weight,
        }),
        _ => Err(Problem::invalid_parameter(
            at,
            format!("{at} must have exactly one of id, text and image"),
        )),
    }
}

/// Parses all inputs of an entry, each with its parameter: `prefix` and the name of the field.
fn parse_inputs(
    part: QueryPart,
    prefix: &str,
    settings: &Settings,
) -> Result<Vec<(String, QueryInput)>, Problem> {
    let mut inputs = Vec::with_capacity(1);
    if let Some(image) = part.image {
        let param = format!("{prefix}image");
        let bytes = decode_image_text(&param, &image)?;
        if bytes.len() as u64 > settings.max_upload_bytes {
            return Err(upload_too_large(settings.max_upload_bytes).about_image(&param));
        }
        inputs.push((param, QueryInput::Image(bytes.into())));
    }
    if let Some(id) = part.id {
        let param = format!("{prefix}id");
        let id = parse_image_id(&param, &id)?;
        inputs.push((param, QueryInput::Id(id)));
    }
    if let Some(text) = part.text {
        let param = format!("{prefix}text");
        let text = QueryText::new(&text)
            .map_err(|error| Problem::invalid_parameter(param.clone(), error.to_string()))?;
        inputs.push((param, QueryInput::Text(text)));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests;
