//! The page for people and the documentation of the API. Both are part of the binary and load
//! nothing from other hosts; their content security policies enforce that.

use poem::http::{HeaderName, StatusCode, header};
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
    "address.js": JAVASCRIPT;
    "client.js": JAVASCRIPT;
    "combined.js": JAVASCRIPT;
    "counters.js": JAVASCRIPT;
    "dialog.js": JAVASCRIPT;
    "dom.js": JAVASCRIPT;
    "failures.js": JAVASCRIPT;
    "format.js": JAVASCRIPT;
    "history.js": JAVASCRIPT;
    "libraries.js": JAVASCRIPT;
    "notices.js": JAVASCRIPT;
    "results.js": JAVASCRIPT;
    "search.js": JAVASCRIPT;
    "sign_in.js": JAVASCRIPT;
    "upload.js": JAVASCRIPT;
};

pub(crate) fn is_asset(name: &str) -> bool {
    ASSETS[1..].iter().any(|asset| asset.name == name)
}

/// The entity tag is the hash of the file, so a browser displays a new version at once.
fn serve_asset(asset: &'static Asset) -> impl Endpoint + 'static {
    let hash = lookalike_proto::ContentHash::hash_content(asset.text.as_bytes()).to_string();
    let etag = parse_etag(&hash[..16]).expect("hexadecimal digits only");
    make_sync(move |request: Request| {
        let response = Response::builder()
            .typed_header(etag.clone())
            .header(header::CACHE_CONTROL, "no-cache")
            .header(POLICY, PAGE_POLICY);
        match etag_matches(request.headers(), &etag) {
            true => response.status(StatusCode::NOT_MODIFIED).finish(),
            false => response.content_type(asset.content_type).body(asset.text),
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
