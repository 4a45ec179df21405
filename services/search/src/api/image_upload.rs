//! The extractor of uploaded images.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{
    BodyLimits, BufferedBody, declared_length, read_body, read_form_file, service_of_request,
};
use crate::problem::{Code, Problem};

/// An image as the whole body, or as the one file of a form. Its format is detected from its bytes.
pub(crate) struct ImageUpload(pub BufferedBody);

impl<'a> ApiExtractor<'a> for ImageUpload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        Some(describe_image_request(
            "The bytes of one image, by default at most 64 MiB",
        ))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let service = service_of_request(request);
        let limits = BodyLimits::for_image(&service.settings);
        let body = body.take()?;
        let buffered = match form_boundary(request)? {
            Some(boundary) => {
                read_form_file(body, boundary, limits, &service.upload_budget).await?
            }
            None => {
                let length = declared_length(request);
                read_body(body, length, limits, &service.upload_budget).await?
            }
        };
        Ok(Self(buffered))
    }
}

/// Describes a body that is an image, or a form with one.
pub(super) fn describe_image_request(bytes: &'static str) -> MetaRequest {
    let binary = || {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some(bytes),
            ..MetaSchema::new_with_format("string", "binary")
        }))
    };
    let form = MetaSchemaRef::Inline(Box::new(MetaSchema {
        required: vec!["image"],
        properties: vec![("image", binary())],
        ..MetaSchema::new("object")
    }));
    let media = |content_type, schema| MetaMediaType {
        content_type,
        schema,
    };
    MetaRequest {
        description: Some(
            "An image as the whole body, of any content type, or as the one file of a form",
        ),
        content: vec![
            media("image/*", binary()),
            media("application/octet-stream", binary()),
            media("multipart/form-data", form),
        ],
        required: true,
    }
}

/// Returns the boundary of the parts if the body is a form.
pub(super) fn form_boundary(request: &Request) -> Result<Option<String>, Problem> {
    let content_type = request.content_type().unwrap_or_default();
    let media_type = content_type.trim_start().to_ascii_lowercase();
    if !media_type.starts_with("multipart/") {
        return Ok(None);
    }
    let boundary = multer::parse_boundary(content_type).map_err(|error| Problem {
        param: Some("Content-Type".into()),
        ..Problem::new(Code::InvalidRequest, error.to_string())
    })?;
    Ok(Some(boundary))
}
