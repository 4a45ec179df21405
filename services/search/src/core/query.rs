//! What is looked for: a question taken apart into pictures, images of the index and words, each
//! with a weight; and their vectors put together into one.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;
use lookalike_proto::QueryText;

use crate::Settings;
use crate::api::convert;
use crate::api::schema::{QueryPart, SearchRequest};
use crate::problem::{Code, Problem};

/// What has a vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum QueryInput {
    /// A picture's bytes.
    Image(Bytes),
    /// An image of the index.
    Id(String),
    /// Words.
    Text(QueryText),
}

/// One part of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightedInput {
    /// The parameter that it came in.
    pub param: String,
    pub input: QueryInput,
    /// Below zero: the hits are to look less like it.
    pub weight: f64,
}

/// What is looked for. At least one part has a weight above zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParsedQuery {
    pub parts: Vec<WeightedInput>,
    /// An image that is no hit.
    pub excluded_id: Option<String>,
}

impl ParsedQuery {
    /// By one thing alone.
    fn from_input(param: &str, what: QueryInput) -> Self {
        let part = WeightedInput {
            param: param.to_owned(),
            input: what,
            weight: 1.0,
        };
        Self {
            parts: vec![part],
            excluded_id: None,
        }
    }

    /// By a picture.
    pub(crate) fn from_image(bytes: Bytes) -> Self {
        Self::from_input("image", QueryInput::Image(bytes))
    }

    /// By an image of the index, itself not among the hits.
    pub(crate) fn similar_to(id: String) -> Self {
        Self {
            excluded_id: Some(id.clone()),
            ..Self::from_input("id", QueryInput::Id(id))
        }
    }

    /// For metrics: of a fixed set.
    pub(crate) fn kind(&self) -> &'static str {
        match self.parts.as_slice() {
            [one] => match one.input {
                QueryInput::Image(_) => "image",
                QueryInput::Id(_) => "id",
                QueryInput::Text(_) => "text",
            },
            _ => "combined",
        }
    }

    /// Whether its scores are of two pictures each, which is what bands are measured for.
    pub(crate) fn is_single_image(&self) -> bool {
        matches!(self.kind(), "image" | "id")
    }

    /// Whether a model without a text side can't answer it.
    pub(crate) fn has_text(&self) -> bool {
        let is_text = |part: &WeightedInput| matches!(part.input, QueryInput::Text(_));
        self.parts.iter().any(is_text)
    }
}

/// Entries of both lists together, at most.
const MAX_PARTS: usize = 32;

/// The heaviest weight.
const MAX_WEIGHT: f64 = 100.0;

/// Checks what a question looks for and takes it out.
pub(crate) fn parse_query(
    request: &mut SearchRequest,
    settings: &Settings,
) -> Result<ParsedQuery, Problem> {
    let positive = request.positive.take().unwrap_or_default();
    let negative = request.negative.take().unwrap_or_default();
    let count = positive.len() + negative.len();
    if count > MAX_PARTS {
        return Err(Problem::invalid_parameter(
            "positive",
            format!("positive and negative have {count} entries, and may have {MAX_PARTS}"),
        ));
    }
    let mut parts = Vec::with_capacity(count + 3);
    let alone = QueryPart {
        id: request.id.take(),
        text: request.text.take(),
        image: request.image.take(),
        weight: None,
    };
    for (param, what) in parse_inputs(alone, "", settings)? {
        let weight = 1.0;
        parts.push(WeightedInput {
            param,
            input: what,
            weight,
        });
    }
    for (at, one) in positive.into_iter().enumerate() {
        parts.push(parse_part(one, &format!("positive[{at}]"), settings)?);
    }
    if parts.is_empty() {
        let words = match negative.is_empty() {
            true => "say what to look for: image (base64), id, text, or a list in positive",
            false => {
                "negative alone says only what not to look for: give image (base64), id, text or \
                 positive as well"
            }
        };
        return Err(Problem::invalid_parameter("image", words));
    }
    for (at, one) in negative.into_iter().enumerate() {
        let part = parse_part(one, &format!("negative[{at}]"), settings)?;
        let weight = -part.weight;
        parts.push(WeightedInput { weight, ..part });
    }
    Ok(ParsedQuery {
        parts,
        excluded_id: None,
    })
}

/// An entry of a list.
fn parse_part(part: QueryPart, at: &str, settings: &Settings) -> Result<WeightedInput, Problem> {
    let weight = part.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight <= MAX_WEIGHT) {
        return Err(Problem::invalid_parameter(
            format!("{at}.weight"),
            format!("the weight is {weight}, and must be above 0 and at most {MAX_WEIGHT}"),
        ));
    }
    let mut whats = parse_inputs(part, &format!("{at}."), settings)?;
    match (whats.pop(), whats.is_empty()) {
        (Some((param, what)), true) => Ok(WeightedInput {
            param,
            input: what,
            weight,
        }),
        _ => Err(Problem::invalid_parameter(
            at,
            format!("{at} must have one of id, text and image; give several as several entries"),
        )),
    }
}

/// Everything that is given, checked, each with its parameter: `prefix` and the field's name.
fn parse_inputs(
    part: QueryPart,
    prefix: &str,
    settings: &Settings,
) -> Result<Vec<(String, QueryInput)>, Problem> {
    let mut whats = Vec::with_capacity(1);
    if let Some(image) = part.image {
        let param = format!("{prefix}image");
        let bytes = decode_base64(&param, &image)?;
        if bytes.len() as u64 > settings.max_upload_bytes {
            let most = lookalike_chassis::settings::size::format_size(settings.max_upload_bytes);
            let detail = format!("the picture is larger than {most}");
            return Err(Problem::new(Code::UploadTooLarge, detail).about_image(&param));
        }
        whats.push((param, QueryInput::Image(bytes.into())));
    }
    if let Some(id) = part.id {
        let param = format!("{prefix}id");
        let id = convert::parse_image_id(&param, &id)?;
        whats.push((param, QueryInput::Id(id)));
    }
    if let Some(text) = part.text {
        let param = format!("{prefix}text");
        let text = QueryText::new(&text)
            .map_err(|error| Problem::invalid_parameter(param.clone(), error.to_string()))?;
        whats.push((param, QueryInput::Text(text)));
    }
    Ok(whats)
}

/// Programs disagree about padding and about two letters of the alphabet; both ways are read.
fn decode_base64(param: &str, text: &str) -> Result<Vec<u8>, Problem> {
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
    engine.decode(text.trim()).map_err(|error| {
        Problem::invalid_parameter(param, format!("{param} is not base64: {error}"))
    })
}

/// What is left of the parts must be more than this share of their weights: below, it is noise.
const MIN_REMAINDER: f64 = 1e-3;

/// The sum of unit vectors, each times its weight, as a unit vector.
pub(crate) fn combine_vectors(parts: &[(Vec<f32>, f64)]) -> Result<Vec<f32>, Problem> {
    if let [(vector, _)] = parts {
        return Ok(vector.clone());
    }
    let dimension = parts.first().map_or(0, |(vector, _)| vector.len());
    let mut sum = vec![0.0_f64; dimension];
    for (vector, weight) in parts {
        let length = vector_norm(vector.iter().copied().map(f64::from));
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += weight * f64::from(*value) / length;
        }
    }
    let weights: f64 = parts.iter().map(|(_, weight)| weight.abs()).sum();
    let rest = vector_norm(sum.iter().copied());
    if !rest.is_finite() || rest <= MIN_REMAINDER * weights {
        return Err(Problem::new(
            Code::CancelsOut,
            "what the hits are to look like and what they are to look less like cancel each other \
             out: leave one of them out, or add something else to look for",
        ));
    }
    Ok(sum.iter().map(|value| (value / rest) as f32).collect())
}

fn vector_norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests;
