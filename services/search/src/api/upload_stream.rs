//! Streams an uploaded picture to its library: it is never as a whole in memory.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use poem::{Body, Request, RequestBody};
use poem_openapi::registry::MetaRequest;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{BodyLimits, declared_length, discard_rest, error_chain, upload_timed_out};
use super::form_part::PartDescription;
use super::form_stream::{MAX_FORM_BYTES, ReturnedBytes, feed_form, is_too_large};
use super::image_upload::{describe_image_request, form_boundary};
use crate::problem::{Code, Problem};
use crate::uploads::receive::{ReceivedUpload, UploadReceiver, picture_too_large};
use crate::uploads::target::TargetName;

/// The body of a request for an upload, which is not read yet.
pub(crate) struct UploadStream {
    body: Body,
    declared_bytes: Option<u64>,
    /// Of a form.
    boundary: Option<String>,
}

impl<'a> ApiExtractor<'a> for UploadStream {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        Some(describe_image_request(
            "The bytes of one image, by default at most 256 MiB",
        ))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self {
            boundary: form_boundary(request)?,
            declared_bytes: declared_length(request),
            body: body.take()?,
        })
    }
}

/// How large a body may be and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamLimits {
    pub max_bytes: u64,
    pub timeout: Duration,
}

impl StreamLimits {
    fn as_body_limits(self) -> BodyLimits {
        BodyLimits {
            max_bytes: self.max_bytes,
            max_image_bytes: None,
            timeout: self.timeout,
        }
    }
}

impl UploadStream {
    /// Reads the body without using it, so that a client that is still sending sees the refusal.
    pub(super) async fn discard(self, limits: StreamLimits) {
        discard_rest(self.body.into_bytes_stream(), limits.as_body_limits()).await;
    }

    /// Passes the body to the receiver. Returns the picture, and the name that a form gives it.
    pub(super) async fn receive(
        self,
        receiver: UploadReceiver,
        limits: StreamLimits,
    ) -> Result<(ReceivedUpload, Option<TargetName>), Problem> {
        if self.declared_bytes > Some(limits.max_bytes.saturating_add(MAX_FORM_BYTES)) {
            self.discard(limits).await;
            return Err(picture_too_large(limits.max_bytes));
        }
        let Self { body, boundary, .. } = self;
        let mut stream = Box::pin(body.into_bytes_stream());
        let receiving = async {
            match boundary {
                Some(boundary) => receive_form(&mut stream, boundary, receiver, limits).await,
                None => {
                    let received = receive_chunks(&mut stream, receiver).await?;
                    Ok((received, None))
                }
            }
        };
        let received = tokio::time::timeout(limits.timeout, receiving)
            .await
            .map_err(|_| upload_timed_out(limits.as_body_limits()))?;
        if received.is_err() {
            discard_rest(stream, limits.as_body_limits()).await;
        }
        received
    }
}

async fn receive_chunks<S, E>(
    stream: &mut S,
    mut receiver: UploadReceiver,
) -> Result<ReceivedUpload, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    while let Some(chunk) = stream.next().await {
        let interrupted = |error: E| {
            let detail = format!("the upload was interrupted: {error}");
            Problem::new(Code::InvalidRequest, detail)
        };
        receiver.receive(&chunk.map_err(interrupted)?).await?;
    }
    receiver.finish().await
}

async fn receive_form<S>(
    stream: &mut S,
    boundary: String,
    mut receiver: UploadReceiver,
    limits: StreamLimits,
) -> Result<(ReceivedUpload, Option<TargetName>), Problem>
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Unpin + Send,
{
    let max_bytes = limits.max_bytes.saturating_add(MAX_FORM_BYTES);
    let returned = ReturnedBytes::default();
    let body = feed_form(stream, max_bytes, returned.clone());
    let mut form = multer::Multipart::new(body, boundary);
    let unreadable = |error: multer::Error| match is_too_large(&error) {
        true => picture_too_large(limits.max_bytes),
        false => Problem::new(
            Code::InvalidRequest,
            format!("cannot parse the form: {}", error_chain(&error)),
        ),
    };
    let mut file_name = None;
    let mut has_file = false;
    while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
        let part = PartDescription::from_headers(field.headers());
        if !part.is_file {
            let detail = "the form has a field that is not a file; library, folder and name belong in \
                          the address";
            return Err(Problem::invalid_parameter(part.name, detail));
        }
        if has_file {
            let detail = "the form has more than one file; send each in a request of its own";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        has_file = true;
        file_name = part.file_name.as_deref().and_then(TargetName::from_form);
        while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
            returned.add(chunk.len());
            receiver.receive(&chunk).await?;
        }
    }
    if !has_file {
        let detail = "the form has no file; send one in the field `image`";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok((receiver.finish().await?, file_name))
}
