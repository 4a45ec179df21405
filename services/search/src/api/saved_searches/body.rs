//! The body of a search to be saved: it may contain images.

use poem::{Request, RequestBody};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::api::json_body::{parse_bounded_json, read_json_with_images};
use crate::api::schema::SavedSearchRequest;
use crate::core::upload_budget::UploadPermit;

/// The request, with the memory it uses.
pub(crate) struct SavedSearchUpload {
    pub request: SavedSearchRequest,
    pub permit: UploadPermit,
}

impl<'a> ApiExtractor<'a> for SavedSearchUpload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<SavedSearchRequest> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("The query, the conditions for matches, and where matches are sent"),
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: <Json<SavedSearchRequest> as Payload>::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let buffered = read_json_with_images(request, body, "send JSON").await?;
        Ok(Self {
            request: parse_bounded_json(&buffered.bytes)?,
            permit: buffered.permit,
        })
    }
}
