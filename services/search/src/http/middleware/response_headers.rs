//! Headers that every response carries.

use std::sync::Arc;

use poem::http::{HeaderValue, header};
use poem::middleware::SetHeader;
use poem::{Endpoint, Request, Response};

pub(super) fn security_headers() -> SetHeader {
    SetHeader::new()
        .overriding(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .overriding(header::REFERRER_POLICY, "no-referrer")
        .overriding("cross-origin-resource-policy", "same-origin")
}

/// Responses describe the present. Only files and the page set their own lifetime.
pub(super) async fn forbid_caching_by_default<E: Endpoint>(
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let mut response = next.get_response(request).await;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}
