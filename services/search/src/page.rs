//! The page for people and the documentation of the API. Both are part of the binary and load
//! nothing from other hosts; their content security policies enforce that.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};
use poem::{Endpoint, Request, Response, Route, endpoint::make_sync, get};

use crate::etag::{etag_matches, parse_etag};
use crate::http::link_prefix;

/// Allows this origin only; the addresses of dropped pictures start with `blob:`.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Swagger UI is a single document with its script and style inside.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $content_type:expr;)*) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("page/", $name)),
        },)*]
    };
}

/// The files of the page. The first one is served at `/`, the others under their names.
const ASSETS: &[Asset] = assets! {
    "index.html": HTML;
    "style.css": CSS;
    "icon.svg": SVG;
    "app.js": JAVASCRIPT;
    "add_pictures.js": JAVASCRIPT;
    "address.js": JAVASCRIPT;
    "card.js": JAVASCRIPT;
    "client.js": JAVASCRIPT;
    "combined.js": JAVASCRIPT;
    "compare.js": JAVASCRIPT;
    "counters.js": JAVASCRIPT;
    "detail.js": JAVASCRIPT;
    "dialog.js": JAVASCRIPT;
    "dom.js": JAVASCRIPT;
    "download.js": JAVASCRIPT;
    "duplicates.js": JAVASCRIPT;
    "facets.js": JAVASCRIPT;
    "failures.js": JAVASCRIPT;
    "filters.js": JAVASCRIPT;
    "folding.js": JAVASCRIPT;
    "format.js": JAVASCRIPT;
    "grid.js": JAVASCRIPT;
    "history.js": JAVASCRIPT;
    "libraries.js": JAVASCRIPT;
    "live.js": JAVASCRIPT;
    "notices.js": JAVASCRIPT;
    "picture.js": JAVASCRIPT;
    "query.js": JAVASCRIPT;
    "region.js": JAVASCRIPT;
    "results.js": JAVASCRIPT;
    "saved.js": JAVASCRIPT;
    "search.js": JAVASCRIPT;
    "selection.js": JAVASCRIPT;
    "settings.js": JAVASCRIPT;
    "shortcuts.js": JAVASCRIPT;
    "sign_in.js": JAVASCRIPT;
    "theme.js": JAVASCRIPT;
    "upload.js": JAVASCRIPT;
    "zip.js": JAVASCRIPT;
};

pub(crate) fn is_asset(name: &str) -> bool {
    ASSETS[1..].iter().any(|asset| asset.name == name)
}

/// Whether the client accepts a response that is compressed with gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let is_refused = parts.any(|weight| {
            let weight = weight.strip_prefix("q=").map(str::parse::<f32>);
            weight.is_some_and(|weight| weight.is_ok_and(|weight| weight <= 0.0))
        });
        is_gzip && !is_refused
    })
}

fn compress(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    compressed.expect("a Vec accepts every write").into()
}

/// The entity tag is the hash of the file, so a browser displays a new version at once. The page has
/// many small modules, so they are sent compressed.
fn serve_asset(asset: &'static Asset) -> impl Endpoint + 'static {
    let hash = lookalike_proto::ContentHash::hash_content(asset.text.as_bytes()).to_string();
    let tag = |suffix: &str| {
        parse_etag(&format!("{}{suffix}", &hash[..16]))
            .expect("hexadecimal digits and letters only")
    };
    // Both codings are versions of one address, so they need different tags.
    let (plain_tag, gzip_tag) = (tag(""), tag("-gzip"));
    let compressed = compress(asset.text);
    make_sync(move |request: Request| {
        let is_gzip = accepts_gzip(request.headers());
        let etag = if is_gzip { &gzip_tag } else { &plain_tag };
        let mut response = Response::builder()
            .typed_header(etag.clone())
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::VARY, "accept-encoding")
            .header(POLICY, PAGE_POLICY);
        if etag_matches(request.headers(), etag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response = response.content_type(asset.content_type);
        match is_gzip {
            true => response
                .header(header::CONTENT_ENCODING, "gzip")
                .body(compressed.clone()),
            false => response.body(asset.text),
        }
    })
}

pub(crate) fn add_page(mut routes: Route) -> Route {
    for (number, asset) in ASSETS.iter().enumerate() {
        let path = match number {
            0 => "/".to_owned(),
            _ => format!("/{}", asset.name),
        };
        routes = routes.at(path, get(serve_asset(asset)));
    }
    routes
}

/// Lets the server of an OpenAPI document, which is `/`, begin with the base path.
fn below_base_path(document: &str) -> String {
    let server = format!("\"url\": \"{}/\"", link_prefix());
    document.replacen("\"url\": \"/\"", &server, 1)
}

/// Adds the OpenAPI document and its rendered documentation.
pub(crate) fn add_docs(routes: Route, document: String, html: String) -> Route {
    let document = make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .header(header::CACHE_CONTROL, "no-cache")
            .body(below_base_path(&document))
    });
    let docs = make_sync(move |_| {
        Response::builder()
            .content_type(HTML)
            .header(header::CACHE_CONTROL, "no-cache")
            .header(POLICY, DOCS_POLICY)
            .body(below_base_path(&html))
    });
    routes
        .at("/openapi.json", get(document))
        .at("/docs", get(docs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_choose_the_coding() {
        for (accepted, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("br", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), expected, "{accepted}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn each_coding_has_its_tag() {
        let page = add_page(Route::new());
        let send = async |coding: &str, tag: &str| {
            let request = Request::builder().uri_str("/app.js");
            let request = request.header("accept-encoding", coding);
            let request = request.header("if-none-match", tag).finish();
            page.get_response(request).await
        };
        let mut tags = Vec::new();
        for coding in ["gzip", "identity"] {
            let response = send(coding, "\"other\"").await;
            assert_eq!(
                response.header("content-encoding").is_some(),
                coding == "gzip"
            );
            let tag = response.header("etag").unwrap().to_owned();
            let bytes = response.into_body().into_bytes().await.unwrap();
            assert_eq!(bytes.starts_with(b"\x1f\x8b"), coding == "gzip");
            let again = send(coding, &tag).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
            tags.push(tag);
        }
        assert_ne!(tags[0], tags[1]);
        assert_eq!(send("gzip", &tags[1]).await.status(), StatusCode::OK);
    }

    /// A module that is not preloaded costs a round trip before the first picture.
    #[test]
    fn every_module_is_preloaded() {
        for asset in &ASSETS[1..] {
            let is_loaded = ["src", "href"].iter().any(|attribute| {
                let reference = format!("{attribute}=\"{}\"", asset.name);
                ASSETS[0].text.contains(&reference)
            });
            assert!(is_loaded, "index.html does not name {}", asset.name);
        }
    }

    /// A module that is missing here would be a blank page in the browser.
    #[test]
    fn every_module_that_the_page_loads_is_served() {
        let mut loaded = Vec::new();
        for asset in ASSETS {
            for (_, rest) in asset
                .text
                .match_indices("from \"./")
                .map(|(at, mark)| (at, &asset.text[at + mark.len()..]))
            {
                let name = rest.split('"').next().unwrap();
                assert!(is_asset(name), "{}: {name}", asset.name);
                loaded.push(name);
            }
        }
        for asset in ASSETS
            .iter()
            .filter(|asset| asset.content_type == JAVASCRIPT)
        {
            let is_start = ASSETS[0].text.contains(&format!("src=\"{}\"", asset.name));
            assert!(is_start || loaded.contains(&asset.name), "{}", asset.name);
        }
    }
}
