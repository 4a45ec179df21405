//! The error types of the operations. Each one lists the codes that its operations respond with, for
//! the OpenAPI document.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;

use super::problem_response::{PROBLEM_JSON, ProblemBody};
use crate::problem::{Code, Problem};

/// The response with one status: it lists the codes that an operation responds with.
#[derive(Debug)]
struct ListedResponse {
    status: u16,
    description: String,
}

/// Codes of every operation: they come from the middleware.
const CODES_OF_ALL: [Code; 7] = [
    Code::KeyRequired,
    Code::InvalidKey,
    Code::InsufficientScope,
    Code::UnknownHost,
    Code::TooManyRequests,
    Code::Internal,
    Code::RequestTimeout,
];

/// Groups codes by their statuses.
fn list_responses(codes: &[Code]) -> Vec<ListedResponse> {
    let codes = || codes.iter().chain(&CODES_OF_ALL);
    let statuses: BTreeSet<u16> = codes().map(|code| code.status()).collect();
    let list = statuses.into_iter().map(|status| {
        let names = codes().filter(|code| code.status() == status);
        let names: Vec<String> = names.map(|code| format!("`{}`", code.name())).collect();
        ListedResponse {
            status,
            description: format!("{}: {}", describe_status(status), names.join(", ")),
        }
    });
    list.collect()
}

fn describe_status(status: u16) -> &'static str {
    match status {
        400 => "The request or one of its parameters is invalid",
        401 => "An API key is required, or the given one is not valid",
        403 => {
            "The key or the settings do not permit this, the file is outside its library, or a page of another site tries to change something"
        }
        404 => "There is no such image, file, library, saved search or upload",
        408 => "The upload took too long",
        409 => {
            "The watcher refuses the request, the file was changed, the model lacks a text encoder or bands, or there are too many saved searches"
        }
        410 => "The file no longer exists",
        413 => "The upload is too large",
        415 => "The content is not an image, or its type or format is not supported",
        416 => "The range is outside the file",
        421 => "The header Host is not a host name of this service",
        422 => {
            "The image is empty, truncated, corrupt or too large; or the parts of the query cancel \
             each other out"
        }
        429 => "This client sends too many requests; retry after Retry-After seconds",
        500 => "A bug of the service; the log has more",
        503 => "A server is unreachable or overloaded; retry after Retry-After seconds",
        504 => "The response took too long",
        507 => "The disk is full",
        _ => "The request is refused",
    }
}

/// Returns these responses as the OpenAPI document lists them.
fn error_responses(listed: &'static [ListedResponse]) -> MetaResponses {
    let responses = listed.iter().map(|response| MetaResponse {
        description: &response.description,
        status: Some(response.status),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: PROBLEM_JSON,
            schema: <ProblemBody as Type>::schema_ref(),
        }],
        headers: match response.status {
            429 | 503 => vec![MetaHeader {
                name: "Retry-After".into(),
                description: Some("Seconds after which a retry makes sense".into()),
                required: true,
                deprecated: false,
                schema: <u32 as Type>::schema_ref(),
            }],
            _ => vec![],
        },
    });
    MetaResponses {
        responses: responses.collect(),
    }
}

/// Reports a problem that the OpenAPI document does not list for its operation.
fn check_listed(operation: &str, problem: &Problem, codes: &[Code]) {
    if !codes
        .iter()
        .chain(&CODES_OF_ALL)
        .any(|code| *code == problem.code)
    {
        let code = problem.code.name();
        tracing::error!(
            code,
            operation,
            "bug: the API document does not list this code"
        );
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($code:ident),*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(Problem);

        impl $name {
            const CODES: &[Code] = &[$(Code::$code),*];
        }

        impl<T: Into<Problem>> From<T> for $name {
            fn from(problem: T) -> Self {
                let problem = problem.into();
                check_listed(stringify!($name), &problem, Self::CODES);
                Self(problem)
            }
        }

        impl From<$name> for poem::Error {
            fn from(refusal: $name) -> Self {
                refusal.0.into()
            }
        }

        impl poem_openapi::ApiResponse for $name {
            fn meta() -> MetaResponses {
                static LISTED: LazyLock<Vec<ListedResponse>> =
                    LazyLock::new(|| list_responses($name::CODES));
                error_responses(&LISTED)
            }

            fn register(registry: &mut Registry) {
                <ProblemBody as Type>::register(registry);
            }
        }
    )*};
}

refusals! {
    /// Refuses a search by images, ids and texts.
    SearchRefusal: InvalidRequest, InvalidParameter, CrossOrigin, NoSuchImage, NoSuchLibrary,
        UploadTimeout, ModelWithoutText, UploadTooLarge, UnsupportedMediaType, NotAnImage,
        UnsupportedFormat, UnsupportedFeature, EmptyUpload, TooManyPixels, TooMuchMemory, Truncated,
        Corrupt, TooSlow, DecoderPanic, CancelsOut, Overloaded, IndexUnavailable, OtherModel,
        QueueUnavailable, EmbedderUnavailable, OutsideLibrary, FileGone, LibraryUnavailable;
    /// Refuses a search by a file.
    UploadRefusal: InvalidRequest, InvalidParameter, CrossOrigin, NoSuchLibrary, UploadTimeout,
        UploadTooLarge, NotAnImage, UnsupportedFormat, UnsupportedFeature, EmptyUpload,
        TooManyPixels, TooMuchMemory, Truncated, Corrupt, TooSlow, DecoderPanic, Overloaded,
        IndexUnavailable, OtherModel, QueueUnavailable, EmbedderUnavailable;
    /// Refuses a search by an image of the index.
    SimilarRefusal: InvalidRequest, InvalidParameter, OutsideLibrary, NoSuchImage, NoSuchLibrary,
        FileGone, NotAnImage, UnsupportedFormat, UnsupportedFeature, EmptyUpload, TooManyPixels,
        TooMuchMemory, Truncated, Corrupt, TooSlow, DecoderPanic, Overloaded, IndexUnavailable,
        OtherModel, QueueUnavailable, EmbedderUnavailable, LibraryUnavailable;
    /// Refuses to save a search.
    SaveRefusal: InvalidRequest, InvalidParameter, CrossOrigin, NoSuchImage, NoSuchLibrary,
        UploadTimeout, TooManySavedSearches, ModelWithoutText, UploadTooLarge, UnsupportedMediaType,
        NotAnImage, UnsupportedFormat, UnsupportedFeature, EmptyUpload, TooManyPixels, TooMuchMemory,
        Truncated, Corrupt, TooSlow, DecoderPanic, CancelsOut, Overloaded, IndexUnavailable,
        OtherModel, QueueUnavailable, EmbedderUnavailable;
    /// Refuses to show or delete saved searches and their matches.
    SavedSearchRefusal: InvalidRequest, InvalidParameter, CrossOrigin, NoSuchSavedSearch,
        QueueUnavailable;
    /// Refuses a list of images.
    ListRefusal: InvalidRequest, InvalidParameter, NoSuchLibrary, IndexUnavailable, OtherModel;
    /// Refuses to count values.
    CountRefusal: InvalidParameter, NoSuchLibrary, Overloaded, IndexUnavailable, OtherModel;
    /// Refuses to list duplicates.
    DuplicatesRefusal: InvalidParameter, NoSuchLibrary, ModelWithoutBands, Overloaded,
        IndexUnavailable, OtherModel;
    /// Refuses to compare two images.
    CompareRefusal: InvalidParameter, OutsideLibrary, NoSuchImage, FileGone, NotAnImage,
        UnsupportedFormat, UnsupportedFeature, EmptyUpload, TooManyPixels, TooMuchMemory, Truncated,
        Corrupt, TooSlow, DecoderPanic, Overloaded, IndexUnavailable, OtherModel, LibraryUnavailable;
    /// Refuses the row of an image.
    ImageRefusal: InvalidParameter, NoSuchImage, IndexUnavailable, OtherModel;
    /// Refuses an original file.
    FileRefusal: InvalidParameter, OutsideLibrary, NoSuchImage, FileGone,
        RangeNotSatisfiable, IndexUnavailable, OtherModel, LibraryUnavailable;
    /// Refuses to store a picture.
    StoreRefusal: InvalidRequest, InvalidParameter, CrossOrigin, UploadsOff, NoSuchLibrary,
        UploadTimeout, UploadTooLarge, NotAnImage, UnsupportedFormat, UnsupportedFeature, EmptyUpload,
        Overloaded, LibraryUnavailable, StorageFull;
    /// Refuses the state of an upload.
    UploadStateRefusal: NoSuchUpload, Refused, IndexUnavailable, OtherModel, QueueUnavailable,
        WatcherUnavailable, LibraryUnavailable;
    /// Refuses to move a file to the trash.
    RemovalRefusal: InvalidParameter, CrossOrigin, OutsideLibrary, DeletionsOff, NoSuchImage,
        FileChanged, FileGone, IndexUnavailable, OtherModel, LibraryUnavailable, StorageFull;
    /// Refuses a thumbnail.
    ThumbnailRefusal: InvalidParameter, OutsideLibrary, NoSuchImage, FileGone,
        NotAnImage, UnsupportedFormat, UnsupportedFeature, EmptyUpload, TooManyPixels,
        TooMuchMemory, Truncated, Corrupt, TooSlow, DecoderPanic, Overloaded, IndexUnavailable,
        OtherModel, LibraryUnavailable;
    /// Refuses a preview of a failed file.
    PreviewRefusal: InvalidParameter, OutsideLibrary, NoSuchFile, NoSuchLibrary, NoPreview, Refused,
        FileGone, QueueUnavailable, WatcherUnavailable, LibraryUnavailable;
    /// Refuses a list of failed files.
    FailuresRefusal: InvalidParameter, NoSuchLibrary, Refused, QueueUnavailable,
        WatcherUnavailable;
    /// Refuses the history of a file.
    HistoryRefusal: InvalidParameter, NoSuchFile, NoSuchLibrary, Refused, QueueUnavailable,
        WatcherUnavailable;
    /// Refuses an action on failed files.
    SelectionRefusal: InvalidRequest, InvalidParameter, CrossOrigin, NoSuchLibrary, UploadTimeout,
        Refused, UploadTooLarge, UnsupportedMediaType, Overloaded, QueueUnavailable,
        WatcherUnavailable;
    /// Refuses an action on a library.
    LibraryRefusal: InvalidParameter, CrossOrigin, NoSuchLibrary, Refused, QueueUnavailable,
        WatcherUnavailable;
    /// Refuses a query of the status.
    StatusRefusal: ;
    /// Refuses to sign in or out.
    SessionRefusal: InvalidRequest, InvalidParameter, CrossOrigin, UploadTimeout, UploadTooLarge,
        UnsupportedMediaType, Overloaded;
    /// Refuses a stream of events.
    EventsRefusal: InvalidParameter, NoSuchLibrary, Overloaded, IndexUnavailable, OtherModel;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_grouped_by_status() {
        let listed = list_responses(&[Code::NoSuchFile, Code::InvalidRequest, Code::NoSuchImage]);
        let statuses: Vec<u16> = listed.iter().map(|response| response.status).collect();
        assert_eq!(statuses, [400, 401, 403, 404, 421, 429, 500, 504]);
        assert!(
            listed[3]
                .description
                .ends_with(": `no_such_file`, `no_such_image`")
        );
    }

    #[test]
    fn every_status_is_described() {
        for code in Code::ALL {
            let is_of_operations = !matches!(code, Code::MethodNotAllowed);
            let is_described = describe_status(code.status()) != "The request is refused";
            assert_eq!(is_described, is_of_operations, "{code:?}");
        }
    }
}
