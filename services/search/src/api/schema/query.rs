//! A question as it comes: pictures, images of the index, and words, alone or together.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::{ConsistencyBody, EXAMPLE_ID, FilterBody};

/// Words, a picture or an image of the index, as a part of a question: exactly one of `id`, `text`
/// and `to_image_body`.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct QueryPart {
    /// The id of an image in the index: 32 lower-case hexadecimal digits.
    pub id: Option<String>,
    /// Words, 1 to 1,000 characters on one line.
    pub text: Option<String>,
    /// A picture in base64.
    pub image: Option<String>,
    /// How much it counts beside the others: above 0, at most 100; 1 unless given.
    #[oai(validator(minimum(value = "0", exclusive = "true"), maximum(value = "100")))]
    pub weight: Option<f64>,
}

impl Example for QueryPart {
    fn example() -> Self {
        Self {
            id: Some(EXAMPLE_ID.into()),
            weight: Some(0.5),
            ..Self::default()
        }
    }
}

/// A question: a picture, the id of one that is in the index, words, or several of them.
///
/// Each part has a vector of unit length. The hits are nearest to the sum of those of `to_image_body`,
/// `id`, `text` (each with weight 1) and `positive`, less those of `negative`, each times its
/// weight: more of this, less of that. At least one of the former is needed.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct SearchRequest {
    /// A picture in base64 (with or without padding; a `data:` URL is understood as well). All
    /// pictures of a question together have at most 64 MiB decoded unless set otherwise.
    pub image: Option<String>,
    /// The id of an image in the index: 32 lower-case hexadecimal digits. It is found as well,
    /// usually first.
    pub id: Option<String>,
    /// What the picture shows in words, 1 to 1,000 characters on one line. Only for a model with a
    /// text side (`model.text` of `/v1/stats`); others refuse it with `model_without_text`.
    pub text: Option<String>,
    /// What the hits are to look like, beside `to_image_body`, `id` and `text`. Images that are named here
    /// are found as well. This list and `negative` have at most 32 entries together.
    #[oai(validator(max_items = 32))]
    pub positive: Option<Vec<QueryPart>>,
    /// What the hits are to look less like. Images that are named here are not left out, but move
    /// down.
    #[oai(validator(max_items = 32))]
    pub negative: Option<Vec<QueryPart>>,
    /// How many hits at most, 1 to 1,000; 12 unless given.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub limit: Option<u32>,
    /// Which images are looked at; all unless given.
    pub filter: Option<FilterBody>,
    /// Only hits of at least this score, −1 to 1. Scores of words, and of several parts together,
    /// are on another scale than those of two pictures: mostly far lower.
    #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
    pub min_score: Option<f64>,
    /// How fresh the answer must be; `bounded` unless given.
    pub consistency: Option<ConsistencyBody>,
}

impl Example for SearchRequest {
    fn example() -> Self {
        Self {
            id: Some(EXAMPLE_ID.into()),
            negative: Some(vec![QueryPart::example()]),
            limit: Some(12),
            filter: Some(FilterBody::example()),
            min_score: Some(0.5),
            ..Self::default()
        }
    }
}
