//! Search requests.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::consistency::ConsistencyBody;
use super::image::EXAMPLE_ID;
use crate::api::filter::FilterBody;

/// Which hits are folded into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "HitGrouping", rename_all = "snake_case")]
pub(crate) enum GroupBody {
    /// Identical files.
    Content,
    /// Identical files, the same picture in other files, turned copies and near-duplicates.
    Near,
}

/// A rectangle of the upright picture. All numbers are fractions of its width or height. The part beyond the
/// edge of the picture is ignored. The rest must have at least 16 pixels on each side.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Region", deny_unknown_fields, example)]
pub(crate) struct RegionBody {
    /// The left edge. A region that begins at 1 has no area and is refused.
    #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
    pub x: f64,
    /// The upper edge. A region that begins at 1 has no area and is refused.
    #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
    pub y: f64,
    /// Above 0, at most 1.
    #[oai(validator(minimum(value = "0", exclusive = "true"), maximum(value = "1")))]
    pub width: f64,
    /// Above 0, at most 1.
    #[oai(validator(minimum(value = "0", exclusive = "true"), maximum(value = "1")))]
    pub height: f64,
}

impl Example for RegionBody {
    fn example() -> Self {
        Self {
            x: 0.25,
            y: 0.1,
            width: 0.5,
            height: 0.5,
        }
    }
}

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
    /// Compares only this region of the picture of `image` or `id`, as the field `region` of a search.
    pub region: Option<RegionBody>,
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
    /// Compares only this region of the picture of `image` or `id`, of which exactly one must be given. The
    /// region counts as a picture of its own: hits and their bands are as if a file with only this region
    /// had been uploaded. For an `id`, the service reads the original file.
    pub region: Option<RegionBody>,
    /// Whether turned and mirrored copies of the picture are found like the picture itself. The score of a
    /// hit is the best one of all orientations. Needs a query by a single picture: only `image` or only `id`.
    pub orientations: Option<bool>,
    /// Folds hits that show the same picture into the one that comes first; the others are in its field
    /// `folded`. `limit` counts hits after folding. By default, nothing is folded.
    pub group: Option<GroupBody>,
    /// The `cursor` of the previous answer, to get the next hits. The query and all conditions must be the
    /// same as in the request before; only `limit` and `consistency` may differ.
    #[oai(validator(max_length = 40000))]
    pub cursor: Option<String>,
    /// The maximum number of hits, 1 to 1,000; 12 by default.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub limit: Option<u32>,
    /// Conditions for hits; none by default.
    pub filter: Option<FilterBody>,
    /// Only hits with at least this score, −1 to 1. Scores of texts and of combined queries are on
    /// another scale than those of two images: usually much lower.
    #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
    pub min_score: Option<f64>,
    /// Only hits whose score is at least this share of the best score of the search, 0 to 1. If the best
    /// score is negative, only hits with a score of at least the best score divided by this share: the best
    /// hit always remains.
    #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
    pub relative_score: Option<f64>,
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
