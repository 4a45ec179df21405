//! Checks a search to be saved, computes its vector and stores it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lookalike_bus::Error;
use lookalike_chassis::settings::size::format_size;
use lookalike_vision::Band;
use rand::RngCore as _;

use super::convert::{UrlDetail, describe_search};
use crate::api::convert::check_min_score;
use crate::api::filter::to_row_filter;
use crate::api::schema::{
    BandBody, SavedQuery, SavedSearchBody, SavedSearchRequest, SearchRequest, WebhookRequest,
};
use crate::api::search_request::parse_query;
use crate::core::query::{ParsedQuery, QueryInput};
use crate::core::service::SearchService;
use crate::core::visible::model::VisibleModel;
use crate::problem::{Code, Problem};
use crate::saved::query_vector::compute_query_vector;
use crate::saved::record::{SavedInput, SavedPart, SavedSearchRecord, SavedWebhook, Threshold};

const MAX_NAME_CHARACTERS: usize = 200;

/// The longer side of the stored copy of an uploaded picture, in pixels. Networks read less.
const STORED_PICTURE_SIDE: u32 = 512;

pub(super) async fn create_search(
    service: &SearchService,
    request: SavedSearchRequest,
) -> Result<SavedSearchBody, Problem> {
    let saved = service.saved_searches()?;
    let name = check_name(request.name)?;
    let threshold = check_threshold(request.min_score, request.band)?;
    let webhook = check_webhook(service, request.webhook)?;
    to_row_filter(service, request.filter.as_ref()).await?;
    let query = parse_saved_query(service, request.query)?;
    let serving = service.load_model();
    check_band(&serving, threshold, &query)?;
    let searches = saved.store.load().await?;
    let max_searches = saved.store.settings.max_searches;
    if searches.len() >= max_searches {
        let detail = format!(
            "{max_searches} searches are saved already (saved_searches.max_searches): delete one, \
             or raise this setting"
        );
        return Err(Problem::new(Code::TooManySavedSearches, detail));
    }
    let parts = store_parts(service, &query).await?;
    let vector = compute_query_vector(service, &serving, query.parts).await;
    let record = SavedSearchRecord {
        name,
        parts,
        filter: request.filter.map(|filter| filter.0),
        threshold,
        webhook,
        vector: vector.map_err(within_query)?,
        created_ns: None,
    };
    store_record(service, &record).await
}

async fn store_record(
    service: &SearchService,
    record: &SavedSearchRecord,
) -> Result<SavedSearchBody, Problem> {
    let saved = service.saved_searches()?;
    let bytes = record.encode().len();
    let max_bytes = saved.store.settings.search_bytes();
    if bytes > max_bytes {
        let detail = format!(
            "the search needs {bytes} bytes; the limit is {} (saved_searches.max_search_bytes): use \
             fewer pictures, or pictures of the index by their ids",
            format_size(max_bytes as u64)
        );
        return Err(Problem::new(Code::UploadTooLarge, detail).with_param("query"));
    }
    let id = new_search_id();
    match saved.store.create(&id, record).await {
        Ok(()) => {}
        Err(Error::StreamFull) => {
            return Err(Problem::new(
                Code::TooManySavedSearches,
                "the saved searches use all the space that they may use (saved_searches.max_bytes): \
                 delete some, or raise this setting",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    let stored = saved.store.find(&id).await?;
    let stored = stored.ok_or_else(|| {
        Problem::new(
            Code::QueueUnavailable,
            "the saved search was deleted at once",
        )
    })?;
    let mut body = describe_search(service, &stored, UrlDetail::Whole).await?;
    if let (Some(body), Some(webhook)) = (&mut body.webhook, &record.webhook) {
        body.secret = Some(webhook.secret.clone());
    }
    Ok(body)
}

/// Returns 32 hexadecimal digits.
fn new_search_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Returns the key of a webhook's signatures: 256 random bits.
fn new_secret() -> String {
    let mut bytes = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    format!("whsec_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn check_name(name: Option<String>) -> Result<String, Problem> {
    let refuse = |detail: String| Err(Problem::invalid_parameter("name", detail));
    let name = name.unwrap_or_default();
    let name = name.trim();
    let count = name.chars().count();
    if count == 0 {
        return refuse("a saved search needs a name".into());
    }
    if count > MAX_NAME_CHARACTERS {
        return refuse(format!(
            "the name has {count} characters; the limit is {MAX_NAME_CHARACTERS}"
        ));
    }
    if name.chars().any(char::is_control) {
        return refuse("the name contains a control character: write it on one line".into());
    }
    Ok(name.to_owned())
}

fn check_threshold(min_score: Option<f64>, band: Option<BandBody>) -> Result<Threshold, Problem> {
    check_min_score(min_score)?;
    match (min_score, band.map(Band::from)) {
        (Some(score), None) => Ok(Threshold::MinScore(score)),
        (None, Some(Band::NoMatch)) => Err(Problem::invalid_parameter(
            "band",
            "every picture has the band no_match or a better one: choose similar or better",
        )),
        (None, Some(band)) => Ok(Threshold::Band(band)),
        (None, None) => Err(Problem::invalid_parameter(
            "min_score",
            "a saved search needs min_score or band: how similar pictures must be",
        )),
        (Some(_), Some(_)) => Err(Problem::invalid_parameter(
            "band",
            "a saved search has either min_score or band, not both",
        )),
    }
}

/// Bands hold for the scores of two pictures only.
fn check_band(
    serving: &VisibleModel,
    threshold: Threshold,
    query: &ParsedQuery,
) -> Result<(), Problem> {
    if !matches!(threshold, Threshold::Band(_)) {
        return Ok(());
    }
    let model = &serving.description;
    if model.bands.is_none() {
        let detail = format!("the model {} has no bands: use min_score", model.name);
        return Err(Problem::invalid_parameter("band", detail));
    }
    match query.is_single_image() {
        true => Ok(()),
        false => Err(Problem::invalid_parameter(
            "band",
            "bands hold for a query of one picture only: use min_score with texts and with several \
             parts",
        )),
    }
}

fn check_webhook(
    service: &SearchService,
    webhook: Option<WebhookRequest>,
) -> Result<Option<SavedWebhook>, Problem> {
    let Some(webhook) = webhook else {
        return Ok(None);
    };
    let refuse = |detail: String| Problem::invalid_parameter("webhook.url", detail);
    let url = webhook.url.unwrap_or_default();
    let saved = service.saved_searches()?;
    let checked = saved.webhooks.rules().check_url(&url);
    let url =
        checked.map_err(|reason| refuse(format!("matches cannot be sent there: {reason}")))?;
    Ok(Some(SavedWebhook {
        url: url.to_string(),
        secret: new_secret(),
    }))
}

fn parse_saved_query(
    service: &SearchService,
    query: Option<SavedQuery>,
) -> Result<ParsedQuery, Problem> {
    let query = query.ok_or_else(|| {
        Problem::invalid_parameter(
            "query",
            "a saved search needs a query, such as {\"id\": \"…\"} or {\"image\": \"…\"}",
        )
    })?;
    let mut request = SearchRequest {
        image: query.image,
        id: query.id,
        text: query.text,
        positive: query.positive,
        negative: query.negative,
        ..SearchRequest::default()
    };
    parse_query(&mut request, &service.settings).map_err(within_query)
}

/// Names a parameter as a part of `query`.
fn within_query(problem: Problem) -> Problem {
    match &problem.param {
        Some(param) => {
            let param = format!("query.{param}");
            problem.with_param(param)
        }
        None => problem,
    }
}

/// Returns the parts as they are stored: uploaded pictures as small copies.
async fn store_parts(
    service: &SearchService,
    query: &ParsedQuery,
) -> Result<Vec<SavedPart>, Problem> {
    let mut parts = Vec::with_capacity(query.parts.len());
    for part in &query.parts {
        let input = match &part.input {
            QueryInput::Id(id) => SavedInput::Id(id.clone()),
            QueryInput::Text(text) => SavedInput::Text(text.as_str().to_owned()),
            QueryInput::Image(bytes) => {
                let (bytes, limits) = (bytes.clone(), service.limits.clone());
                let copy = move || {
                    lookalike_vision::encode_thumbnail(&bytes, STORED_PICTURE_SIDE, &limits)
                };
                let jpeg = service.search_decodes.run_decode(copy).await?;
                let named = |error| within_query(Problem::from(error).about_image(&part.param));
                SavedInput::Image {
                    jpeg: jpeg.map_err(named)?,
                }
            }
        };
        parts.push(SavedPart {
            input,
            weight: part.weight,
        });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lines_of_text() {
        let name = |text: &str| check_name(Some(text.to_owned()));
        assert_eq!(name(" red chairs \n").unwrap(), "red chairs");
        assert!(name(&"ü".repeat(200)).is_ok());
        for text in ["", "  ", "a\nb", "a\u{1b}b", &"x".repeat(201)] {
            let problem = name(text).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("name"), "{text:?}");
        }
        assert!(check_name(None).is_err());
    }

    #[test]
    fn exactly_one_threshold_is_needed() {
        let param = |min_score, band| {
            let checked = check_threshold(min_score, band);
            checked.map_err(|problem| problem.param.unwrap_or_default())
        };
        assert_eq!(param(Some(0.5), None), Ok(Threshold::MinScore(0.5)));
        let band = Some(BandBody::NearDuplicate);
        assert_eq!(param(None, band), Ok(Threshold::Band(Band::NearDuplicate)));
        assert_eq!(param(None, None), Err("min_score".into()));
        assert_eq!(param(Some(0.5), band), Err("band".into()));
        assert_eq!(param(Some(1.5), None), Err("min_score".into()));
        assert_eq!(param(Some(f64::NAN), None), Err("min_score".into()));
        assert_eq!(param(None, Some(BandBody::NoMatch)), Err("band".into()));
    }

    #[test]
    fn ids_and_secrets_are_random() {
        let (id, secret) = (new_search_id(), new_secret());
        assert_eq!(id.len(), 32);
        assert_ne!(id, new_search_id());
        assert_eq!(secret.len(), 49);
        assert_ne!(secret, new_secret());
    }
}
