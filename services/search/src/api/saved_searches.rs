//! The operations on saved searches.

mod convert;
mod create;

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::convert::{check_limit, parse_image_id};
use super::json_body::JsonWithImages;
use super::params::{ServiceData, example_limit};
use super::refusals::{SaveRefusal, SavedSearchRefusal};
use super::responses::{CreatedAnswer, EmptyAnswer, JsonAnswer};
use super::schema::{SavedMatchList, SavedSearchBody, SavedSearchListBody, SavedSearchRequest};
use super::tags::Tag;
use crate::core::service::SearchService;
use crate::http::{AccessControl, link_prefix};
use crate::keys::Scope;
use crate::problem::{Code, Problem};
use crate::saved::store::SavedSearch;
use convert::{UrlDetail, describe_search, describe_searches, to_match_body};
use create::create_search;

pub(crate) struct SavedSearchApi;

fn example_search_id() -> String {
    "5f0c1b7a9e3d4c2b8a6f1e0d9c8b7a65".into()
}

fn example_match_cursor() -> Option<String> {
    Some("42".into())
}

#[OpenApi]
impl SavedSearchApi {
    /// List the saved searches
    #[oai(
        path = "/v1/saved-searches",
        method = "get",
        operation_id = "listSavedSearches",
        tag = "Tag::SavedSearches"
    )]
    async fn list_saved_searches(
        &self,
        request: &poem::Request,
        service: ServiceData<'_>,
        access: Data<&Arc<AccessControl>>,
    ) -> Result<JsonAnswer<SavedSearchListBody>, SavedSearchRefusal> {
        let saved = service.saved_searches()?;
        let searches = saved.store.load().await.map_err(Problem::from)?;
        let url_detail = webhook_url_detail(&access, request);
        let saved_searches = describe_searches(&service, &searches, url_detail).await?;
        Ok(JsonAnswer(SavedSearchListBody { saved_searches }))
    }

    /// Save a search
    ///
    /// From now on, every new or changed picture is compared with it. Each match is stored once for
    /// each image and content, appears in `/v1/events` and in the list of matches, and is sent to the
    /// webhook, if there is one. A search with a webhook requires the scope `admin`.
    #[oai(
        path = "/v1/saved-searches",
        method = "post",
        operation_id = "createSavedSearch",
        tag = "Tag::SavedSearches"
    )]
    async fn create_saved_search(
        &self,
        request: &poem::Request,
        service: ServiceData<'_>,
        access: Data<&Arc<AccessControl>>,
        body: JsonWithImages<SavedSearchRequest>,
    ) -> Result<CreatedAnswer<SavedSearchBody>, SaveRefusal> {
        service.saved_searches()?;
        if body.request.webhook.is_some() {
            check_webhook_scope(&access, request)?;
        }
        let created = create_search(&service, body.request).await?;
        // The query has used the memory of the request until now.
        drop(body.permit);
        Ok(CreatedAnswer(created))
    }

    /// One saved search
    #[oai(
        path = "/v1/saved-searches/:id",
        method = "get",
        operation_id = "getSavedSearch",
        tag = "Tag::SavedSearches"
    )]
    async fn get_saved_search(
        &self,
        request: &poem::Request,
        service: ServiceData<'_>,
        access: Data<&Arc<AccessControl>>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_search_id")]
        id: Path<String>,
    ) -> Result<JsonAnswer<SavedSearchBody>, SavedSearchRefusal> {
        let search = find_search(&service, &id).await?;
        let url_detail = webhook_url_detail(&access, request);
        let described = describe_search(&service, &search, url_detail).await?;
        Ok(JsonAnswer(described))
    }

    /// Delete a saved search and its matches
    ///
    /// If the search has a webhook, this requires the scope `admin`.
    #[oai(
        path = "/v1/saved-searches/:id",
        method = "delete",
        operation_id = "deleteSavedSearch",
        tag = "Tag::SavedSearches"
    )]
    async fn delete_saved_search(
        &self,
        request: &poem::Request,
        service: ServiceData<'_>,
        access: Data<&Arc<AccessControl>>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_search_id")]
        id: Path<String>,
    ) -> Result<EmptyAnswer, SavedSearchRefusal> {
        let search = find_search(&service, &id).await?;
        if search.record.webhook.is_some() {
            check_webhook_scope(&access, request)?;
        }
        let deleted = service.saved_searches()?.store.delete(&search.id).await;
        deleted.map_err(Problem::from)?;
        Ok(EmptyAnswer)
    }

    /// The images that a saved search found
    ///
    /// The oldest come first. Old matches are dropped: `saved_searches.max_match_age` and
    /// `saved_searches.max_matches_bytes` set how many are kept.
    #[oai(
        path = "/v1/saved-searches/:id/matches",
        method = "get",
        operation_id = "listMatches",
        tag = "Tag::SavedSearches"
    )]
    async fn list_matches(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_search_id")]
        id: Path<String>,
        /// The maximum number of matches, 1 to 1,000; 12 by default.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// The `cursor` of the previous page.
        #[oai(example = "example_match_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<SavedMatchList>, SavedSearchRefusal> {
        let saved = service.saved_searches()?;
        let limit = check_limit(limit.0, &service.settings)?;
        let after = cursor.0.as_deref().map(parse_cursor).transpose()?;
        let search = find_search(&service, &id).await?;
        let page = saved
            .bus
            .read_match_page(&search.id, after.unwrap_or(0), limit)
            .await
            .map_err(Problem::from)?;
        let last = page.matches.last().filter(|_| page.more);
        let cursor = last.map(|found| found.position.sequence.to_string());
        let prefix = link_prefix();
        let matches = page.matches.into_iter();
        let matches = matches.map(|found| to_match_body(found, &prefix)).collect();
        Ok(JsonAnswer(SavedMatchList { matches, cursor }))
    }
}

/// Returns how much of the addresses of webhooks a request may see.
fn webhook_url_detail(access: &AccessControl, request: &poem::Request) -> UrlDetail {
    match access.permits(request, Scope::Admin) {
        true => UrlDetail::Whole,
        false => UrlDetail::Origin,
    }
}

/// A webhook is a way out of the network of this service.
fn check_webhook_scope(access: &AccessControl, request: &poem::Request) -> Result<(), Problem> {
    access.check_scope(
        request,
        Scope::Admin,
        "saved searches with a webhook may be created and deleted with it only",
    )
}

async fn find_search(service: &SearchService, id: &str) -> Result<Arc<SavedSearch>, Problem> {
    let saved = service.saved_searches()?;
    let id = parse_image_id("id", id)?;
    saved.store.find(&id).await?.ok_or_else(|| {
        Problem::new(
            Code::NoSuchSavedSearch,
            format!("no saved search has the id {id}; GET /v1/saved-searches lists them"),
        )
    })
}

fn parse_cursor(text: &str) -> Result<u64, Problem> {
    let is_number = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or_else(|| {
        Problem::invalid_parameter("cursor", "cursor is not the cursor of a page of matches")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_numbers() {
        assert_eq!(parse_cursor("42").unwrap(), 42);
        for text in ["", "-1", "+1", "x", " 1", "99999999999999999999"] {
            let problem = parse_cursor(text).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("cursor"), "{text}");
        }
    }
}
