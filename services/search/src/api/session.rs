//! Signing in with an API key, so that a browser sends it with every request.

use std::sync::Arc;
use std::time::Duration;

use poem::Response;
use poem::http::{StatusCode, header};
use poem::web::Data;
use poem_openapi::registry::{MetaHeader, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{Example, Type as _};
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::json_body::{SmallJson, SmallRequest};
use super::refusals::SessionRefusal;
use super::responses::JsonAnswer;
use super::tags::Tag;
use crate::http::{AccessControl, KEY_COOKIE, key_of_request, link_prefix};
use crate::keys::Scope;

/// A browser keeps the cookie for a year, in seconds.
const MAX_AGE: u32 = 365 * 24 * 60 * 60;

pub(crate) struct SessionApi;

/// Whether this client may use the service.
#[derive(Debug, Object)]
#[oai(rename = "Session", example)]
pub(crate) struct SessionBody {
    /// Whether requests need an API key.
    key_required: bool,
    /// What this client may do: `search`, `ingest` and `admin`. Empty if it has to sign in first.
    scopes: Vec<String>,
    /// The only libraries that this client may see, or null for all. Saved searches need a client that
    /// may see all libraries.
    libraries: Option<Vec<String>>,
}

/// The API key to sign in with.
#[derive(Debug, Object)]
#[oai(rename = "SignIn", example)]
pub(crate) struct SignInBody {
    /// The whole key, as `lookalike keys add` printed it.
    #[oai(validator(min_length = 1, max_length = 200))]
    key: String,
}

/// The request needs no key, so it must not occupy the service for long.
impl SmallRequest for SignInBody {
    const BODY: &'static str = "At most 4 KiB, within 5 seconds";
    const MAX_BYTES: u64 = 4 << 10;
    const MAX_TIMEOUT: Duration = Duration::from_secs(5);
}

impl Example for SessionBody {
    fn example() -> Self {
        Self {
            key_required: true,
            scopes: vec![Scope::Search.to_string()],
            libraries: Some(vec!["shop".into()]),
        }
    }
}

impl Example for SignInBody {
    fn example() -> Self {
        Self {
            key: "lk_9f8a41c2_m1G6vE0dYb7Rk3tQw5xZs8uJhLfNcPaV2oIeTgByDqU".into(),
        }
    }
}

#[OpenApi]
impl SessionApi {
    /// Whether this client needs a key, and what it may do
    #[oai(
        path = "/v1/session",
        method = "get",
        operation_id = "getSession",
        tag = "Tag::Session"
    )]
    async fn get_session(
        &self,
        request: &poem::Request,
        access: Data<&Arc<AccessControl>>,
    ) -> Result<JsonAnswer<SessionBody>, SessionRefusal> {
        let key = key_of_request(request).and_then(|key| access.ring.find(&key));
        let is_permitted = |scope: &Scope| match (access.is_key_required, &key) {
            (false, _) => true,
            (true, Some(key)) => key.permits(*scope),
            (true, None) => false,
        };
        let scopes = Scope::ALL.iter().filter(|scope| is_permitted(scope));
        let libraries = key.as_ref().and_then(|key| key.libraries.as_ref());
        Ok(JsonAnswer(SessionBody {
            key_required: access.is_key_required,
            scopes: scopes.map(Scope::to_string).collect(),
            libraries: libraries
                .map(|libraries| libraries.iter().map(ToString::to_string).collect()),
        }))
    }

    /// Sign in with an API key
    ///
    /// Sets a cookie, which a browser sends with every request. Programs send the key itself:
    /// `Authorization: Bearer KEY`.
    #[oai(
        path = "/v1/session",
        method = "post",
        operation_id = "signIn",
        tag = "Tag::Session"
    )]
    async fn sign_in(
        &self,
        request: &poem::Request,
        access: Data<&Arc<AccessControl>>,
        body: SmallJson<SignInBody>,
    ) -> Result<CookieResponse, SessionRefusal> {
        let key = body.0.key.trim();
        if access.ring.find(key).is_none() {
            return Err(AccessControl::invalid_key().with_param("key").into());
        }
        // The proxy tells how the browser reached it.
        let is_https = request.header("x-forwarded-proto") == Some("https");
        Ok(CookieResponse::new(key, MAX_AGE, is_https))
    }

    /// Sign out
    #[oai(
        path = "/v1/session",
        method = "delete",
        operation_id = "signOut",
        tag = "Tag::Session"
    )]
    async fn sign_out(&self) -> Result<CookieResponse, SessionRefusal> {
        Ok(CookieResponse::new("", 0, false))
    }
}

/// An empty response that sets the cookie.
pub(crate) struct CookieResponse(Response);

impl CookieResponse {
    /// A page cannot read the cookie, and a browser sends it only with requests of this site.
    fn new(key: &str, max_age: u32, is_https: bool) -> Self {
        let secure = if is_https { "; Secure" } else { "" };
        let cookie = format!(
            "{KEY_COOKIE}={key}; Path={}/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}",
            link_prefix()
        );
        let response = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::SET_COOKIE, cookie);
        Self(response.finish())
    }
}

impl poem::IntoResponse for CookieResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for CookieResponse {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Done",
                status: Some(204),
                status_range: None,
                content: vec![],
                headers: vec![MetaHeader {
                    name: "Set-Cookie".into(),
                    description: Some("The cookie that carries the key".into()),
                    required: true,
                    deprecated: false,
                    schema: String::schema_ref(),
                }],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
