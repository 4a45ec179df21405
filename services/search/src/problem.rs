//! What went wrong with one request, as the client sees it: `application/problem+json`
//! (RFC 9457) with a code from [`Code::ALL`].
//!
//! Handlers return a [`Problem`]; it travels as data of an empty response, and the front
//! (`front.rs`) writes the body, because only the front knows the request's id. poem's own errors
//! become problems there as well, so that every error has the same shape.

use lookalike_index::ErrorClass;
use lookalike_vision::DecodeError;
use poem::http::StatusCode;
use poem::{Response, http::header};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, Type};
use poem_openapi::{Object, registry::MetaResponses};

macro_rules! codes {
    ($($code:ident, $name:literal, $status:literal, $title:literal;)*) => {
        /// Kinds of problems, each with its stable name, status and title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// Every code, in the order of the statuses.
            pub(crate) const ALL: &[Self] = &[$(Self::$code,)*];

            /// The stable name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// The HTTP status.
            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            /// What this kind of problem is, the same for each occurrence.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    InvalidRequest, "invalid_request", 400, "The request can't be read";
    InvalidParameter, "invalid_parameter", 400, "A parameter is not as it must be";
    CrossOrigin, "cross_origin", 403, "Pages of other sites may not ask this";
    OutsideLibrary, "outside_library", 403, "The file leads out of its library";
    NoSuchRoute, "no_such_route", 404, "There is nothing at this address";
    NoSuchImage, "no_such_image", 404, "No image has this id";
    NoSuchFile, "no_such_file", 404, "No watcher knows this file";
    NoSuchLibrary, "no_such_library", 404, "No library has this name";
    MethodNotAllowed, "method_not_allowed", 405, "This address does not take this method";
    UploadTimeout, "upload_timeout", 408, "The upload took too long";
    Refused, "refused", 409, "The watcher refuses";
    ModelWithoutText, "model_without_text", 409, "The model has no text side";
    FileGone, "file_gone", 410, "The file is not there any more";
    UploadTooLarge, "too_large", 413, "The upload is too large";
    UnsupportedMediaType, "unsupported_media_type", 415, "This content type is not taken here";
    NotAnImage, "not_an_image", 415, "The upload is not an image";
    UnsupportedFormat, "unsupported_format", 415, "Images of this format can't be read";
    UnsupportedFeature, "unsupported_feature", 415, "The image uses a feature that can't be read";
    RangeNotSatisfiable, "range_not_satisfiable", 416, "The range lies outside the file";
    UnknownHost, "unknown_host", 421, "The service does not go by this name";
    EmptyUpload, "empty", 422, "The upload is empty";
    TooManyPixels, "too_many_pixels", 422, "The image has too many pixels";
    TooMuchMemory, "too_much_memory", 422, "Decoding the image would take too much memory";
    Truncated, "truncated", 422, "The image is cut short";
    Corrupt, "corrupt", 422, "The image is damaged";
    TooSlow, "too_slow", 422, "Decoding the image takes too long";
    DecoderPanic, "decoder_panic", 422, "The image brought its decoder down";
    CancelsOut, "cancels_out", 422, "The parts of the question cancel each other out";
    Internal, "internal", 500, "The service made a mistake";
    Overloaded, "overloaded", 503, "Too much is asked at once";
    IndexUnavailable, "index_unavailable", 503, "The index does not answer";
    OtherModel, "other_model", 503, "The index and the model do not belong together";
    QueueUnavailable, "queue_unavailable", 503, "The message queue does not answer";
    EmbedderUnavailable, "embedder_unavailable", 503, "No embedder answers";
    WatcherUnavailable, "watcher_unavailable", 503, "No watcher answers";
    LibraryUnavailable, "library_unavailable", 503, "The library's folder can't be reached";
    NotReady, "not_ready", 503, "A search would not be answered now";
    RequestTimeout, "timeout", 504, "The answer took too long";
}

/// A model that has a text side, for those who miss one.
const MODEL_WITH_TEXT: &str = "clip-b32";

/// One problem with one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub code: Code,
    /// This occurrence, in one sentence.
    pub detail: String,
    /// The parameter, header or field that it is about.
    pub param: Option<String>,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            param: None,
            // What is away is looked for again soon; clients that wait this long do not stampede.
            retry_after: (code.status() == 503).then_some(2),
        }
    }

    pub(crate) fn invalid_parameter(param: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::new(Code::InvalidParameter, detail)
        }
    }

    /// The same, about this parameter.
    pub(crate) fn about(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    /// The same, about this picture, and one within a list is named in the sentence too.
    pub(crate) fn about_image(self, param: &str) -> Self {
        let detail = match param.contains('[') {
            true => format!("{param}: {}", self.detail),
            false => self.detail.clone(),
        };
        Self { detail, ..self }.about(param)
    }

    pub(crate) fn no_such_image(id: &str) -> Self {
        Self::new(
            Code::NoSuchImage,
            format!("no image in the index has the id {id}"),
        )
    }

    /// Words were asked for, and the model knows pictures only.
    pub(crate) fn model_without_text(model: &str) -> Self {
        let detail = format!(
            "the model {model} has no text side, so that nothing can be found by words; search \
             with a picture, or go over to a model that has one: `lookalike models use {MODEL_WITH_TEXT}`"
        );
        Self::new(Code::ModelWithoutText, detail).about("text")
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("the table has legal statuses only")
    }

    /// The document that the client reads.
    pub(crate) fn to_body(&self, request_id: &str) -> ProblemBody {
        ProblemBody {
            r#type: format!("urn:lookalike:problem:{}", self.code.name()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.name().to_owned(),
            param: self.param.clone(),
            request_id: request_id.to_owned(),
        }
    }

    /// The whole response.
    pub(crate) fn to_response(&self, request_id: &str) -> Response {
        use poem_openapi::types::ToJSON as _;
        let mut response = Response::builder()
            .status(self.status())
            .content_type("application/problem+json")
            .header(header::CACHE_CONTROL, "no-store");
        if let Some(seconds) = self.retry_after {
            response = response.header(header::RETRY_AFTER, seconds.to_string());
        }
        response.body(self.to_body(request_id).to_json_string())
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_status(problem.status());
        error.set_data(problem);
        error
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let code = Code::ALL.iter().find(|code| code.name() == error.code());
        Self::new(code.copied().unwrap_or(Code::Corrupt), error.to_string())
    }
}

impl From<lookalike_index::Error> for Problem {
    fn from(error: lookalike_index::Error) -> Self {
        use lookalike_index::Error as Index;
        let code = match (&error, error.class()) {
            (Index::InvalidQuery { .. }, _) => Code::InvalidRequest,
            (Index::ModelMismatch { .. }, _) => Code::OtherModel,
            (_, ErrorClass::Reject) => Code::Internal,
            (_, ErrorClass::Retry | ErrorClass::Fatal) => Code::IndexUnavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl Problem {
    /// What a failed question to the embedders means for a search.
    pub(crate) fn from_embed(error: &lookalike_bus::Error, model: &str) -> Self {
        use lookalike_bus::Error as Bus;
        let code = match error {
            Bus::EmbedRefused { code, .. } if code == lookalike_bus::NO_TEXT => {
                return Self::model_without_text(model);
            }
            Bus::NoResponders(_) | Bus::EmbedRefused { .. } => Code::EmbedderUnavailable,
            _ => Code::QueueUnavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Every error of this service (RFC 9457).
#[derive(Debug, Object)]
#[oai(rename = "Problem", example, skip_serializing_if_is_none)]
pub(crate) struct ProblemBody {
    /// The kind of problem as a URN: `urn:lookalike:problem:` and the code.
    r#type: String,
    /// The kind of problem in words, the same for each occurrence.
    title: String,
    /// The HTTP status.
    status: u16,
    /// This occurrence, in one sentence.
    detail: String,
    /// The kind of problem as a stable name; programs decide by it. One of `invalid_request`,
    /// `invalid_parameter` (400), `cross_origin`, `outside_library` (403), `no_such_route`,
    /// `no_such_image`, `no_such_file`, `no_such_library` (404), `method_not_allowed` (405),
    /// `upload_timeout` (408), `expect_refusal`, `model_without_text` (409), `file_gone` (410),
    /// `too_large` (413), `unsupported_media_type`, `not_an_image`, `unsupported_format`,
    /// `unsupported_feature` (415), `range_not_satisfiable` (416), `unknown_host` (421), `empty`, `too_many_pixels`,
    /// `too_much_memory`, `truncated`, `corrupt`, `too_slow`, `decoder_panic`, `cancels_out` (422),
    /// `internal` (500),
    /// `overloaded`, `index_unavailable`, `other_model`, `queue_unavailable`,
    /// `embedder_unavailable`, `watcher_unavailable`, `library_unavailable`, `not_ready` (503,
    /// with Retry-After) and `timeout` (504).
    code: String,
    /// The parameter, header or field that the problem is about, where it is about one.
    param: Option<String>,
    /// This request, as in the response's `X-Request-Id` and in the logs.
    request_id: String,
}

impl Example for ProblemBody {
    fn example() -> Self {
        Problem::invalid_parameter("limit", "limit is 5000, and must be 1 to 1000")
            .to_body("9f1c2b7a4e60d358")
    }
}

/// The responses that stand in the API's document for some statuses.
fn error_responses(statuses: &[u16]) -> MetaResponses {
    let responses = statuses.iter().map(|&status| MetaResponse {
        description: match status {
            400 => "The request or one of its parameters can't be read",
            403 => {
                "The file leads out of its library, or what changes something is asked by the \
                 page of another site"
            }
            404 => "There is no such image, file or library",
            408 => "The upload took too long",
            409 => "The watcher refuses, or words are asked for and the model has no text side",
            410 => "The file is not there any more",
            413 => "The upload is too large",
            415 => "The upload is not an image, or of a kind that can't be read",
            416 => "The range lies outside the file",
            421 => "The service does not go by the name that the header Host has",
            422 => {
                "The image is empty, cut short, damaged, or has too many pixels; or the parts of \
                 the question cancel each other out"
            }
            503 => "Something that is needed is away or overloaded; come back after Retry-After",
            _ => "The answer took too long",
        },
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: "application/problem+json",
            schema: <ProblemBody as Type>::schema_ref(),
        }],
        headers: match status {
            503 => vec![MetaHeader {
                name: "Retry-After".into(),
                description: Some("Seconds after which another try makes sense".into()),
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
    /// How a search is refused.
    SearchRefusal: 400, 403, 404, 408, 409, 413, 415, 421, 422, 503, 504;
    /// How a question to the index is refused.
    ReadRefusal: 400, 404, 409, 421, 503, 504;
    /// How an order to the watchers is refused.
    OrderRefusal: 400, 403, 404, 408, 409, 413, 415, 421, 503, 504;
    /// How a question about the service is refused.
    PlainRefusal: 421, 504;
    /// How a file is refused.
    FileRefusal: 400, 403, 404, 409, 410, 415, 416, 421, 503, 504;
    /// How a small picture is refused.
    ThumbnailRefusal: 400, 403, 404, 410, 415, 421, 422, 503, 504;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_vision_has_its_status() {
        for code in lookalike_vision::CODES {
            let known = Code::ALL.iter().find(|known| known.name() == *code);
            let status = known
                .unwrap_or_else(|| panic!("{code} is unknown here"))
                .status();
            assert!(matches!(status, 413 | 415 | 422), "{code}: {status}");
        }
    }

    #[test]
    fn codes_are_documented_and_distinct() {
        let schema = {
            let mut registry = Registry::new();
            <ProblemBody as Type>::register(&mut registry);
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
    fn a_picture_of_a_list_is_named() {
        let problem = || Problem::new(Code::Truncated, "the image is cut short");
        let listed = problem().about_image("negative[1].image");
        assert_eq!(listed.detail, "negative[1].image: the image is cut short");
        assert_eq!(listed.param.as_deref(), Some("negative[1].image"));
        let alone = problem().about_image("image");
        assert_eq!(alone.detail, "the image is cut short");
        assert_eq!(alone.param.as_deref(), Some("image"));
    }

    #[test]
    fn what_is_away_says_when_to_come_back() {
        let problem = Problem::new(Code::IndexUnavailable, "Milvus is away");
        let response = problem.to_response("abc");
        assert_eq!(response.status(), 503);
        assert_eq!(response.header("retry-after"), Some("2"));
        assert_eq!(response.content_type(), Some("application/problem+json"));
    }
}
