//! Search requests.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::consistency::ConsistencyBody;
use super::image::EXAMPLE_ID;
use crate::api::filter::FilterBody;

/// A part of a query: exactly one of `id`, `text` and `image`.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct QueryPart {
    /// The id of an image in the index: 32 lower-case hexadecimal digits.
    pub id: Option<String>,
    /// A description of 1 to 1,000 characters on one line.
    pub text: Option<String>,
    /// An image file, as in the field `image` of a search.
    pub image: Option<String>,
    /// The relative weight: above 0, at most 100; 1 by default.
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

/// A search: by an image, an id of an indexed image, a text, or several of them.
///
/// Each part has a vector of unit length. The hits are nearest to the weighted sum of the vectors
/// of `image`, `id`, `text` (each with weight 1) and `positive`, minus those of `negative`. At
/// least one part other than `negative` is required.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct SearchRequest {
    /// An image file in base64, in the standard or the URL-safe alphabet, with or without padding
    /// and line breaks, or as a `data:` URL. By default, all image files of a request together may
    /// have at most 64 MiB.
    pub image: Option<String>,
    /// The id of an image in the index: 32 lower-case hexadecimal digits. The image is a hit itself,
    /// usually the first one.
    pub id: Option<String>,
    /// A description of the picture, 1 to 1,000 characters on one line. Needs a model with a text
    /// encoder (`model.text` of `/v1/stats`); other models refuse it with `model_without_text`.
    pub text: Option<String>,
    /// Further parts that the hits should look like; at most 32. Images named here are hits
    /// themselves.
    #[oai(validator(max_items = 32))]
    pub positive: Option<Vec<QueryPart>>,
    /// Parts that the hits should look less like; at most 32. Images named here rank lower but are
    /// not excluded.
    #[oai(validator(max_items = 32))]
    pub negative: Option<Vec<QueryPart>>,
    /// The maximum number of hits, 1 to 1,000; 12 by default.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub limit: Option<u32>,
    /// Conditions for hits; none by default.
    pub filter: Option<FilterBody>,
    /// Only hits with at least this score, −1 to 1. Scores of texts and of combined queries are on
    /// another scale than those of two images: usually much lower.
    #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
    pub min_score: Option<f64>,
    /// How recent the data must be; `bounded` by default.
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
