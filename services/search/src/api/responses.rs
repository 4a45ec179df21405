//! The response types of the operations, with their descriptions in the OpenAPI document.

use poem::Response;
use poem_openapi::ApiResponse;
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::ToJSON;

/// The content type of JSON responses.
pub(crate) const JSON: &str = <Json<String> as Payload>::CONTENT_TYPE;

fn binary_media(content_type: &'static str) -> Vec<MetaMediaType> {
    vec![MetaMediaType {
        content_type,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary"))),
    }]
}

fn meta_response(
    status: u16,
    description: &'static str,
    content: Vec<MetaMediaType>,
) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content,
        headers: vec![],
    }
}

/// A response in JSON. poem's own type leaves the description empty.
pub(crate) struct JsonAnswer<T>(pub T);

impl<T: ToJSON + Send> poem::IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: ToJSON> ApiResponse for JsonAnswer<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType {
            content_type: JSON,
            schema: T::schema_ref(),
        }];
        MetaResponses {
            responses: vec![meta_response(200, "The result", content)],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// An original file, or a part of it.
pub(crate) struct FileResponse(pub Response);

impl poem::IntoResponse for FileResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for FileResponse {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![
                meta_response(
                    200,
                    "The file, with the content type of its format",
                    binary_media("image/*"),
                ),
                meta_response(206, "The requested range", binary_media("image/*")),
                meta_response(304, "The client has this version already", vec![]),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}

/// A small JPEG.
pub(crate) struct ThumbnailResponse(pub Response);

impl poem::IntoResponse for ThumbnailResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for ThumbnailResponse {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![
                meta_response(200, "The thumbnail", binary_media("image/jpeg")),
                meta_response(304, "The client has this version already", vec![]),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}
