//! Requests of every operation about an image, a file or a library.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::sample_pictures;

/// What requests are about.
#[derive(Debug, Clone)]
pub struct RequestTarget {
    pub library: String,
    pub id: String,
    pub failed_id: String,
    pub saved_search: String,
    /// Of a file of the hidden library.
    pub path: String,
}

#[derive(Debug, Clone)]
pub struct ApiRequest {
    pub method: Method,
    pub path: String,
    /// With its content type.
    pub body: Option<(&'static str, Vec<u8>)>,
}

impl ApiRequest {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            body: None,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: &str, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self {
            body: Some(("application/json", body)),
            ..Self::new(Method::POST, path)
        }
    }

    /// Returns what the request names.
    pub fn text(&self) -> String {
        let body = self.body.iter().filter(|(kind, _)| kind.contains("json"));
        let body = body.map(|(_, body)| String::from_utf8_lossy(body));
        format!("{}{}", self.path, body.collect::<String>())
    }
}

/// Returns requests of an operation about the target. `anchor` is an image that the key may see.
pub fn list_requests(operation: &str, target: &RequestTarget, anchor: &str) -> Vec<ApiRequest> {
    let RequestTarget {
        library,
        saved_search,
        ..
    } = target;
    let saved = format!("/v1/saved-searches/{saved_search}");
    match operation {
        "search" => list_searches(target, anchor),
        "searchByImage" => {
            let paths = with_library("/v1/search/image?limit=100", library);
            paths.iter().map(|path| upload(path)).collect()
        }
        // Neither library permits them.
        "uploadImage" => {
            let path = format!("/v1/images?library={library}&name=new.jpg");
            vec![upload(&path), upload(&format!("{path}&folder=a"))]
        }
        "removeImage" => vec![ApiRequest::new(
            Method::DELETE,
            &format!("/v1/images/{}", target.id),
        )],
        "listSavedSearches" => vec![ApiRequest::get("/v1/saved-searches")],
        "createSavedSearch" => {
            let search = json!({ "name": "a", "query": { "id": target.id }, "min_score": 0.5 });
            vec![ApiRequest::post("/v1/saved-searches", &search)]
        }
        "getSavedSearch" => vec![ApiRequest::get(&saved)],
        "deleteSavedSearch" => vec![ApiRequest::new(Method::DELETE, &saved)],
        "listMatches" => vec![ApiRequest::get(&format!("{saved}/matches"))],
        "scanLibrary" => {
            vec![ApiRequest::new(
                Method::POST,
                &format!("/v1/libraries/{library}/scan"),
            )]
        }
        "confirmLibrary" => {
            vec![ApiRequest::new(
                Method::POST,
                &format!("/v1/libraries/{library}/confirm"),
            )]
        }
        "retryFailures" => list_selections("/v1/failures/retry", target),
        "discardFailures" => list_selections("/v1/failures/discard", target),
        "signIn" => vec![ApiRequest::post("/v1/session", &json!({ "key": library }))],
        "signOut" => vec![ApiRequest::new(Method::DELETE, "/v1/session")],
        // A stream of events never ends: another test reads it.
        "watchEvents" if library == "photos" => Vec::new(),
        _ => {
            let paths = list_reads(operation, target, anchor);
            paths.iter().map(|path| ApiRequest::get(path)).collect()
        }
    }
}

/// Returns the path alone, and limited to a library in both ways.
fn with_library(path: &str, library: &str) -> [String; 3] {
    let mark = if path.contains('?') { '&' } else { '?' };
    [
        path.to_owned(),
        format!("{path}{mark}library={library}"),
        format!("{path}{mark}filter=%7B%22library%22:%22{library}%22%7D"),
    ]
}

/// Returns the paths of requests that only read.
fn list_reads(operation: &str, target: &RequestTarget, anchor: &str) -> Vec<String> {
    let RequestTarget {
        library,
        id,
        failed_id,
        path,
        ..
    } = target;
    let of_library = |path: &str| with_library(path, library).to_vec();
    match operation {
        "similarImages" => [
            of_library(&format!("/v1/images/{anchor}/similar?limit=100")),
            vec![
                format!("/v1/images/{id}/similar"),
                format!("/v1/images/{id}/similar?region=0,0,0.5,0.5"),
                format!("/v1/images/{id}/similar?orientations=true"),
            ],
        ]
        .concat(),
        "listImages" => of_library("/v1/images?limit=100"),
        "getImage" => vec![format!("/v1/images/{id}")],
        "getUpload" => vec![format!("/v1/uploads/{}", upload_id(library, "new.jpg"))],
        "getContent" => vec![format!("/v1/images/{id}/content")],
        "getThumbnail" => vec![format!("/v1/images/{id}/thumbnail")],
        "countFacets" => of_library("/v1/facets"),
        "findDuplicates" => [
            of_library("/v1/duplicates"),
            of_library("/v1/duplicates?kind=near"),
        ]
        .concat(),
        "compareImages" => vec![
            format!("/v1/compare?a={anchor}&b={id}"),
            format!("/v1/compare?a={id}&b={anchor}"),
        ],
        "getStats" => vec!["/v1/stats".to_owned()],
        "listLibraries" => vec!["/v1/libraries".to_owned()],
        "listFailures" => vec![
            "/v1/failures?limit=100&ignored=true".to_owned(),
            format!("/v1/failures?library={library}"),
        ],
        "previewFailure" => vec![
            format!("/v1/failures/{failed_id}/preview"),
            format!("/v1/failures/{failed_id}/preview?library={library}"),
            format!("/v1/failures/{failed_id}/preview?library=photos"),
        ],
        "explainFile" => vec![
            format!("/v1/why?id={id}"),
            format!("/v1/why?id={failed_id}"),
            format!("/v1/why?library={library}&path={path}"),
            format!("/v1/why?library=photos&path={path}"),
        ],
        "getSession" => vec!["/v1/session".to_owned()],
        "watchEvents" => vec![format!("/v1/events?library={library}")],
        other => panic!("write requests of {other} here, so that its answers are checked"),
    }
}

/// Returns the id of an upload to a library: a content hash, the length of the name, the name, the path.
fn upload_id(library: &str, path: &str) -> String {
    let length = u8::try_from(library.len()).unwrap();
    let bytes = [&[0; 32], &[length][..], library.as_bytes(), path.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn upload(path: &str) -> ApiRequest {
    let picture = fs::read(&sample_pictures()[0]).unwrap();
    ApiRequest {
        body: Some(("image/jpeg", picture)),
        ..ApiRequest::new(Method::POST, path)
    }
}

fn list_searches(target: &RequestTarget, anchor: &str) -> Vec<ApiRequest> {
    let RequestTarget { library, id, .. } = target;
    let part = || json!([{ "id": id }]);
    let bodies = [
        json!({ "id": id }),
        json!({ "id": id, "region": { "x": 0, "y": 0, "width": 0.5, "height": 0.5 } }),
        json!({ "id": id, "orientations": true }),
        json!({ "positive": part() }),
        json!({ "id": anchor, "positive": part() }),
        json!({ "id": anchor, "negative": part() }),
        json!({ "id": anchor, "limit": 100 }),
        json!({ "id": anchor, "limit": 100, "consistency": "strong" }),
        json!({ "id": anchor, "limit": 100, "group": "content" }),
        json!({ "id": anchor, "limit": 100, "group": "near" }),
        json!({ "id": anchor, "limit": 100, "orientations": true }),
        json!({ "id": anchor, "filter": { "library": library } }),
        json!({ "id": anchor, "filter": { "or": [{ "library": library }, { "library": "photos" }] } }),
        json!({ "id": anchor, "limit": 100, "filter": { "not": { "library": "photos" } } }),
    ];
    let requests = bodies
        .iter()
        .map(|body| ApiRequest::post("/v1/search", body));
    requests.collect()
}

/// Returns selections that change no file of `photos` but one, which is retried.
fn list_selections(path: &str, target: &RequestTarget) -> Vec<ApiRequest> {
    let of_photos = target.library == "photos";
    if of_photos && path.ends_with("discard") {
        return Vec::new();
    }
    let bodies = [
        json!({ "ids": [target.failed_id] }),
        json!({ "library": target.library }),
        json!({ "library": target.library, "ids": [target.failed_id] }),
        json!({ "library": "photos", "ids": [target.failed_id] }),
    ];
    let requests = bodies.iter().map(|body| ApiRequest::post(path, body));
    requests.collect()
}
