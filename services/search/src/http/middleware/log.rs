//! Counts each request and logs its outcome.

use std::sync::Arc;
use std::time::Instant;

use poem::{Endpoint, Request, Response};

use crate::metrics::HTTP_REQUESTS;
use crate::routes::route_pattern;

pub(super) async fn record_request<E: Endpoint>(
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let started = Instant::now();
    let method = request.method().clone();
    let route = route_pattern(request.uri().path());
    let response = next.get_response(request).await;
    let status = response.status();
    HTTP_REQUESTS
        .with_label_values(&[route, status.as_str()])
        .inc();
    let took_ms = started.elapsed().as_secs_f64() * 1e3;
    if status.is_server_error() {
        tracing::warn!(%method, route, %status, took_ms, "request failed");
    } else {
        tracing::debug!(%method, route, %status, took_ms, "request answered");
    }
    Ok(response)
}
