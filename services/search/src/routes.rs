//! The patterns of the paths that this service serves: a fixed set of labels, because a metric's
//! labels must not grow with the paths that clients request.

/// Every result of [`route_pattern`].
pub(crate) const ROUTES: [&str; 33] = [
    "/",
    "/v1/search",
    "/v1/search/image",
    "/v1/images",
    "/v1/images/{id}",
    "/v1/images/{id}/similar",
    "/v1/images/{id}/content",
    "/v1/images/{id}/thumbnail",
    "/v1/uploads/{id}",
    "/v1/facets",
    "/v1/duplicates",
    "/v1/compare",
    "/v1/saved-searches",
    "/v1/saved-searches/{id}",
    "/v1/saved-searches/{id}/matches",
    "/v1/stats",
    "/v1/libraries",
    "/v1/libraries/{name}/scan",
    "/v1/libraries/{name}/confirm",
    "/v1/failures",
    "/v1/failures/retry",
    "/v1/failures/discard",
    "/v1/failures/{id}/preview",
    "/v1/why",
    "/v1/session",
    "/v1/events",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/page",
    "other",
];

/// Returns the pattern that a path matches.
pub(crate) fn route_pattern(path: &str) -> &'static str {
    let parts: Vec<&str> = path.splitn(7, '/').skip(1).collect();
    match parts.as_slice() {
        [""] => "/",
        ["v1", "search"] => "/v1/search",
        ["v1", "search", "image"] => "/v1/search/image",
        ["v1", "images"] => "/v1/images",
        ["v1", "images", _] => "/v1/images/{id}",
        ["v1", "images", _, "similar"] => "/v1/images/{id}/similar",
        ["v1", "images", _, "content"] => "/v1/images/{id}/content",
        ["v1", "images", _, "thumbnail"] => "/v1/images/{id}/thumbnail",
        ["v1", "uploads", _] => "/v1/uploads/{id}",
        ["v1", "facets"] => "/v1/facets",
        ["v1", "duplicates"] => "/v1/duplicates",
        ["v1", "compare"] => "/v1/compare",
        ["v1", "saved-searches"] => "/v1/saved-searches",
        ["v1", "saved-searches", _] => "/v1/saved-searches/{id}",
        ["v1", "saved-searches", _, "matches"] => "/v1/saved-searches/{id}/matches",
        ["v1", "stats"] => "/v1/stats",
        ["v1", "libraries"] => "/v1/libraries",
        ["v1", "libraries", _, "scan"] => "/v1/libraries/{name}/scan",
        ["v1", "libraries", _, "confirm"] => "/v1/libraries/{name}/confirm",
        ["v1", "failures"] => "/v1/failures",
        ["v1", "failures", "retry"] => "/v1/failures/retry",
        ["v1", "failures", "discard"] => "/v1/failures/discard",
        ["v1", "failures", _, "preview"] => "/v1/failures/{id}/preview",
        ["v1", "why"] => "/v1/why",
        ["v1", "events"] => "/v1/events",
        ["v1", "session"] => "/v1/session",
        ["healthz"] => "/healthz",
        ["readyz"] => "/readyz",
        ["metrics"] => "/metrics",
        ["openapi.json"] => "/openapi.json",
        ["docs"] => "/docs",
        [name] if crate::page::is_asset(name) => "/page",
        _ => "other",
    }
}

/// Patterns whose only method is POST. Most others are only read with GET.
const POST_ROUTES: &[&str] = &[
    "/v1/search",
    "/v1/search/image",
    "/v1/libraries/{name}/scan",
    "/v1/libraries/{name}/confirm",
    "/v1/failures/retry",
    "/v1/failures/discard",
];

/// Returns the methods of a path, as in the header `Allow`. poem serves HEAD wherever it serves GET.
pub(crate) fn allowed_methods(path: &str) -> &'static str {
    match route_pattern(path) {
        "/v1/images" | "/v1/saved-searches" => "GET, HEAD, POST",
        "/v1/images/{id}" | "/v1/saved-searches/{id}" => "DELETE, GET, HEAD",
        "/v1/session" => "DELETE, GET, HEAD, POST",
        route if POST_ROUTES.contains(&route) => "POST",
        _ => "GET, HEAD",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_methods_are_those_of_the_document() {
        let document = crate::http::server::openapi_json();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let methods = operations.as_object().unwrap().keys();
            let mut methods: Vec<String> = methods.map(|name| name.to_uppercase()).collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".into());
            }
            methods.sort();
            assert_eq!(allowed_methods(path), methods.join(", "), "{path}");
            assert!(ROUTES.contains(&path.as_str()), "{path}");
        }
    }

    #[test]
    fn routes_are_patterns() {
        for (path, expected) in [
            ("/", "/"),
            ("/combined.js", "/page"),
            ("/v1/images/abc/thumbnail", "/v1/images/{id}/thumbnail"),
            ("/v1/images/abc/thumbnail/x", "other"),
            ("/v1/failures/retry", "/v1/failures/retry"),
            ("/v1/failures/abc/preview", "/v1/failures/{id}/preview"),
            ("/v1/libraries/abc/confirm", "/v1/libraries/{name}/confirm"),
            ("/v1/libraries/abc/remove", "other"),
            ("/v1/images/abc/../../etc", "other"),
            ("/%00", "other"),
            ("", "other"),
        ] {
            assert_eq!(route_pattern(path), expected, "{path}");
            assert!(ROUTES.contains(&expected), "{path}");
        }
        for pattern in ROUTES
            .iter()
            .filter(|pattern| !matches!(**pattern, "/page" | "other"))
        {
            assert_eq!(route_pattern(pattern), *pattern);
        }
    }
}
