//! Errors of one request: a stable code, one sentence and the parameter at fault (RFC 9457).
//!
//! Handlers return a [`Problem`]. It travels as data of a [`poem::Error`]; the middleware writes
//! the response, because only the middleware has the id of the request.

use lookalike_index::ErrorClass;
use lookalike_vision::{DEFAULT_MODEL, DecodeError};
use poem::http::StatusCode;

macro_rules! codes {
    ($($code:ident, $name:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problems, each with its stable name, status and title.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// All codes, ordered by status.
            pub(crate) const ALL: &[Self] = &[$(Self::$code,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }

            /// Describes the kind of problem; the same for each occurrence.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    InvalidRequest, "invalid_request", 400, "The request cannot be parsed";
    InvalidParameter, "invalid_parameter", 400, "A parameter is invalid";
    KeyRequired, "key_required", 401, "An API key is required";
    InvalidKey, "invalid_key", 401, "The API key is not valid";
    InsufficientScope, "insufficient_scope", 403, "The API key does not permit this";
    CrossOrigin, "cross_origin", 403, "Pages of other sites may not send this request";
    OutsideLibrary, "outside_library", 403, "The file is outside its library";
    UploadsOff, "uploads_off", 403, "This library accepts no uploads";
    DeletionsOff, "deletions_off", 403, "Files of this library may not be removed";
    NoSuchRoute, "no_such_route", 404, "There is nothing at this address";
    NoSuchImage, "no_such_image", 404, "No image has this id";
    NoSuchFile, "no_such_file", 404, "No catalog lists this file";
    NoSuchLibrary, "no_such_library", 404, "No library has this name";
    NoSuchSavedSearch, "no_such_saved_search", 404, "No saved search has this id";
    NoSuchUpload, "no_such_upload", 404, "No upload has this id";
    NoPreview, "no_preview", 404, "This file has no preview";
    MethodNotAllowed, "method_not_allowed", 405, "This address does not support this method";
    UploadTimeout, "upload_timeout", 408, "The upload took too long";
    Refused, "refused", 409, "The watcher refuses the request";
    FileChanged, "file_changed", 409, "The file was changed after it was indexed";
    TooManySavedSearches, "too_many_saved_searches", 409, "No more searches can be saved";
    ModelWithoutText, "model_without_text", 409, "The model has no text encoder";
    ModelWithoutBands, "model_without_bands", 409, "The model has no calibrated bands";
    FileGone, "file_gone", 410, "The file no longer exists";
    UploadTooLarge, "too_large", 413, "The upload is too large";
    UnsupportedMediaType, "unsupported_media_type", 415, "This content type is not supported here";
    NotAnImage, "not_an_image", 415, "The upload is not an image";
    UnsupportedFormat, "unsupported_format", 415, "This image format is not supported";
    UnsupportedFeature, "unsupported_feature", 415, "The image uses an unsupported feature";
    RangeNotSatisfiable, "range_not_satisfiable", 416, "The range is outside the file";
    UnknownHost, "unknown_host", 421, "The host name is not one of this service";
    EmptyUpload, "empty", 422, "The upload is empty";
    TooManyPixels, "too_many_pixels", 422, "The image has too many pixels";
    TooMuchMemory, "too_much_memory", 422, "Decoding the image would need too much memory";
    Truncated, "truncated", 422, "The image is truncated";
    Corrupt, "corrupt", 422, "The image is corrupt";
    TooSlow, "too_slow", 422, "Decoding the image takes too long";
    DecoderPanic, "decoder_panic", 422, "The decoder crashed on the image";
    CancelsOut, "cancels_out", 422, "The parts of the query cancel each other out";
    TooManyRequests, "too_many_requests", 429, "Too many requests from this client";
    Internal, "internal", 500, "Internal error";
    Overloaded, "overloaded", 503, "Too many requests at once";
    IndexUnavailable, "index_unavailable", 503, "The index is unreachable";
    OtherModel, "other_model", 503, "The index was built with another model";
    QueueUnavailable, "queue_unavailable", 503, "The message queue is unreachable";
    EmbedderUnavailable, "embedder_unavailable", 503, "No embedder is reachable";
    WatcherUnavailable, "watcher_unavailable", 503, "No watcher is reachable";
    LibraryUnavailable, "library_unavailable", 503, "The folder of the library is unavailable";
    NotReady, "not_ready", 503, "The service is not ready";
    RequestTimeout, "timeout", 504, "The response took too long";
    StorageFull, "storage_full", 507, "The disk is full";
}

/// A model with a text encoder, as a suggestion.
const MODEL_WITH_TEXT: &str = "clip-b32";

/// One problem with one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub code: Code,
    /// Describes this occurrence in one sentence.
    pub detail: String,
    /// The parameter, header or field at fault.
    pub param: Option<String>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            param: None,
            // Short, because the service looks for missing servers every second or so; long enough
            // that waiting clients do not overload it.
            retry_after: (code.status() == 503).then_some(2),
        }
    }

    pub(crate) fn invalid_parameter(param: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, detail).with_param(param)
    }

    pub(crate) fn with_param(self, param: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    /// Names the image that caused the problem. If it is one of a list, the detail starts with its
    /// parameter.
    pub(crate) fn about_image(self, param: &str) -> Self {
        let detail = match param.contains('[') {
            true => format!("{param}: {}", self.detail),
            false => self.detail.clone(),
        };
        Self { detail, ..self }.with_param(param)
    }

    pub(crate) fn no_such_image(id: &str) -> Self {
        Self::new(
            Code::NoSuchImage,
            format!("no image in the index has the id {id}"),
        )
    }

    pub(crate) fn model_without_text(model: &str) -> Self {
        let detail = format!(
            "the model {model} has no text encoder, so it cannot search by text; search by a \
             picture, or switch to a model with a text encoder: `lookalike models use {MODEL_WITH_TEXT}`"
        );
        Self::new(Code::ModelWithoutText, detail).with_param("text")
    }

    pub(crate) fn model_without_bands(model: &str) -> Self {
        let detail = format!(
            "it was never measured which scores of the model {model} mean near-duplicates; list \
             identical files with kind=identical, or switch to a model with bands, such as \
             `lookalike models use {DEFAULT_MODEL}`"
        );
        Self::new(Code::ModelWithoutBands, detail).with_param("kind")
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("the table has legal statuses only")
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
        let detail = match &error {
            DecodeError::TooLarge { .. } => format!(
                "{error} (vision.max_file_bytes): raise this setting, or search by the id of an \
                 indexed picture"
            ),
            error => error.to_string(),
        };
        Self::new(code.copied().unwrap_or(Code::Corrupt), detail)
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

impl From<lookalike_bus::Error> for Problem {
    fn from(error: lookalike_bus::Error) -> Self {
        Self::new(Code::QueueUnavailable, error.to_string())
    }
}

impl Problem {
    /// Converts the error of a request to the embedders of this model.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_vision_has_its_status() {
        for code in lookalike_vision::CODES {
            let ours = Code::ALL.iter().find(|ours| ours.name() == *code);
            let status = ours
                .unwrap_or_else(|| panic!("{code} is unknown here"))
                .status();
            assert!(matches!(status, 413 | 415 | 422), "{code}: {status}");
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
}
