//! The page for people and the API's documentation, both in the binary; neither asks anything of
//! another host, and their content security policies keep it so.

use poem::http::{HeaderName, StatusCode, header};
use poem::{Endpoint, Request, Response, Route, endpoint::make_sync};

use crate::core::files::etag_matches;

/// Only what comes from here; pictures that were dropped are `blob:` addresses.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Swagger UI comes as one document with its script and style within.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

/// A file of the page. Its ETag is its own hash: a new version of this program shows at once.
fn serve_asset(content_type: &'static str, text: &'static str) -> impl Endpoint + 'static {
    let hash = lookalike_proto::ContentHash::hash_content(text.as_bytes()).to_string();
    let etag = format!("\"{}\"", &hash[..16]);
    make_sync(move |request: Request| {
        let response = Response::builder()
            .header(header::ETAG, &etag)
            .header(header::CACHE_CONTROL, "no-cache")
            .header(POLICY, PAGE_POLICY);
        match etag_matches(request.header(header::IF_NONE_MATCH), &etag) {
            true => response.status(StatusCode::NOT_MODIFIED).finish(),
            false => response.content_type(content_type).body(text),
        }
    })
}

/// Adds the page at `/`.
pub(crate) fn add_page(route: Route) -> Route {
    const HTML: &str = include_str!("page/index.html");
    const CSS: &str = include_str!("page/style.css");
    const UPKEEP: &str = include_str!("page/failures.js");
    const MIX: &str = include_str!("page/combined.js");
    const SCRIPT: &str = include_str!("page/search.js");
    const ICON: &str = include_str!("page/icon.svg");
    route
        .at("/", serve_asset("text/html; charset=utf-8", HTML))
        .at("/style.css", serve_asset("text/css; charset=utf-8", CSS))
        .at(
            "/page.js",
            serve_asset("text/javascript; charset=utf-8", SCRIPT),
        )
        .at(
            "/upkeep.js",
            serve_asset("text/javascript; charset=utf-8", UPKEEP),
        )
        .at(
            "/mix.js",
            serve_asset("text/javascript; charset=utf-8", MIX),
        )
        .at("/icon.svg", serve_asset("image/svg+xml", ICON))
}

/// Adds the API's document and its documentation.
pub(crate) fn add_docs(route: Route, spec: String, html: String) -> Route {
    let document = make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-cache")
            .body(spec.clone())
    });
    let docs = make_sync(move |_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(POLICY, DOCS_POLICY)
            .body(html.clone())
    });
    route.at("/openapi.json", document).at("/docs", docs)
}
