//! Lets only requests with a sufficient API key through, where keys are required.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use poem::http::{Method, header};
use poem::{Endpoint, IntoResponse as _, Request, Response};

use super::rate_limit::RateLimiter;
use crate::core::visible::libraries::VisibleLibraries;
use crate::keys::{KeyFileError, KeyRing, RequestKey, Scope, StoredKey};
use crate::problem::{Code, Problem};
use crate::routes::route_pattern;
use crate::settings::{KeyPolicy, Settings};

/// The cookie of a browser that signed in: it also carries the requests for thumbnails.
pub(crate) const KEY_COOKIE: &str = "lookalike_key";

/// The keys, and whether requests need one.
#[derive(Debug)]
pub(crate) struct AccessControl {
    pub ring: Arc<KeyRing>,
    pub is_key_required: bool,
}

impl AccessControl {
    /// # Errors
    /// If the key file exists but cannot be read.
    pub(crate) fn open(settings: &Settings, address: SocketAddr) -> Result<Self, KeyFileError> {
        let ring = Arc::new(KeyRing::open(PathBuf::from(&settings.keys_file))?);
        let is_key_required = match settings.require_keys {
            KeyPolicy::Always => true,
            KeyPolicy::Never => false,
            KeyPolicy::Auto => !address.ip().to_canonical().is_loopback(),
        };
        if is_key_required && ring.is_empty() {
            tracing::warn!(
                file = %ring.path().display(),
                "this service requires an API key, but there is none yet: create one with \
                 `lookalike keys add NAME`, or set http.require_keys = \"never\" if only trusted \
                 programs can reach {address}"
            );
        }
        Ok(Self {
            ring,
            is_key_required,
        })
    }

    /// Finds the key of a request and checks that it permits the request.
    fn authorize(&self, request: &Request) -> Result<Option<StoredKey>, Problem> {
        let sent = key_of_request(request);
        let key = sent.as_deref().and_then(|sent| self.ring.find(sent));
        let route = route_pattern(request.uri().path());
        let Some(scope) = required_scope(request.method(), route) else {
            return Ok(key);
        };
        if !self.is_key_required {
            // Without its key, the request would see all libraries. A browser may keep the cookie
            // of a revoked key, but a program must not send such a key.
            let is_header = request.headers().contains_key(header::AUTHORIZATION);
            return match is_header && sent.is_some() && key.is_none() {
                true => Err(Self::invalid_key()),
                false => Ok(key),
            };
        }
        match (sent, key) {
            (None, _) => Err(Problem::new(
                Code::KeyRequired,
                "this service requires an API key: create one with `lookalike keys add NAME`, and \
                 send it as `Authorization: Bearer KEY`",
            )
            .with_param("Authorization")),
            (Some(_), None) => Err(Self::invalid_key()),
            (Some(_), Some(key)) if !key.permits(scope) => Err(Problem::new(
                Code::InsufficientScope,
                format!(
                    "the API key {} ({}) lacks the scope {scope}, which this request needs",
                    key.id, key.name
                ),
            )),
            (Some(_), Some(key)) => Ok(Some(key)),
        }
    }

    /// Whether a request may do what needs `scope`. Where no key is required, every request may.
    pub(crate) fn permits(&self, request: &Request, scope: Scope) -> bool {
        let key = key_of_request(request).and_then(|sent| self.ring.find(&sent));
        !self.is_key_required || key.is_some_and(|key| key.permits(scope))
    }

    /// Checks a scope that depends on more than the address: `reason` says why it is needed.
    pub(crate) fn check_scope(
        &self,
        request: &Request,
        scope: Scope,
        reason: &str,
    ) -> Result<(), Problem> {
        if self.permits(request, scope) {
            return Ok(());
        }
        Err(Problem::new(
            Code::InsufficientScope,
            format!("the API key lacks the scope {scope}: {reason}"),
        ))
    }

    pub(crate) fn invalid_key() -> Problem {
        Problem::new(
            Code::InvalidKey,
            "no such API key: it is misspelt or was revoked; `lookalike keys list` shows the keys",
        )
        .with_param("Authorization")
    }
}

pub(super) async fn check_key<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    access: Option<Arc<AccessControl>>,
    limiter: Option<Arc<RateLimiter>>,
) -> poem::Result<Response> {
    let Some(access) = access else {
        return Ok(next.call(request).await?.into_response());
    };
    let key = match access.authorize(&request) {
        Ok(key) => key,
        Err(problem) => {
            // The layer that limits rates does not see this request.
            if let Some(limiter) = limiter {
                limiter.check_rate(&request)?;
            }
            return Err(problem.into());
        }
    };
    request.set_data(visible_libraries(key.as_ref()));
    if let Some(key) = key {
        tracing::Span::current().record("key", &key.id);
        request.set_data(RequestKey(key));
    }
    request.set_data(access);
    Ok(next.call(request).await?.into_response())
}

/// The libraries that a request with this key may see. A key limits its requests even where none is
/// required.
fn visible_libraries(key: Option<&StoredKey>) -> VisibleLibraries {
    let libraries = key.and_then(|key| key.libraries.clone());
    libraries.map_or_else(VisibleLibraries::all, VisibleLibraries::only)
}

/// The key that a request carries: in the header `Authorization`, or in the cookie of a browser.
pub(crate) fn key_of_request(request: &Request) -> Option<String> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let value: &str = &String::from_utf8_lossy(value.as_bytes());
        let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        return is_bearer.then(|| key.trim().to_owned());
    }
    let cookies = request.headers().get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == KEY_COOKIE).then(|| value.to_owned())
        })
}

/// The scope that a request needs. `None`: the page and its files contain no pictures, probes and
/// metrics neither, and signing in cannot need a key.
fn required_scope(method: &Method, route: &str) -> Option<Scope> {
    if !route.starts_with("/v1/") || route == "/v1/session" {
        return None;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    Some(match route {
        // A client that adds pictures follows them into the index.
        "/v1/uploads/{id}" if reads => Scope::Ingest,
        _ if reads => Scope::Search,
        "/v1/search" | "/v1/search/image" => Scope::Search,
        // The operations themselves require `admin` for searches with a webhook.
        "/v1/saved-searches" | "/v1/saved-searches/{id}" => Scope::Search,
        "/v1/images" | "/v1/libraries/{name}/scan" => Scope::Ingest,
        _ => Scope::Admin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_proto::LibraryName;

    use crate::keys::KeyFile;
    use crate::routes::ROUTES;

    fn access(folder: &tempfile::TempDir, policy: KeyPolicy, address: &str) -> AccessControl {
        let settings = Settings {
            require_keys: policy,
            keys_file: folder.path().join("keys.json").display().to_string(),
            ..Settings::default()
        };
        AccessControl::open(&settings, address.parse().unwrap()).unwrap()
    }

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder()
            .method(method.parse().unwrap())
            .uri(path.parse().unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.finish()
    }

    #[test]
    fn keys_are_required_beyond_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let required = |policy, address| access(&folder, policy, address).is_key_required;
        for address in [
            "127.0.0.1:80",
            "127.0.0.2:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(!required(KeyPolicy::Auto, address), "{address}");
            assert!(required(KeyPolicy::Always, address), "{address}");
        }
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "[2001:db8::1]:80"] {
            assert!(required(KeyPolicy::Auto, address), "{address}");
            assert!(!required(KeyPolicy::Never, address), "{address}");
        }
    }

    #[test]
    fn each_request_needs_its_scope() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = KeyFile::read(&folder.path().join("keys.json")).unwrap();
        let keys = Scope::ALL.map(|scope| file.add(scope.name(), &[scope], &[]).unwrap().key);
        let access = access(&folder, KeyPolicy::Always, "127.0.0.1:80");
        let code = |method, path: &str, key: Option<&str>| {
            let bearer = key.map(|key| format!("Bearer {key}"));
            let headers: Vec<_> = bearer
                .iter()
                .map(|value| ("authorization", value.as_str()))
                .collect();
            access
                .authorize(&request(method, path, &headers))
                .err()
                .map(|problem| problem.code)
        };
        for (method, path, permitted) in [
            ("GET", "/v1/images", [true, false, true]),
            ("GET", "/v1/stats", [true, false, true]),
            ("POST", "/v1/search", [true, false, true]),
            ("GET", "/v1/saved-searches/a/matches", [true, false, true]),
            ("POST", "/v1/saved-searches", [true, false, true]),
            ("DELETE", "/v1/saved-searches/a", [true, false, true]),
            ("POST", "/v1/libraries/a/scan", [false, true, true]),
            ("POST", "/v1/images", [false, true, true]),
            ("GET", "/v1/uploads/a", [false, true, true]),
            ("POST", "/v1/libraries/a/confirm", [false, false, true]),
            ("POST", "/v1/failures/retry", [false, false, true]),
            ("DELETE", "/v1/images/a", [false, false, true]),
            ("PUT", "/v1/stats", [false, false, true]),
        ] {
            assert_eq!(code(method, path, None), Some(Code::KeyRequired), "{path}");
            assert_eq!(
                code(method, path, Some("lk_x_y")),
                Some(Code::InvalidKey),
                "{path}"
            );
            for (key, permitted) in keys.iter().zip(permitted) {
                let expected = (!permitted).then_some(Code::InsufficientScope);
                assert_eq!(code(method, path, Some(key)), expected, "{method} {path}");
            }
        }
        for path in [
            "/",
            "/app.js",
            "/docs",
            "/healthz",
            "/readyz",
            "/metrics",
            "/v1/session",
        ] {
            assert_eq!(code("GET", path, None), None, "{path}");
        }
    }

    #[test]
    fn a_key_limits_its_requests_where_none_is_required() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = KeyFile::read(&folder.path().join("keys.json")).unwrap();
        let shop = LibraryName::new("shop").unwrap();
        let limited = file.add("a", &[Scope::Search], &[shop]).unwrap().key;
        let free = file.add("b", &[Scope::Search], &[]).unwrap().key;
        for policy in [KeyPolicy::Always, KeyPolicy::Never] {
            let access = access(&folder, policy, "127.0.0.1:80");
            let visible = |key: &str| {
                let bearer = format!("Bearer {key}");
                let sent = request("GET", "/v1/stats", &[("authorization", &bearer)]);
                visible_libraries(access.authorize(&sent).unwrap().as_ref())
            };
            assert!(visible(&limited).contains("shop") && !visible(&limited).contains("home"));
            assert!(!visible(&free).is_limited());
        }
    }

    #[test]
    fn an_unknown_key_is_refused_where_none_is_required() {
        let folder = tempfile::tempdir().unwrap();
        let access = access(&folder, KeyPolicy::Never, "127.0.0.1:80");
        let code = |path: &str, headers: &[(&str, &str)]| {
            let authorized = access.authorize(&request("GET", path, headers));
            authorized.err().map(|problem| problem.code)
        };
        for key in ["Bearer lk_x_y", "Bearer", "bearer \u{fc}"] {
            let headers = [("authorization", key)];
            assert_eq!(code("/v1/stats", &headers), Some(Code::InvalidKey), "{key}");
            assert_eq!(code("/v1/session", &headers), None, "{key}");
        }
        let cookie = ("cookie", "lookalike_key=lk_x_y");
        for headers in [&[cookie][..], &[("authorization", "Basic eA==")], &[]] {
            assert_eq!(code("/v1/stats", headers), None, "{headers:?}");
        }
    }

    #[test]
    fn no_route_of_the_api_is_open() {
        for route in ROUTES.iter().filter(|route| route.starts_with("/v1/")) {
            let scope = required_scope(&Method::POST, route);
            assert_eq!(scope.is_none(), *route == "/v1/session", "{route}");
        }
    }

    #[test]
    fn keys_come_from_the_header_or_the_cookie() {
        let key = |headers: &[(&str, &str)]| key_of_request(&request("GET", "/v1/stats", headers));
        assert_eq!(key(&[("authorization", "Bearer a")]).as_deref(), Some("a"));
        assert_eq!(
            key(&[("authorization", "bearer  a ")]).as_deref(),
            Some("a")
        );
        assert_eq!(key(&[("authorization", "Basic a")]), None);
        assert_eq!(
            key(&[("cookie", "x=y; lookalike_key=b")]).as_deref(),
            Some("b")
        );
        let both = key(&[("cookie", "lookalike_key=b"), ("authorization", "Bearer a")]);
        assert_eq!(both.as_deref(), Some("a"));
        assert_eq!(key(&[]), None);
    }
}
