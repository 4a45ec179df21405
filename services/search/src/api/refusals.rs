//! The error types of the operations. Each one lists the statuses that its operations respond with,
//! for the OpenAPI document.

use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;

use super::problem_response::{PROBLEM_JSON, ProblemBody};
use crate::problem::Problem;

/// Returns the responses that the OpenAPI document lists for these statuses.
fn error_responses(statuses: &[u16]) -> MetaResponses {
    let responses = statuses.iter().map(|&status| MetaResponse {
        description: match status {
            400 => "The request or one of its parameters is invalid",
            403 => {
                "The file is outside its library, or a page of another site tries to change \
                 something"
            }
            404 => "There is no such image, file or library",
            408 => "The upload took too long",
            409 => "The watcher refuses the request, or the model has no text encoder",
            410 => "The file no longer exists",
            413 => "The upload is too large",
            415 => "The upload is not an image, or its format is not supported",
            416 => "The range is outside the file",
            421 => "The header Host is not a host name of this service",
            422 => {
                "The image is empty, truncated, corrupt or too large; or the parts of the query \
                 cancel each other out"
            }
            503 => "A server is unreachable or overloaded; retry after Retry-After seconds",
            _ => "The response took too long",
        },
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: PROBLEM_JSON,
            schema: <ProblemBody as Type>::schema_ref(),
        }],
        headers: match status {
            503 => vec![MetaHeader {
                name: "Retry-After".into(),
                description: Some("Seconds after which a retry makes sense".into()),
                required: true,
                deprecated: false,
                schema: u32_schema(),
            }],
            _ => vec![],
        },
    });
    MetaResponses {
        responses: responses.collect(),
    }
}

fn u32_schema() -> MetaSchemaRef {
    <u32 as Type>::schema_ref()
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($status:literal),+;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(Problem);

        impl<T: Into<Problem>> From<T> for $name {
            fn from(problem: T) -> Self {
                Self(problem.into())
            }
        }

        impl From<$name> for poem::Error {
            fn from(refusal: $name) -> Self {
                refusal.0.into()
            }
        }

        impl poem_openapi::ApiResponse for $name {
            fn meta() -> MetaResponses {
                error_responses(&[$($status),+])
            }

            fn register(registry: &mut Registry) {
                <ProblemBody as Type>::register(registry);
            }
        }
    )*};
}

refusals! {
    /// Refuses a search.
    SearchRefusal: 400, 403, 404, 408, 409, 413, 415, 421, 422, 503, 504;
    /// Refuses a query of the index.
    ReadRefusal: 400, 404, 409, 421, 503, 504;
    /// Refuses to count values.
    CountRefusal: 400, 404, 421, 503, 504;
    /// Refuses an action of a watcher.
    ActionRefusal: 400, 403, 404, 408, 409, 413, 415, 421, 503, 504;
    /// Refuses a query of the status.
    StatusRefusal: 421, 504;
    /// Refuses an original file.
    FileRefusal: 400, 403, 404, 409, 410, 415, 416, 421, 503, 504;
    /// Refuses a thumbnail.
    ThumbnailRefusal: 400, 403, 404, 410, 415, 421, 422, 503, 504;
}
