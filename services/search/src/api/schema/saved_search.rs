//! Saved searches and their matches.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::hit::BandBody;
use super::image::EXAMPLE_ID;
use super::query::QueryPart;
use crate::api::filter::FilterBody;

const EXAMPLE_SEARCH_ID: &str = "5f0c1b7a9e3d4c2b8a6f1e0d9c8b7a65";
const EXAMPLE_WEBHOOK: &str = "https://hooks.example.com/lookalike";

/// The query of a saved search, like the fields of a search with these names.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct SavedQuery {
    /// An image file in base64, as in a search. The service stores a copy of at most 512 × 512 pixels,
    /// from which another model can compute its vector.
    pub image: Option<String>,
    /// The id of an image in the index: 32 lower-case hexadecimal digits. The image itself is no match.
    pub id: Option<String>,
    /// A description of the picture, 1 to 1,000 characters on one line.
    pub text: Option<String>,
    /// Further parts that matches should look like; at most 32. Images named here are no matches.
    #[oai(validator(max_items = 32))]
    pub positive: Option<Vec<QueryPart>>,
    /// Parts that matches should look less like; at most 32.
    #[oai(validator(max_items = 32))]
    pub negative: Option<Vec<QueryPart>>,
}

impl Example for SavedQuery {
    fn example() -> Self {
        Self {
            id: Some(EXAMPLE_ID.into()),
            ..Self::default()
        }
    }
}

/// The address that gets the matches.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct WebhookRequest {
    /// An https address whose host the setting `webhooks.allowed_hosts` lists, at most 2,000
    /// characters.
    pub url: Option<String>,
}

impl Example for WebhookRequest {
    fn example() -> Self {
        Self {
            url: Some(EXAMPLE_WEBHOOK.into()),
        }
    }
}

/// A search to be saved. Either `min_score` or `band` is required.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct SavedSearchRequest {
    /// A name for people, 1 to 200 characters on one line.
    pub name: Option<String>,
    /// What matches look like.
    pub query: Option<SavedQuery>,
    /// Conditions for matches; none by default.
    pub filter: Option<FilterBody>,
    /// Pictures with at least this score match, −1 to 1.
    #[oai(validator(minimum(value = "-1"), maximum(value = "1")))]
    pub min_score: Option<f64>,
    /// Pictures with this band or a better one match. Only for a query of one picture, and a model with
    /// bands; `no_match` is refused.
    pub band: Option<BandBody>,
    /// An address that gets each match; none by default. Requires the scope `admin`.
    pub webhook: Option<WebhookRequest>,
}

impl Example for SavedSearchRequest {
    fn example() -> Self {
        Self {
            name: Some("Copies of the red chair".into()),
            query: Some(SavedQuery::example()),
            filter: Some(FilterBody::example()),
            min_score: None,
            band: Some(BandBody::NearDuplicate),
            webhook: Some(WebhookRequest::example()),
        }
    }
}

/// A part of a saved query: an image, an id or a text.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct SavedQueryPart {
    /// Whether the part is an uploaded image.
    pub is_image: bool,
    /// The id of an image in the index.
    pub id: Option<String>,
    /// The description of a picture.
    pub text: Option<String>,
    /// The relative weight, at most 100; below 0 if matches should look less like this part.
    pub weight: f64,
}

impl Example for SavedQueryPart {
    fn example() -> Self {
        Self {
            is_image: false,
            id: Some(EXAMPLE_ID.into()),
            text: None,
            weight: 1.0,
        }
    }
}

/// The webhook of a saved search.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Webhook", example)]
pub(crate) struct WebhookBody {
    /// The address that gets each match. API keys without the scope `admin` see scheme, host and port only:
    /// `https://hooks.example.com/...`.
    pub url: String,
    /// The key of the signatures (`X-Lookalike-Signature`). Only the answer to the creation has it.
    pub secret: Option<String>,
    /// `waiting` (no request was sent yet), `working`, `retrying` (the last request failed and is
    /// repeated) or `given_up` (requests failed for so long that a match was given up; newer ones are
    /// still sent).
    pub state: String,
    /// Failed requests since the last one that succeeded.
    pub failures: u32,
    /// Matches that were given up.
    pub given_up: u64,
    /// Why the last request failed.
    pub error: Option<String>,
    /// When a request last succeeded (RFC 3339, UTC).
    pub delivered_at: Option<String>,
    /// When a request last failed (RFC 3339, UTC).
    pub failed_at: Option<String>,
}

impl Example for WebhookBody {
    fn example() -> Self {
        Self {
            url: EXAMPLE_WEBHOOK.into(),
            secret: None,
            state: "working".into(),
            failures: 0,
            given_up: 0,
            error: None,
            delivered_at: Some("2026-05-02T14:11:10Z".into()),
            failed_at: None,
        }
    }
}

/// A saved search.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "SavedSearch", example)]
pub(crate) struct SavedSearchBody {
    /// 32 lower-case hexadecimal digits.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The parts of the query.
    pub query: Vec<SavedQueryPart>,
    /// Conditions for matches.
    pub filter: Option<FilterBody>,
    /// Pictures with at least this score match; null if a band decides.
    pub min_score: Option<f64>,
    /// Pictures with this band or a better one match; null if the score decides.
    pub band: Option<BandBody>,
    /// When it was saved (RFC 3339, UTC). Pictures that were indexed before are no matches until they
    /// are indexed again, for example because they were moved or changed.
    pub created_at: String,
    /// The number of stored matches.
    pub matches: u64,
    /// Why the search finds nothing now, for example because the model has changed; null if it works.
    pub problem: Option<String>,
    /// Where matches are sent.
    pub webhook: Option<WebhookBody>,
}

impl Example for SavedSearchBody {
    fn example() -> Self {
        Self {
            id: EXAMPLE_SEARCH_ID.into(),
            name: "Copies of the red chair".into(),
            query: vec![SavedQueryPart::example()],
            filter: Some(FilterBody::example()),
            min_score: None,
            band: Some(BandBody::NearDuplicate),
            created_at: "2026-05-01T08:00:00Z".into(),
            matches: 3,
            problem: None,
            webhook: Some(WebhookBody::example()),
        }
    }
}

/// All saved searches.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "SavedSearchList", example)]
pub(crate) struct SavedSearchListBody {
    /// Sorted by id.
    pub saved_searches: Vec<SavedSearchBody>,
}

impl Example for SavedSearchListBody {
    fn example() -> Self {
        Self {
            saved_searches: vec![SavedSearchBody::example()],
        }
    }
}

/// An image that a saved search found.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "SavedMatch", example)]
pub(crate) struct SavedMatchBody {
    /// The id of the match; the same in the request to the webhook.
    pub event_id: String,
    /// When the image was found (RFC 3339, UTC).
    pub at: String,
    /// The library of the image.
    pub library: String,
    /// The id of the image. The image may have left the index since.
    pub id: String,
    /// The path relative to the root of the library, when the image was found.
    pub path: String,
    /// BLAKE3 of the file's bytes, when the image was found.
    pub content_hash: String,
    /// Cosine of the angle between the two vectors, −1 to 1.
    pub score: f64,
    /// The meaning of the score, or null.
    pub band: Option<BandBody>,
    /// The address of the image, relative to the root of this service.
    pub image_url: String,
}

impl Example for SavedMatchBody {
    fn example() -> Self {
        Self {
            event_id: "17a2f0c9d1e34b00-42".into(),
            at: "2026-05-02T14:11:09Z".into(),
            library: "shop".into(),
            id: EXAMPLE_ID.into(),
            path: "chairs/red.jpg".into(),
            content_hash: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262".into(),
            score: 0.913_27,
            band: Some(BandBody::NearDuplicate),
            image_url: format!("/v1/images/{EXAMPLE_ID}"),
        }
    }
}

/// A page of the matches of a saved search.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct SavedMatchList {
    /// The oldest first.
    pub matches: Vec<SavedMatchBody>,
    /// For the next page, or null if this is the last one.
    pub cursor: Option<String>,
}

impl Example for SavedMatchList {
    fn example() -> Self {
        Self {
            matches: vec![SavedMatchBody::example()],
            cursor: None,
        }
    }
}
