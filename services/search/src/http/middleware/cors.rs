//! Lets pages of listed sites use the API (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! poem's own middleware refuses every other origin, also that of the page of this service.

use std::sync::Arc;

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, Request, Response};
use serde::{Deserialize, Serialize};

/// How long a browser may remember what it asked for, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// What a page may read in addition to the body.
const EXPOSED_HEADERS: &str = "etag, retry-after, x-request-id";

const ALLOWED_HEADERS: &str = "authorization, content-type, x-request-id";

/// The origin of a site: scheme and host, and the port if it is not the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(HeaderValue);

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no origin: write scheme and host, such as https://pictures.example or \
                 http://localhost:3000, without a path"
            )
        };
        let lower = text.to_ascii_lowercase();
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| lower.strip_prefix(scheme))
            .ok_or_else(wrong)?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        HeaderValue::from_str(&lower).map(Self).map_err(|_| wrong())
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        String::from_utf8_lossy(origin.0.as_bytes()).into_owned()
    }
}

/// Marks a request that a page of a listed site sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct FromAllowedOrigin;

pub(super) async fn allow_origins<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    origins: Arc<[Origin]>,
) -> poem::Result<Response> {
    if origins.is_empty() {
        return Ok(next.get_response(request).await);
    }
    let sent = request.headers().get(header::ORIGIN).cloned();
    let allowed = sent.filter(|sent| origins.iter().any(|origin| origin.0 == *sent));
    let mut response = match &allowed {
        Some(_) if is_preflight(&request) => answer_preflight(),
        Some(_) => {
            request.set_data(FromAllowedOrigin);
            next.get_response(request).await
        }
        None => next.get_response(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED_HEADERS),
        );
    }
    Ok(response)
}

fn is_preflight(request: &Request) -> bool {
    let asks = request
        .headers()
        .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    *request.method() == Method::OPTIONS && asks
}

fn answer_preflight() -> Response {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, PUT, DELETE",
        )
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_can_be_listed() {
        for (text, expected) in [
            ("https://Pictures.example", "https://pictures.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            let origin = Origin::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(origin), expected);
        }
        for text in [
            "",
            "*",
            "null",
            "pictures.example",
            "https://",
            "https://a/b",
            "https://a/",
            "ftp://a",
        ] {
            let error = Origin::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains("is no origin"), "{text}: {error}");
        }
    }
}
