//! The time limit of a request.

use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, IntoResponse, Request, Response};

use crate::problem::{Code, Problem};

pub(super) async fn limit_time<E: Endpoint>(
    next: Arc<E>,
    request: Request,
    limit: Duration,
) -> poem::Result<Response> {
    match tokio::time::timeout(limit, next.call(request)).await {
        Ok(result) => result.map(IntoResponse::into_response),
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("no response within {} s", limit.as_secs()),
        )
        .into()),
    }
}
