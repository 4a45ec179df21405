//! Converts saved searches and matches to the types of the API.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lookalike_bus::StoredMatch;
use lookalike_vision::Band;
use reqwest::Url;
use serde_json::Value;

use crate::api::filter::FilterBody;
use crate::api::schema::{BandBody, SavedMatchBody, SavedQueryPart, SavedSearchBody, WebhookBody};
use crate::core::event_feed::format_position;
use crate::core::service::SearchService;
use crate::problem::Problem;
use crate::saved::record::{SavedInput, SavedPart, SavedWebhook, Threshold};
use crate::saved::store::{SavedSearch, SavedSearchList};
use crate::time::format_time;
use crate::webhook::state::WebhookState;

/// Webhooks whose state is read at the same time.
const MAX_CONCURRENT_READS: usize = 8;

/// How much of the address of a webhook a request may see. Its path or query may contain a secret.
#[derive(Debug, Clone, Copy)]
pub(super) enum UrlDetail {
    Whole,
    /// Scheme, host and port.
    Origin,
}

impl UrlDetail {
    fn shorten(self, url: &str) -> String {
        match self {
            Self::Whole => url.to_owned(),
            Self::Origin => {
                let origin = Url::parse(url).map(|url| url.origin().ascii_serialization());
                format!("{}/...", origin.unwrap_or_default())
            }
        }
    }
}

pub(super) async fn describe_searches(
    service: &SearchService,
    searches: &SavedSearchList,
    url_detail: UrlDetail,
) -> Result<Vec<SavedSearchBody>, Problem> {
    let counts = service.saved_searches()?.bus.count_all_matches().await?;
    // The futures own their searches: the compiler cannot prove that others may change threads.
    let searches: Vec<_> = searches.iter().map(Arc::clone).collect();
    let described = searches.into_iter().map(|search| {
        let matches = counts.get(&search.id).copied().unwrap_or(0);
        async move { describe_counted(service, &search, matches, url_detail).await }
    });
    stream::iter(described)
        .buffered(MAX_CONCURRENT_READS)
        .try_collect()
        .await
}

/// Describes a search without the secret of its webhook.
pub(super) async fn describe_search(
    service: &SearchService,
    search: &SavedSearch,
    url_detail: UrlDetail,
) -> Result<SavedSearchBody, Problem> {
    let saved = service.saved_searches()?;
    let matches = saved.bus.count_matches(&search.id).await?;
    describe_counted(service, search, matches, url_detail).await
}

async fn describe_counted(
    service: &SearchService,
    search: &SavedSearch,
    matches: u64,
    url_detail: UrlDetail,
) -> Result<SavedSearchBody, Problem> {
    let saved = service.saved_searches()?;
    let record = &search.record;
    let webhook = match &record.webhook {
        Some(webhook) => Some(describe_webhook(service, &search.id, webhook, url_detail).await?),
        None => None,
    };
    let (min_score, band) = match record.threshold {
        Threshold::MinScore(score) => (Some(score), None),
        Threshold::Band(band) => (None, Some(BandBody::from(band))),
    };
    Ok(SavedSearchBody {
        id: search.id.clone(),
        name: record.name.clone(),
        query: record.parts.iter().map(describe_part).collect(),
        filter: record.filter.clone().map(FilterBody),
        min_score,
        band,
        created_at: format_time(search.created_ns / 1_000_000),
        matches,
        problem: saved.store.problem_of(&search.id),
        webhook,
    })
}

fn describe_part(part: &SavedPart) -> SavedQueryPart {
    let (id, text) = match &part.input {
        SavedInput::Image { .. } => (None, None),
        SavedInput::Id(id) => (Some(id.clone()), None),
        SavedInput::Text(text) => (None, Some(text.clone())),
    };
    SavedQueryPart {
        is_image: matches!(part.input, SavedInput::Image { .. }),
        id,
        text,
        weight: part.weight,
    }
}

async fn describe_webhook(
    service: &SearchService,
    id: &str,
    webhook: &SavedWebhook,
    url_detail: UrlDetail,
) -> Result<WebhookBody, Problem> {
    let saved = service.saved_searches()?;
    let stored = saved.bus.read_webhook_state(id).await?;
    let state = WebhookState::decode(stored.as_deref());
    Ok(WebhookBody {
        url: url_detail.shorten(&webhook.url),
        secret: None,
        state: state.health().name().to_owned(),
        failures: state.failures,
        given_up: state.given_up,
        delivered_at: state.delivered_at_ms.map(format_time),
        failed_at: state.failed_at_ms.map(format_time),
        error: state.error,
    })
}

pub(super) fn to_match_body(found: StoredMatch, prefix: &str) -> SavedMatchBody {
    let record = found.record;
    let band = record.band.map(Value::String);
    let band: Option<Band> = band.and_then(|name| serde_json::from_value(name).ok());
    SavedMatchBody {
        event_id: format_position(&found.position),
        at: format_time(record.at_ms),
        library: record.library,
        image_url: format!("{prefix}/v1/images/{}", record.image_id),
        id: record.image_id,
        path: record.path,
        content_hash: record.content_hash,
        score: f64::from(record.score),
        band: band.map(BandBody::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_of_webhooks_are_secrets() {
        for (url, shown) in [
            (
                "https://hooks.example.com/T0/s3cret",
                "https://hooks.example.com/...",
            ),
            (
                "https://hooks.example.com:8443/?token=s3cret#s3cret",
                "https://hooks.example.com:8443/...",
            ),
            ("http://[::1]:9000/", "http://[::1]:9000/..."),
            ("s3cret", "/..."),
        ] {
            assert_eq!(UrlDetail::Origin.shorten(url), shown);
            assert_eq!(UrlDetail::Whole.shorten(url), url);
        }
    }
}
