//! The response types of the operations, with their descriptions in the OpenAPI document.

use poem::Response;
use poem_openapi::ApiResponse;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{ToJSON, Type};

use super::preview::PREVIEW_MEDIA_TYPES;
use crate::core::file_response::FILE_MEDIA_TYPES;

/// The content type of JSON responses.
pub(crate) const JSON: &str = <Json<String> as Payload>::CONTENT_TYPE;

/// Binary content of these types.
fn binary_media(content_types: &[&'static str]) -> Vec<MetaMediaType> {
    let media = content_types.iter().map(|&content_type| MetaMediaType {
        content_type,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary"))),
    });
    media.collect()
}

pub(super) fn meta_response(
    status: u16,
    description: &'static str,
    content: Vec<MetaMediaType>,
    headers: &[(&str, &str, bool)],
) -> MetaResponse {
    let headers = headers
        .iter()
        .map(|(name, description, required)| MetaHeader {
            name: (*name).into(),
            description: Some((*description).into()),
            required: *required,
            deprecated: false,
            schema: <String as Type>::schema_ref(),
        });
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content,
        headers: headers.collect(),
    }
}

/// Content in JSON of this schema.
pub(super) fn json_media(schema: MetaSchemaRef) -> MetaMediaType {
    MetaMediaType {
        content_type: JSON,
        schema,
    }
}

/// Headers of files, each with its description and whether it is always there.
const ETAG: (&str, &str, bool) = (
    "ETag",
    "The version of the content, for `If-None-Match`; missing while the file differs from its row",
    false,
);
const DISPOSITION: (&str, &str, bool) = (
    "Content-Disposition",
    "Whether browsers display the file, and its name",
    true,
);
const CONTENT_RANGE: (&str, &str, bool) = (
    "Content-Range",
    "The first and last byte of this part, and the size of the file",
    true,
);

/// A response in JSON. poem's own type leaves the description empty.
pub(crate) struct JsonAnswer<T>(pub T);

impl<T: ToJSON + Send> poem::IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: ToJSON> ApiResponse for JsonAnswer<T> {
    fn meta() -> MetaResponses {
        let content = vec![json_media(T::schema_ref())];
        MetaResponses {
            responses: vec![meta_response(200, "The result", content, &[])],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// A response in JSON about something that was created.
pub(crate) struct CreatedAnswer<T>(pub T);

impl<T: ToJSON + Send> poem::IntoResponse for CreatedAnswer<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        response.set_status(poem::http::StatusCode::CREATED);
        response
    }
}

impl<T: ToJSON> ApiResponse for CreatedAnswer<T> {
    fn meta() -> MetaResponses {
        let content = vec![json_media(T::schema_ref())];
        MetaResponses {
            responses: vec![meta_response(201, "It was created", content, &[])],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// An empty response.
pub(crate) struct EmptyAnswer;

impl poem::IntoResponse for EmptyAnswer {
    fn into_response(self) -> Response {
        poem::http::StatusCode::NO_CONTENT.into_response()
    }
}

impl ApiResponse for EmptyAnswer {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![meta_response(204, "Done", vec![], &[])],
        }
    }

    fn register(_: &mut Registry) {}
}

/// The types of the responses that are no JSON.
macro_rules! file_responses {
    ($($(#[$doc:meta])* $name:ident { $($response:expr),+ $(,)? })+) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub Response);

        impl poem::IntoResponse for $name {
            fn into_response(self) -> Response {
                self.0
            }
        }

        impl ApiResponse for $name {
            fn meta() -> MetaResponses {
                MetaResponses {
                    responses: vec![$($response),+],
                }
            }

            fn register(_: &mut Registry) {}
        }
    )+};
}

/// The client has the current version of a file or thumbnail.
fn not_modified() -> MetaResponse {
    meta_response(304, "The client has this version already", vec![], &[ETAG])
}

file_responses! {
    /// An original file, or a part of it.
    FileResponse {
        meta_response(
            200,
            "The file, with the content type of its format",
            binary_media(FILE_MEDIA_TYPES),
            &[ETAG, DISPOSITION],
        ),
        meta_response(
            206,
            "The part that the header `Range` of the request names",
            binary_media(FILE_MEDIA_TYPES),
            &[ETAG, DISPOSITION, CONTENT_RANGE],
        ),
        not_modified(),
    }
    /// A failed file.
    PreviewResponse {
        meta_response(
            200,
            "The file, with the content type that its first bytes show",
            binary_media(PREVIEW_MEDIA_TYPES),
            &[DISPOSITION],
        ),
    }
    /// A small JPEG.
    ThumbnailResponse {
        meta_response(200, "The thumbnail", binary_media(&["image/jpeg"]), &[ETAG]),
        not_modified(),
    }
}
