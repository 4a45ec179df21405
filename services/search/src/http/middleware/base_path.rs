//! The path under which a proxy serves this service.
//!
//! A proxy may forward requests with that path or without it; both are understood. Links in
//! responses start with it.

use std::sync::Arc;

use poem::http::{StatusCode, Uri, header, uri::PathAndQuery};
use poem::{Endpoint, Request, Response};
use serde::{Deserialize, Serialize};

const PREFIX_HEADER: &str = "x-forwarded-prefix";
const MAX_CHARS: usize = 200;

tokio::task_local! {
    /// The path in front of the links of the response to the request of this task.
    static LINK_PREFIX: BasePath;
}

/// A path without a slash at its end: empty, or such as `/pictures`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BasePath(String);

impl TryFrom<String> for BasePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let is_legal = |part: &str| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(legal)
        };
        let is_path = path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(is_legal));
        if path.is_empty() || (is_path && path.len() <= MAX_CHARS) {
            return Ok(Self(path.to_owned()));
        }
        Err(format!(
            "{text:?} is no base path: write it as /pictures, with letters, digits and the \
             characters - . _ ~"
        ))
    }
}

impl From<BasePath> for String {
    fn from(path: BasePath) -> Self {
        path.0
    }
}

impl BasePath {
    /// Removes this path from the front of a request's path.
    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.0.as_str())?;
        (!self.0.is_empty() && (rest.is_empty() || rest.starts_with('/'))).then_some(rest)
    }
}

/// Returns the path in front of every link in the response to the current request.
pub(crate) fn link_prefix() -> String {
    LINK_PREFIX
        .try_with(|prefix| prefix.0.clone())
        .unwrap_or_default()
}

pub(super) async fn serve_below_base_path<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    configured: Arc<BasePath>,
) -> poem::Result<Response> {
    // A proxy that sets the header knows best. A wrong value can only harm the client that sent it.
    let forwarded = request
        .header(PREFIX_HEADER)
        .and_then(|value| BasePath::try_from(value.to_owned()).ok());
    let prefix = forwarded.unwrap_or_else(|| BasePath::clone(&configured));
    match prefix.strip(request.uri().path()) {
        // Relative links of the page need the slash.
        Some("") => return Ok(redirect_to_root(&prefix)),
        Some(rest) => {
            let uri = replace_path(request.uri(), rest);
            *request.uri_mut() = uri;
        }
        None => {}
    }
    let response = LINK_PREFIX.scope(prefix, next.get_response(request)).await;
    Ok(response)
}

fn redirect_to_root(prefix: &BasePath) -> Response {
    Response::builder()
        .status(StatusCode::PERMANENT_REDIRECT)
        .header(header::LOCATION, format!("{}/", prefix.0))
        .finish()
}

fn replace_path(uri: &Uri, path: &str) -> Uri {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use poem::{Route, handler};

    use super::*;

    #[handler]
    fn show(uri: &Uri) -> String {
        format!("{uri} {}", link_prefix())
    }

    #[test]
    fn only_paths_can_be_set() {
        for (text, expected) in [
            ("", ""),
            ("/", ""),
            ("/a/", "/a"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ] {
            let path = BasePath::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(path), expected);
        }
        for text in [
            "a",
            "//a",
            "/a//b",
            "/../a",
            "/a b",
            "/a\"",
            "/ä",
            "https://a",
            &"/a".repeat(101),
        ] {
            assert!(BasePath::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn requests_and_links_have_the_base_path() {
        let configured = Arc::new(BasePath::try_from("/base".to_owned()).unwrap());
        let app = Route::new().at("/*path", show).at("/", show);
        let app = poem::EndpointExt::around(app, move |next, request| {
            serve_below_base_path(next, request, Arc::clone(&configured))
        });
        for (path, forwarded, expected) in [
            ("/base/v1/x?y=1", None, "/v1/x?y=1 /base"),
            ("/v1/x?y=1", None, "/v1/x?y=1 /base"),
            ("/base/", None, "/ /base"),
            ("/basement", None, "/basement /base"),
            ("/other/x", Some("/other/"), "/x /other"),
            ("/x", Some("/other"), "/x /other"),
            ("/x", Some("//evil.example"), "/x /base"),
        ] {
            let mut request = Request::builder().uri(path.parse().unwrap());
            if let Some(forwarded) = forwarded {
                request = request.header(PREFIX_HEADER, forwarded);
            }
            let response = app.get_response(request.finish()).await;
            let body = response.into_body().into_string().await.unwrap();
            assert_eq!(body, expected, "{path} {forwarded:?}");
        }
        let request = Request::builder().uri("/base".parse().unwrap()).finish();
        let response = app.get_response(request).await;
        assert_eq!(response.header("location"), Some("/base/"));
        assert_eq!(link_prefix(), "", "outside a request");
    }
}
