//! The middleware of every request, one concern per file.

mod access;
mod base_path;
mod cors;
mod errors;
mod hosts;
mod log;
mod rate_limit;
mod request_id;
mod response_headers;
mod same_origin;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

use poem::http::Method;
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt as _, Request, Response};

pub(crate) use access::{AccessControl, KEY_COOKIE, key_of_request};
pub use base_path::BasePath;
pub(crate) use base_path::link_prefix;
pub use cors::Origin;
pub(crate) use hosts::AllowedHosts;
pub(crate) use rate_limit::RateLimiter;

/// What the middleware needs to know of the settings.
#[derive(Debug, Clone)]
pub(crate) struct MiddlewareSettings {
    pub hosts: AllowedHosts,
    /// `None`: every request is let through, for roles that serve no pictures.
    pub access: Option<Arc<AccessControl>>,
    pub rate_limiter: Option<Arc<RateLimiter>>,
    pub origins: Arc<[Origin]>,
    pub base_path: Arc<BasePath>,
    /// For a request, without its upload.
    pub request_timeout: Duration,
    /// In addition, for a request with a body.
    pub upload_timeout: Duration,
}

impl MiddlewareSettings {
    fn time_limit(&self, method: &Method) -> Duration {
        match *method {
            Method::POST => self.request_timeout + self.upload_timeout,
            _ => self.request_timeout,
        }
    }
}

/// Wraps the routes. The innermost layer comes first, so a request passes this list from the
/// bottom to the top.
pub(crate) fn wrap_routes<E: Endpoint + 'static>(
    routes: E,
    settings: MiddlewareSettings,
) -> impl Endpoint<Output = Response> {
    let hosts = settings.hosts.clone();
    let access = settings.access.clone();
    let rate_limiter = settings.rate_limiter.clone();
    let refusal_limiter = settings.rate_limiter.clone();
    let origins = Arc::clone(&settings.origins);
    let base_path = Arc::clone(&settings.base_path);
    routes
        .around(move |next, request| rate_limit::limit_rate(next, request, rate_limiter.clone()))
        .around(move |next, request| {
            access::check_key(next, request, access.clone(), refusal_limiter.clone())
        })
        .around(same_origin::refuse_cross_site)
        .around(move |next, request| hosts::refuse_unknown_host(next, request, hosts.clone()))
        .with(CatchPanic::new().with_handler(errors::panic_to_response))
        .around(move |next, request: Request| {
            let limit = settings.time_limit(request.method());
            timeout::limit_time(next, request, limit)
        })
        .around(errors::render_problems)
        // Without a box between them, the layers nest too deeply for the compiler.
        .boxed()
        .around(move |next, request| cors::allow_origins(next, request, Arc::clone(&origins)))
        .around(response_headers::forbid_caching_by_default)
        .with(response_headers::security_headers())
        .around(log::record_request)
        .around(move |next, request| {
            base_path::serve_below_base_path(next, request, Arc::clone(&base_path))
        })
        .around(request_id::assign_request_id)
}

#[cfg(test)]
mod tests;
