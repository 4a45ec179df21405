//! What several operations share: access to the service, and examples of parameters.

use std::sync::Arc;

use poem::web::Data;

use super::schema::{EXAMPLE_ID, EXAMPLE_SEARCH_CURSOR};
use crate::core::service::SearchService;

pub(crate) type ServiceData<'a> = Data<&'a Arc<SearchService>>;

pub(crate) fn example_id() -> String {
    EXAMPLE_ID.into()
}

pub(crate) fn example_cursor() -> Option<String> {
    Some(EXAMPLE_ID.into())
}

pub(crate) fn example_search_cursor() -> Option<String> {
    Some(EXAMPLE_SEARCH_CURSOR.into())
}

pub(crate) fn example_region() -> Option<String> {
    Some("0.25,0.1,0.5,0.5".into())
}

pub(crate) fn example_library() -> Option<String> {
    Some("shop".into())
}

pub(crate) fn example_limit() -> Option<u32> {
    Some(12)
}

pub(crate) fn example_filter() -> Option<String> {
    Some(r#"{"format": "jpeg", "width": {"gte": 1000}}"#.into())
}
