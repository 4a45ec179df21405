//! What every request passes, in and out: its id, the name it is for, whether another site's page
//! asks, its time limit, one shape for all errors, headers for safety, a count and a log line.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse as _, Middleware, Request, Response};

use crate::http::middleware::hosts::AllowedHosts;
use crate::metrics::HTTP_REQUESTS;
use crate::problem::{Code, Problem};

/// The middleware that stands before everything else.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    /// The names that the service goes by.
    pub hosts: AllowedHosts,
    /// For a request, beside its upload.
    pub request_timeout: Duration,
    /// On top, for a request with a body.
    pub upload_timeout: Duration,
}

impl<E: Endpoint> Middleware<E> for Front {
    type Output = FrontEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        FrontEndpoint {
            inner,
            front: self.clone(),
        }
    }
}

pub(crate) struct FrontEndpoint<E> {
    inner: E,
    front: Front,
}

impl<E: Endpoint> Endpoint for FrontEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let request_id = request_id(request.header("x-request-id"));
        let method = request.method().clone();
        let route = route_pattern(request.uri().path());
        let limit = match method {
            Method::POST => self.front.request_timeout + self.front.upload_timeout,
            _ => self.front.request_timeout,
        };
        let answer = async {
            self.front.hosts.check_request(&request)?;
            if is_cross_site(&request) {
                return Err(cross_site_problem().into());
            }
            self.inner.call(request).await.map(|r| r.into_response())
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let response = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(error))) => error.into_response(),
            Ok(Err(_panic)) => {
                tracing::error!(%request_id, route, "a request brought its handler down");
                Problem::new(Code::Internal, "the handler of this request came down")
                    .to_response(&request_id)
            }
            Err(_elapsed) => Problem::new(
                Code::RequestTimeout,
                format!("there was no answer within {} s", limit.as_secs()),
            )
            .to_response(&request_id),
        };
        let mut response = into_problem_response(response, &request_id).await;
        add_security_headers(&mut response, &request_id);
        let status = response.status();
        HTTP_REQUESTS
            .with_label_values(&[route, status.as_str()])
            .inc();
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        if status.is_server_error() {
            tracing::warn!(%request_id, %method, route, %status, took_ms, "a request failed");
        } else {
            tracing::debug!(%request_id, %method, route, %status, took_ms, "a request was answered");
        }
        Ok(response)
    }
}

/// Whether a browser asks this for a page of another site. Such a page can't read answers, but it
/// could have something changed: whoever opens it would retry, discard or confirm unknowingly.
/// What only reads is not refused; programs that are no browsers send neither header.
fn is_cross_site(request: &Request) -> bool {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return false;
    }
    // Browsers say it themselves where the connection is trustworthy: HTTPS, or this machine.
    if let Some(site) = request.header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = request.header(header::ORIGIN) else {
        return false;
    };
    let asked = request.header(header::HOST).unwrap_or_default();
    let Some((scheme, authority)) = origin.split_once("://") else {
        return true;
    };
    // A default port may be written or left out, by either.
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    let bare = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority
            .strip_suffix(port)
            .map_or(authority.clone(), str::to_owned)
    };
    bare(authority) != bare(asked)
}

fn cross_site_problem() -> Problem {
    Problem::new(
        Code::CrossOrigin,
        "a browser asks this for a page of another site; behind a proxy, let it pass on the \
         header Host with its port",
    )
}

/// The client's own id where it is harmless in headers and logs, else a new one.
fn request_id(given: Option<&str>) -> String {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(legal) => id.to_owned(),
        _ => format!("{:016x}", rand::random::<u64>()),
    }
}

/// What [`route_pattern`] gives.
pub(crate) const ROUTES: [&str; 24] = [
    "/",
    "/v1/search",
    "/v1/search/image",
    "/v1/images",
    "/v1/images/{id}",
    "/v1/images/{id}/similar",
    "/v1/images/{id}/content",
    "/v1/images/{id}/thumbnail",
    "/v1/stats",
    "/v1/libraries",
    "/v1/libraries/{name}/scan",
    "/v1/libraries/{name}/confirm",
    "/v1/failures",
    "/v1/failures/retry",
    "/v1/failures/discard",
    "/v1/failures/{id}/preview",
    "/v1/why",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/page",
    "other",
];

/// The pattern of a path, from a fixed set: a metric's label must not grow with the clients.
fn route_pattern(path: &str) -> &'static str {
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
        ["v1", "stats"] => "/v1/stats",
        ["v1", "libraries"] => "/v1/libraries",
        ["v1", "libraries", _, "scan"] => "/v1/libraries/{name}/scan",
        ["v1", "libraries", _, "confirm"] => "/v1/libraries/{name}/confirm",
        ["v1", "failures"] => "/v1/failures",
        ["v1", "failures", "retry"] => "/v1/failures/retry",
        ["v1", "failures", "discard"] => "/v1/failures/discard",
        ["v1", "failures", _, "preview"] => "/v1/failures/{id}/preview",
        ["v1", "why"] => "/v1/why",
        ["healthz"] => "/healthz",
        ["readyz"] => "/readyz",
        ["metrics"] => "/metrics",
        ["openapi.json"] => "/openapi.json",
        ["docs"] => "/docs",
        ["style.css" | "page.js" | "upkeep.js" | "mix.js" | "icon.svg"] => "/page",
        _ => "other",
    }
}

/// Gives every error the shape of a problem: our own, that come as data of the response, and
/// poem's, that come as text.
async fn into_problem_response(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let is_problem = response.content_type() == Some("application/problem+json");
    if !(status.is_client_error() || status.is_server_error()) || is_problem {
        return response;
    }
    let problem = match response.data::<Problem>() {
        Some(problem) => problem.clone(),
        None => {
            let text = response.take_body().into_bytes_limit(4096).await;
            let text = text.unwrap_or_default();
            poem_error_to_problem(status, &String::from_utf8_lossy(&text))
        }
    };
    let mut shaped = problem.to_response(request_id);
    // What a client needs to do better: the methods that a 405 allows.
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        shaped.headers_mut().insert(header::ALLOW, allow);
    }
    shaped
}

/// An error that poem made: unknown routes, wrong methods, parameters of the wrong type.
fn poem_error_to_problem(status: StatusCode, text: &str) -> Problem {
    let about_parameter = text.starts_with("failed to parse parameter")
        || text.starts_with("failed to parse path")
        || text.starts_with("failed to parse param");
    let code = match status.as_u16() {
        400 if about_parameter => Code::InvalidParameter,
        404 => Code::NoSuchRoute,
        405 => Code::MethodNotAllowed,
        413 => Code::UploadTooLarge,
        415 => Code::UnsupportedMediaType,
        status if status < 500 => Code::InvalidRequest,
        503 => Code::Overloaded,
        504 => Code::RequestTimeout,
        _ => Code::Internal,
    };
    let detail = match code {
        Code::NoSuchRoute => "nothing is at this address; /docs lists what there is".to_owned(),
        Code::MethodNotAllowed => {
            "this address does not take this method; /docs lists what it takes".to_owned()
        }
        // poem's words may tell of our insides.
        Code::Internal => {
            "the service made a mistake; its log has more under this request's id".to_owned()
        }
        _ if about_parameter => describe_param_error(text),
        _ => text.chars().take(300).collect(),
    };
    Problem {
        param: quoted_name(text)
            .filter(|_| about_parameter)
            .map(str::to_owned),
        ..Problem::new(code, detail)
    }
}

/// poem's words about a parameter, without its type names: "`check_limit` must be at least 1".
fn describe_param_error(text: &str) -> String {
    let shown = || text.chars().take(300).collect();
    let Some(name) = quoted_name(text) else {
        return shown();
    };
    for (rule, words) in [
        ("minimum(", "must be at least"),
        ("maximum(", "must be at most"),
        ("maxLength(", "must have characters at most"),
    ] {
        let value = text
            .split_once(rule)
            .and_then(|(_, rest)| rest.split([',', ')']).next());
        if let (true, Some(value)) = (text.contains("verification failed"), value) {
            return format!("`{name}` {words} {value}");
        }
    }
    match text.split_once("(occurred while") {
        Some((before, _)) => {
            let reason = before.rsplit("\": ").next().unwrap_or(before);
            let reason: String = reason.trim().chars().take(200).collect();
            format!("`{name}` can't be read: {reason}")
        }
        None => shown(),
    }
}

/// What stands between the first two backticks.
fn quoted_name(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('`')?;
    rest.split_once('`').map(|(name, _)| name)
}

/// Headers that every response carries.
fn add_security_headers(response: &mut Response, request_id: &str) {
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(request_id).expect("letters, digits and three marks only");
    headers.insert("x-request-id", id);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    // Answers are about now; files and the page say for themselves how long they hold.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests;
