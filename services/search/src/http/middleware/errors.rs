//! Gives every error the shape of a problem: our own, and those of poem, which are recognised by
//! their type.

use std::any::Any;
use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse as _, Request, Response};
use poem_openapi::error::{ParseParamError, ParsePathError};

use super::request_id::RequestId;
use crate::api::problem_to_response;
use crate::problem::{Code, Problem};
use crate::routes::allowed_methods;

/// The longest part of a foreign message that a problem quotes, in characters.
const MAX_QUOTED_CHARS: usize = 300;

pub(super) async fn render_problems<E: Endpoint>(
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let request_id = RequestId::from_request(&request);
    let methods = allowed_methods(request.uri().path());
    let problem = match next.call(request).await {
        Err(error) => error_to_problem(&error),
        Ok(response) => {
            let response = response.into_response();
            let status = response.status();
            match response.data::<Problem>() {
                // The response to a panic.
                Some(problem) => problem.clone(),
                None if status.is_client_error() || status.is_server_error() => {
                    Problem::new(code_for_status(status), status.to_string())
                }
                None => return Ok(response),
            }
        }
    };
    let mut response = problem_to_response(&problem, request_id.as_str());
    if problem.code == Code::MethodNotAllowed {
        let methods = HeaderValue::from_static(methods);
        response.headers_mut().insert(header::ALLOW, methods);
    }
    Ok(response)
}

/// poem's panic handler does not receive the request, so [`render_problems`] writes the body.
pub(super) fn panic_to_response(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("the handler of a request panicked");
    poem::Error::from(Problem::new(
        Code::Internal,
        "the handler of this request panicked",
    ))
    .into_response()
}

fn error_to_problem(error: &poem::Error) -> Problem {
    if let Some(problem) = error.data::<Problem>() {
        return problem.clone();
    }
    if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        return Problem::invalid_parameter(*name, describe_param_error(name, reason));
    }
    if let Some(ParsePathError { name, reason }) = error.downcast_ref() {
        return Problem::invalid_parameter(*name, describe_param_error(name, reason));
    }
    if error.is::<NotFoundError>() {
        return Problem::new(
            Code::NoSuchRoute,
            "there is nothing at this address; /docs lists all addresses",
        );
    }
    if error.is::<MethodNotAllowedError>() {
        return Problem::new(
            Code::MethodNotAllowed,
            "this address does not support this method; /docs lists the methods it supports",
        );
    }
    let code = code_for_status(error.status());
    if code == Code::Internal {
        // The message may reveal internals, so only the log gets it.
        tracing::error!(%error, "a request failed with an unexpected error");
        return Problem::new(
            code,
            "an internal error occurred; the log has more under the id of this request",
        );
    }
    let message = error
        .to_string()
        .chars()
        .take(MAX_QUOTED_CHARS)
        .collect::<String>();
    Problem::new(code, message)
}

/// The rest of poem's errors: its types differ, and only their statuses matter to clients.
fn code_for_status(status: StatusCode) -> Code {
    match status.as_u16() {
        405 => Code::MethodNotAllowed,
        413 => Code::UploadTooLarge,
        415 => Code::UnsupportedMediaType,
        503 => Code::Overloaded,
        504 => Code::RequestTimeout,
        status if status < 500 => Code::InvalidRequest,
        _ => Code::Internal,
    }
}

/// Rephrases poem's reason without the names of its types and validators: "`limit` must be at
/// most 1000". A reason of another form is quoted as it is.
fn describe_param_error(name: &str, reason: &str) -> String {
    let rule = reason.strip_prefix("verification failed. ");
    for (validator, wording) in [
        ("minimum(", "must be at least"),
        ("maximum(", "must be at most"),
        ("maxLength(", "must be at most this long, in characters:"),
        ("minLength(", "must be at least this long, in characters:"),
    ] {
        let limit = rule
            .and_then(|rule| rule.strip_prefix(validator))
            .and_then(|limit| limit.split([',', ')']).next());
        if let Some(limit) = limit {
            return format!("`{name}` {wording} {limit}");
        }
    }
    let inner = reason.split("(occurred while").next().unwrap_or(reason);
    let inner = inner.rsplit("\": ").next().unwrap_or(inner).trim();
    let inner: String = inner.chars().take(MAX_QUOTED_CHARS).collect();
    format!("`{name}` cannot be parsed: {inner}")
}
