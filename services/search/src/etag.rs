//! Entity tags: whether a client has the current version of a resource.

use poem::http::HeaderMap;
use poem::web::headers::{ETag, HeaderMapExt as _, IfNoneMatch};

/// Returns the entity tag with this value, which must not contain a quotation mark.
pub(crate) fn parse_etag(value: &str) -> Option<ETag> {
    format!("\"{value}\"").parse().ok()
}

/// Whether the header `If-None-Match` lists this version.
pub(crate) fn etag_matches(headers: &HeaderMap, etag: &ETag) -> bool {
    headers
        .typed_get::<IfNoneMatch>()
        .is_some_and(|condition| !condition.precondition_passes(etag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::{HeaderValue, header};

    #[test]
    fn versions_are_compared() {
        let etag = parse_etag("b").unwrap();
        let matches = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            }
            etag_matches(&headers, &etag)
        };
        assert!(matches(Some("\"a\", W/\"b\"")));
        assert!(!matches(Some("\"a\"")));
        assert!(!matches(None));
    }
}
