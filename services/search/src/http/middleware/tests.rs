//! All errors are problems, and cross-site requests and unknown hosts are refused.

use poem::http::StatusCode;
use poem::{Route, get, handler, post};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::PlainText;
use poem_openapi::{OpenApi, OpenApiService};

use super::*;
use crate::keys::KeyRing;
use crate::problem::Problem;

struct TestApi;

#[OpenApi]
impl TestApi {
    #[oai(path = "/v1/images/:id", method = "get")]
    async fn image(
        &self,
        id: Path<u32>,
        #[oai(validator(maximum(value = "10")))] limit: Query<Option<u32>>,
    ) -> PlainText<String> {
        PlainText(format!("{} {:?}", id.0, limit.0))
    }
}

#[handler]
async fn hangs() {
    std::future::pending::<()>().await;
}

#[handler]
async fn panics() {
    panic!("on purpose");
}

#[handler]
async fn refuses() -> poem::Result<()> {
    Err(Problem::invalid_parameter("x", "x is wrong").into())
}

#[handler]
async fn hides() -> poem::Result<()> {
    Err(poem::Error::from_string(
        "secret insides",
        StatusCode::INTERNAL_SERVER_ERROR,
    ))
}

fn every_host() -> AllowedHosts {
    let settings = crate::Settings::default();
    AllowedHosts::new(&settings, "0.0.0.0:80".parse().unwrap())
}

/// Without keys, limits of the rate and listed origins.
fn open_settings(hosts: AllowedHosts, timeout: Duration) -> MiddlewareSettings {
    MiddlewareSettings {
        hosts,
        access: None,
        rate_limiter: None,
        origins: Arc::new([]),
        base_path: Arc::default(),
        request_timeout: timeout,
        upload_timeout: timeout,
    }
}

/// The address `/do`, whose handler refuses every request with the status 400.
fn wrap_refusing_routes(hosts: AllowedHosts) -> impl Endpoint<Output = Response> {
    wrap_routes(
        Route::new().at("/do", get(refuses).post(refuses)),
        open_settings(hosts, Duration::from_secs(5)),
    )
}

/// Returns the status, the body and the request id of the response.
async fn send_request(method: Method, uri: &str) -> (u16, serde_json::Value, String) {
    let routes = Route::new()
        .nest_no_strip("/v1", OpenApiService::new(TestApi, "test", "1"))
        .at("/hangs", get(hangs))
        .at("/panics", get(panics))
        .at("/refuses", get(refuses))
        .at("/hides", get(hides))
        .at("/post", post(hangs));
    let app = wrap_routes(
        routes,
        open_settings(every_host(), Duration::from_millis(50)),
    );
    let request = Request::builder().method(method).uri(uri.parse().unwrap());
    let mut response = app.call(request.finish()).await.unwrap();
    let id = response.header("x-request-id").unwrap().to_owned();
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    let status = response.status().as_u16();
    let body = response.take_body().into_vec().await.unwrap();
    if status >= 400 {
        assert_eq!(
            response.content_type(),
            Some("application/problem+json"),
            "{uri}"
        );
    }
    (
        status,
        serde_json::from_slice(&body).unwrap_or_default(),
        id,
    )
}

#[tokio::test]
async fn all_errors_are_problems() {
    for (uri, status, code, param) in [
        ("/nowhere", 404, "no_such_route", None),
        ("/v1/nowhere", 404, "no_such_route", None),
        ("/post", 405, "method_not_allowed", None),
        ("/v1/images/x", 400, "invalid_parameter", None),
        (
            "/v1/images/1?limit=many",
            400,
            "invalid_parameter",
            Some("limit"),
        ),
        (
            "/v1/images/1?limit=11",
            400,
            "invalid_parameter",
            Some("limit"),
        ),
        ("/hangs", 504, "timeout", None),
        ("/panics", 500, "internal", None),
        ("/hides", 500, "internal", None),
        ("/refuses", 400, "invalid_parameter", Some("x")),
    ] {
        let (got, body, id) = send_request(Method::GET, uri).await;
        assert_eq!(
            (got, &body["code"]),
            (status, &code.into()),
            "{uri}: {body}"
        );
        assert_eq!(body["status"], status, "{uri}");
        assert_eq!(body["request_id"], id, "{uri}");
        assert!(
            !body["detail"].as_str().unwrap().contains("secret"),
            "{uri}"
        );
        if let Some(param) = param {
            assert_eq!(body["param"], param, "{uri}");
        }
    }
    assert_eq!(
        send_request(Method::GET, "/v1/images/1?limit=10").await.0,
        200
    );
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let app = wrap_refusing_routes(every_host());
    let ours = 400; // The request reached its handler.
    for (method, headers, status) in [
        (Method::POST, &[][..], ours),
        (Method::POST, &[("sec-fetch-site", "same-origin")], ours),
        (Method::POST, &[("sec-fetch-site", "none")], ours),
        (Method::POST, &[("sec-fetch-site", "cross-site")], 403),
        (Method::POST, &[("sec-fetch-site", "same-site")], 403),
        (Method::GET, &[("sec-fetch-site", "cross-site")], ours),
        (Method::POST, &[("origin", "http://here:8080")], ours),
        (Method::POST, &[("origin", "http://HERE:8080")], ours),
        (Method::POST, &[("origin", "http://here:9090")], 403),
        (Method::POST, &[("origin", "http://elsewhere:8080")], 403),
        (Method::POST, &[("origin", "null")], 403),
        (Method::POST, &[("origin", "")], 403),
        (
            Method::POST,
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://here:8080"),
            ],
            403,
        ),
        (
            Method::POST,
            &[("host", "here"), ("origin", "https://here:443")],
            ours,
        ),
        (
            Method::POST,
            &[("host", "here:80"), ("origin", "http://here")],
            ours,
        ),
    ] {
        let mut request = Request::builder()
            .method(method.clone())
            .uri("/do".parse().unwrap());
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "here:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.call(request.finish()).await.unwrap();
        assert_eq!(response.status(), status, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn pages_of_listed_sites_may_use_the_api() {
    let origin = Origin::try_from("https://friend.example".to_owned()).unwrap();
    let settings = MiddlewareSettings {
        origins: Arc::new([origin]),
        ..open_settings(every_host(), Duration::from_secs(5))
    };
    let app = wrap_routes(Route::new().at("/do", get(refuses).post(refuses)), settings);
    for (method, origin, asks, status, is_allowed) in [
        (Method::POST, "https://friend.example", false, 400, true),
        (Method::OPTIONS, "https://friend.example", true, 204, true),
        (Method::GET, "https://friend.example", false, 400, true),
        (Method::POST, "https://other.example", false, 403, false),
        (Method::OPTIONS, "https://other.example", true, 405, false),
        (Method::POST, "http://friend.example", false, 403, false),
        (Method::POST, "null", false, 403, false),
        // The page of this service itself.
        (Method::POST, "http://here", false, 400, false),
    ] {
        let mut request = Request::builder()
            .method(method.clone())
            .uri("/do".parse().unwrap())
            .header("host", "here")
            .header("origin", origin);
        if asks {
            request = request.header("access-control-request-method", "POST");
        }
        let response = app.call(request.finish()).await.unwrap();
        assert_eq!(response.status(), status, "{method} {origin}");
        let allowed = response.header("access-control-allow-origin");
        assert_eq!(allowed, is_allowed.then_some(origin), "{method} {origin}");
        assert_eq!(response.header("vary"), Some("Origin"));
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_told_to_wait() {
    let settings = crate::Settings {
        max_requests_per_second: 1,
        max_request_burst: 2,
        ..crate::Settings::default()
    };
    let settings = MiddlewareSettings {
        rate_limiter: RateLimiter::new(&settings).map(Arc::new),
        ..open_settings(every_host(), Duration::from_secs(5))
    };
    let app = wrap_routes(Route::new().at("/do", get(refuses)), settings);
    let call = || app.call(Request::builder().uri("/do".parse().unwrap()).finish());
    for _ in 0..2 {
        assert_eq!(call().await.unwrap().status(), 400);
    }
    let refused = call().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn requests_with_a_wrong_key_count_for_their_address() {
    let settings = crate::Settings {
        max_requests_per_second: 1,
        max_request_burst: 2,
        ..crate::Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let access = AccessControl {
        ring: Arc::new(KeyRing::open(folder.path().join("keys.json")).unwrap()),
        is_key_required: true,
    };
    let settings = MiddlewareSettings {
        access: Some(Arc::new(access)),
        rate_limiter: RateLimiter::new(&settings).map(Arc::new),
        ..open_settings(every_host(), Duration::from_secs(5))
    };
    let app = wrap_routes(Route::new().at("/v1/stats", get(refuses)), settings);
    let call = |key: &str| {
        let request = Request::builder().uri("/v1/stats".parse().unwrap());
        app.call(request.header("authorization", key).finish())
    };
    for key in ["Bearer lk_a_b", "Bearer lk_c_d"] {
        assert_eq!(call(key).await.unwrap().status(), 401);
    }
    assert_eq!(call("Bearer lk_e_f").await.unwrap().status(), 429);
}

#[tokio::test]
async fn a_name_that_only_leads_here_gets_nothing() {
    let settings = crate::Settings::default();
    let hosts = AllowedHosts::new(&settings, "127.0.0.1:8080".parse().unwrap());
    let app = wrap_refusing_routes(hosts);
    for method in [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS] {
        // To a browser, a page of that name has the same origin.
        let request = Request::builder()
            .method(method.clone())
            .uri("/do".parse().unwrap())
            .header("host", "evil.example:8080")
            .header("origin", "http://evil.example:8080")
            .header("sec-fetch-site", "same-origin");
        let mut response = app.call(request.finish()).await.unwrap();
        assert_eq!(response.status(), 421, "{method}");
        let body = response.take_body().into_string().await.unwrap();
        assert!(body.contains("\"unknown_host\""), "{body}");
        assert!(body.contains("http.allowed_hosts"), "{body}");
    }
}

#[tokio::test]
async fn parameters_are_refused_in_plain_words() {
    for (query, words) in [
        ("limit=11", "`limit` must be at most 10"),
        (
            "limit=many",
            "`limit` cannot be parsed: invalid digit found in string",
        ),
    ] {
        let (_, body, _) = send_request(Method::GET, &format!("/v1/images/1?{query}")).await;
        assert_eq!(body["detail"], words, "{query}");
    }
}
