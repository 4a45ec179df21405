//! The middleware of every request, one concern per file.

mod errors;
mod hosts;
mod log;
mod request_id;
mod response_headers;
mod same_origin;
mod timeout;

use std::time::Duration;

use poem::http::Method;
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt as _, Request, Response};

pub(crate) use hosts::AllowedHosts;

/// What the middleware needs to know of the settings.
#[derive(Debug, Clone)]
pub(crate) struct MiddlewareSettings {
    pub hosts: AllowedHosts,
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
    routes
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
        .around(response_headers::forbid_caching_by_default)
        .with(response_headers::security_headers())
        .around(log::record_request)
        .around(request_id::assign_request_id)
}

#[cfg(test)]
mod tests;
