//! What is looked for: a question taken apart into pictures, images of the index and words, each
//! with a weight; and their vectors put together into one.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;
use lookalike_proto::QueryText;

use crate::problem::{Code, Problem};
use crate::schema::{QueryPart, SearchRequest};
use crate::{Settings, convert};

/// What has a vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A picture's bytes.
    Picture(Bytes),
    /// An image of the index.
    Id(String),
    /// Words.
    Text(QueryText),
}

/// One part of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// The parameter that it came in.
    pub param: String,
    pub what: What,
    /// Below zero: the hits are to look less like it.
    pub weight: f64,
}

/// What is looked for. At least one part has a weight above zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub parts: Vec<Part>,
    /// An image that is no hit.
    pub left_out: Option<String>,
}

impl Query {
    /// By one thing alone.
    fn by(param: &str, what: What) -> Self {
        let part = Part {
            param: param.to_owned(),
            what,
            weight: 1.0,
        };
        Self {
            parts: vec![part],
            left_out: None,
        }
    }

    /// By a picture.
    pub(crate) fn by_picture(bytes: Bytes) -> Self {
        Self::by("image", What::Picture(bytes))
    }

    /// By an image of the index, itself not among the hits.
    pub(crate) fn similar_to(id: String) -> Self {
        Self {
            left_out: Some(id.clone()),
            ..Self::by("id", What::Id(id))
        }
    }

    /// For metrics: of a fixed set.
    pub(crate) fn kind(&self) -> &'static str {
        match self.parts.as_slice() {
            [one] => match one.what {
                What::Picture(_) => "image",
                What::Id(_) => "id",
                What::Text(_) => "text",
            },
            _ => "combined",
        }
    }

    /// Whether its scores are of two pictures each, which is what bands are measured for.
    pub(crate) fn is_one_picture(&self) -> bool {
        matches!(self.kind(), "image" | "id")
    }

    /// Whether a model without a text side can't answer it.
    pub(crate) fn has_text(&self) -> bool {
        let is_text = |part: &Part| matches!(part.what, What::Text(_));
        self.parts.iter().any(is_text)
    }
}

/// Entries of both lists together, at most.
const MOST_PARTS: usize = 32;

/// The heaviest weight.
const MOST_WEIGHT: f64 = 100.0;

/// Checks what a question looks for and takes it out.
pub(crate) fn query_of(request: &mut SearchRequest, settings: &Settings) -> Result<Query, Problem> {
    let positive = request.positive.take().unwrap_or_default();
    let negative = request.negative.take().unwrap_or_default();
    let count = positive.len() + negative.len();
    if count > MOST_PARTS {
        return Err(Problem::parameter(
            "positive",
            format!("positive and negative have {count} entries, and may have {MOST_PARTS}"),
        ));
    }
    let mut parts = Vec::with_capacity(count + 3);
    let alone = QueryPart {
        id: request.id.take(),
        text: request.text.take(),
        image: request.image.take(),
        weight: None,
    };
    for (param, what) in whats(alone, "", settings)? {
        let weight = 1.0;
        parts.push(Part {
            param,
            what,
            weight,
        });
    }
    for (at, one) in positive.into_iter().enumerate() {
        parts.push(part(one, &format!("positive[{at}]"), settings)?);
    }
    if parts.is_empty() {
        let words = match negative.is_empty() {
            true => "say what to look for: image (base64), id, text, or a list in positive",
            false => {
                "negative alone says only what not to look for: give image (base64), id, text or \
                 positive as well"
            }
        };
        return Err(Problem::parameter("image", words));
    }
    for (at, one) in negative.into_iter().enumerate() {
        let part = part(one, &format!("negative[{at}]"), settings)?;
        let weight = -part.weight;
        parts.push(Part { weight, ..part });
    }
    Ok(Query {
        parts,
        left_out: None,
    })
}

/// An entry of a list.
fn part(part: QueryPart, at: &str, settings: &Settings) -> Result<Part, Problem> {
    let weight = part.weight.unwrap_or(1.0);
    if !(weight > 0.0 && weight <= MOST_WEIGHT) {
        return Err(Problem::parameter(
            format!("{at}.weight"),
            format!("the weight is {weight}, and must be above 0 and at most {MOST_WEIGHT}"),
        ));
    }
    let mut whats = whats(part, &format!("{at}."), settings)?;
    match (whats.pop(), whats.is_empty()) {
        (Some((param, what)), true) => Ok(Part {
            param,
            what,
            weight,
        }),
        _ => Err(Problem::parameter(
            at,
            format!("{at} must have one of id, text and image; give several as several entries"),
        )),
    }
}

/// Everything that is given, checked, each with its parameter: `before` and the field's name.
fn whats(
    part: QueryPart,
    before: &str,
    settings: &Settings,
) -> Result<Vec<(String, What)>, Problem> {
    let mut whats = Vec::with_capacity(1);
    if let Some(image) = part.image {
        let param = format!("{before}image");
        let bytes = from_base64(&param, &image)?;
        if bytes.len() as u64 > settings.max_upload_bytes {
            let most = lookalike_chassis::settings::size::text(settings.max_upload_bytes);
            let detail = format!("the picture is larger than {most}");
            return Err(Problem::new(Code::UploadTooLarge, detail).named(&param));
        }
        whats.push((param, What::Picture(bytes.into())));
    }
    if let Some(id) = part.id {
        let param = format!("{before}id");
        let id = convert::image_id(&param, &id)?;
        whats.push((param, What::Id(id)));
    }
    if let Some(text) = part.text {
        let param = format!("{before}text");
        let text = QueryText::new(&text)
            .map_err(|error| Problem::parameter(param.clone(), error.to_string()))?;
        whats.push((param, What::Text(text)));
    }
    Ok(whats)
}

/// Programs disagree about padding and about two letters of the alphabet; both ways are read.
fn from_base64(param: &str, text: &str) -> Result<Vec<u8>, Problem> {
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
        .map_err(|error| Problem::parameter(param, format!("{param} is not base64: {error}")))
}

/// What is left of the parts must be more than this share of their weights: below, it is noise.
const LEAST_REST: f64 = 1e-3;

/// The sum of unit vectors, each times its weight, as a unit vector.
pub(crate) fn combined(parts: &[(Vec<f32>, f64)]) -> Result<Vec<f32>, Problem> {
    if let [(vector, _)] = parts {
        return Ok(vector.clone());
    }
    let dimension = parts.first().map_or(0, |(vector, _)| vector.len());
    let mut sum = vec![0.0_f64; dimension];
    for (vector, weight) in parts {
        let length = length(vector.iter().copied().map(f64::from));
        for (sum, value) in sum.iter_mut().zip(vector) {
            *sum += weight * f64::from(*value) / length;
        }
    }
    let weights: f64 = parts.iter().map(|(_, weight)| weight.abs()).sum();
    let rest = length(sum.iter().copied());
    if !rest.is_finite() || rest <= LEAST_REST * weights {
        return Err(Problem::new(
            Code::CancelsOut,
            "what the hits are to look like and what they are to look less like cancel each other \
             out: leave one of them out, or add something else to look for",
        ));
    }
    Ok(sum.iter().map(|value| (value / rest) as f32).collect())
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
