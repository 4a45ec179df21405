//! A problem as the client sees it: `application/problem+json` (RFC 9457).

use poem::Response;
use poem::http::{StatusCode, header};
use poem_openapi::Object;
use poem_openapi::types::{Example, ToJSON as _};

use crate::problem::{Code, Problem};

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

pub(crate) fn to_response(problem: &Problem, request_id: &str) -> Response {
    let mut response = Response::builder()
        .status(problem.status())
        .content_type(PROBLEM_JSON)
        .header(header::CACHE_CONTROL, "no-store");
    if let Some(seconds) = problem.retry_after {
        response = response.header(header::RETRY_AFTER, seconds.to_string());
    }
    if problem.status() == StatusCode::UNAUTHORIZED {
        response = response.header(header::WWW_AUTHENTICATE, "Bearer");
    }
    response.body(to_body(problem, request_id).to_json_string())
}

fn to_body(problem: &Problem, request_id: &str) -> ProblemBody {
    let code = problem.code;
    ProblemBody {
        r#type: format!("urn:lookalike:problem:{}", code.name()),
        title: code.title().to_owned(),
        status: code.status(),
        detail: problem.detail.clone(),
        code: code.name().to_owned(),
        param: problem.param.clone(),
        request_id: request_id.to_owned(),
    }
}

/// Returns an example of a problem with this code.
pub(crate) fn example_of(code: Code) -> serde_json::Value {
    to_body(&Problem::new(code, code.title()), EXAMPLE_REQUEST_ID)
        .to_json()
        .unwrap_or_default()
}

const EXAMPLE_REQUEST_ID: &str = "9f1c2b7a4e60d358";

/// The form of every error of this service (RFC 9457).
#[derive(Debug, Object)]
#[oai(rename = "Problem", example, skip_serializing_if_is_none)]
pub(crate) struct ProblemBody {
    /// The kind of problem as a URN: `urn:lookalike:problem:` and the code.
    r#type: String,
    /// Describes the kind of problem; the same for each occurrence.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Describes this occurrence in one sentence.
    detail: String,
    /// The kind of problem as a stable name, for programs. One of `invalid_request`,
    /// `invalid_parameter` (400), `key_required`, `invalid_key` (401), `insufficient_scope`,
    /// `cross_origin`, `outside_library`, `uploads_off`, `deletions_off` (403), `no_such_route`,
    /// `no_such_image`, `no_such_file`, `no_such_library`, `no_such_saved_search`, `no_such_upload`,
    /// `no_preview` (404), `method_not_allowed` (405), `upload_timeout` (408), `refused`,
    /// `file_changed`, `too_many_saved_searches`, `model_without_text`, `model_without_bands` (409),
    /// `file_gone` (410),
    /// `too_large` (413), `unsupported_media_type`, `not_an_image`, `unsupported_format`,
    /// `unsupported_feature` (415), `range_not_satisfiable` (416), `unknown_host` (421), `empty`, `too_many_pixels`,
    /// `too_much_memory`, `truncated`, `corrupt`, `too_slow`, `decoder_panic`, `cancels_out` (422),
    /// `too_many_requests` (429, with Retry-After), `internal` (500),
    /// `overloaded`, `index_unavailable`, `other_model`, `queue_unavailable`,
    /// `embedder_unavailable`, `watcher_unavailable`, `library_unavailable`, `not_ready` (503,
    /// with Retry-After), `timeout` (504) and `storage_full` (507).
    code: String,
    /// The parameter, header or field at fault, if there is one.
    param: Option<String>,
    /// The id of this request, as in the response header `X-Request-Id` and in the log.
    request_id: String,
}

impl Example for ProblemBody {
    fn example() -> Self {
        to_body(
            &Problem::invalid_parameter("limit", "limit is 5000; it must be 1 to 1000"),
            EXAMPLE_REQUEST_ID,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::registry::Registry;
    use poem_openapi::types::Type as _;

    #[test]
    fn codes_are_documented_and_distinct() {
        let schema = {
            let mut registry = Registry::new();
            ProblemBody::register(&mut registry);
            format!("{:?}", registry.schemas)
        };
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!(schema.contains(&format!("`{}`", code.name())), "{code:?}");
            assert!(
                Code::ALL[..i]
                    .iter()
                    .all(|other| other.name() != code.name())
            );
        }
    }

    #[test]
    fn unavailable_servers_have_a_retry_after() {
        let problem = Problem::new(Code::IndexUnavailable, "Milvus is unreachable");
        let response = to_response(&problem, "abc");
        assert_eq!(response.status(), 503);
        assert_eq!(response.header("retry-after"), Some("2"));
        assert_eq!(response.content_type(), Some("application/problem+json"));
    }
}
