//! Parses search requests: the query with its images, ids and texts, and the conditions for hits.

use lookalike_index::ReadConsistency;
use lookalike_proto::QueryText;
use lookalike_vision::PictureRegion;

use super::body::upload_too_large;
use super::convert::{
    check_limit, check_min_score, check_relative_score, parse_image_id, to_hit_grouping,
    to_index_consistency,
};
use super::filter::{FilterParams, to_row_filter};
use super::image_text::decode_image_text;
use super::schema::{GroupBody, QueryPart, RegionBody, SearchRequest};
use crate::core::query::{ParsedQuery, QueryInput, QueryRegion, SearchConditions, WeightedPart};
use crate::core::service::SearchService;
use crate::problem::Problem;
use crate::settings::Settings;

/// Parses a request in JSON.
pub(crate) async fn parse_search_request(
    mut request: SearchRequest,
    service: &SearchService,
) -> Result<(ParsedQuery, SearchConditions), Problem> {
    let query = parse_query(&mut request, &service.settings)?;
    let conditions = SearchConditions {
        limit: check_limit(request.limit, &service.settings)?,
        filter: to_row_filter(service, request.filter.as_ref()).await?,
        min_score: check_min_score(request.min_score)?,
        relative_score: check_relative_score(request.relative_score)?,
        group: to_hit_grouping(request.group),
        cursor: request.cursor,
        consistency: to_index_consistency(request.consistency),
    };
    Ok((query, conditions))
}

/// The conditions in the parameters of an address.
pub(crate) struct SearchParams {
    pub limit: Option<u32>,
    pub filter: FilterParams,
    pub min_score: Option<f64>,
    pub relative_score: Option<f64>,
    pub group: Option<GroupBody>,
    pub cursor: Option<String>,
}

impl SearchParams {
    pub(crate) async fn parse(self, service: &SearchService) -> Result<SearchConditions, Problem> {
        Ok(SearchConditions {
            limit: check_limit(self.limit, &service.settings)?,
            filter: self.filter.to_row_filter(service).await?,
            min_score: check_min_score(self.min_score)?,
            relative_score: check_relative_score(self.relative_score)?,
            group: to_hit_grouping(self.group),
            cursor: self.cursor,
            consistency: ReadConsistency::Bounded,
        })
    }
}

/// Parses a region in an address: `x,y,width,height`.
pub(crate) fn parse_region_param(text: Option<&str>) -> Result<Option<QueryRegion>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let is_decimal = |number: &&str| number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let numbers: Option<Vec<f64>> = text
        .split(',')
        .map(|number| Some(number).filter(is_decimal)?.parse().ok())
        .collect();
    let Some([x, y, width, height]) = numbers.as_deref() else {
        return Err(Problem::invalid_parameter(
            "region",
            "region must be four numbers from 0 to 1: x,y,width,height, such as 0.25,0.1,0.5,0.5",
        ));
    };
    check_region([*x, *y, *width, *height], "region").map(Some)
}

fn check_region(fractions: [f64; 4], param: &str) -> Result<QueryRegion, Problem> {
    let [x, y, width, height] = fractions;
    let are_fractions = width <= 1.0 && height <= 1.0;
    let region = PictureRegion::new(x, y, width, height).filter(|_| are_fractions);
    let region = region.ok_or_else(|| {
        Problem::invalid_parameter(
            param,
            format!(
                "the region {x},{y},{width},{height} has no area within the picture: x and y must \
                 be at least 0 and below 1, width and height above 0 and at most 1"
            ),
        )
    })?;
    Ok(QueryRegion {
        param: param.to_owned(),
        region,
    })
}

/// Parses the region of an entry with these inputs.
fn parse_region(
    region: Option<RegionBody>,
    param: &str,
    inputs: &[(String, QueryInput)],
) -> Result<Option<QueryRegion>, Problem> {
    let Some(region) = region else {
        return Ok(None);
    };
    let is_picture = |(_, input): &&(String, QueryInput)| !matches!(input, QueryInput::Text(_));
    if inputs.iter().filter(is_picture).count() != 1 {
        return Err(Problem::invalid_parameter(
            param,
            format!(
                "{param} needs exactly one picture next to it: image or id; for several pictures, \
                 give each its own region in positive"
            ),
        ));
    }
    let fractions = [region.x, region.y, region.width, region.height];
    check_region(fractions, param).map(Some)
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
        ..QueryPart::default()
    };
    let inputs = parse_inputs(alone, "", settings)?;
    let region = parse_region(request.region.take(), "region", &inputs)?;
    for (param, input) in inputs {
        let is_text = matches!(input, QueryInput::Text(_));
        parts.push(WeightedPart {
            param,
            input,
            weight: 1.0,
            region: region.clone().filter(|_| !is_text),
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
    let query = ParsedQuery {
        parts,
        excluded_id: None,
        orientations: false,
    };
    query.with_orientations(request.orientations.unwrap_or(false))
}

/// Parses an entry of a list.
fn parse_part(mut part: QueryPart, at: &str, settings: &Settings) -> Result<WeightedPart, Problem> {
    let region = part.region.take();
    let weight = part.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight <= MAX_WEIGHT) {
        return Err(Problem::invalid_parameter(
            format!("{at}.weight"),
            format!("the weight is {weight}; it must be above 0 and at most {MAX_WEIGHT}"),
        ));
    }
    let mut inputs = parse_inputs(part, &format!("{at}."), settings)?;
    let region = parse_region(region, &format!("{at}.region"), &inputs)?;
    match (inputs.pop(), inputs.is_empty()) {
        (Some((param, input)), true) => Ok(WeightedPart {
            param,
            input,
            weight,
            region,
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
