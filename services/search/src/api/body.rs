//! Reads the bodies of requests: counted while they stream in, never more in memory than allowed.
//!
//! poem's own extractors buffer a body of any size, and its size limit trusts `Content-Length`. So
//! each operation with a body reads it here.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use lookalike_chassis::settings::size::format_size;
use poem::{Body, Request, http::header};

use super::form_part::PartDescription;
use super::form_stream::{MAX_FORM_BYTES, ReturnedBytes, feed_form, is_too_large};
use crate::core::service::SearchService;
use crate::core::upload_budget::{UploadBudget, UploadPermit};
use crate::problem::{Code, Problem};
use crate::settings::Settings;

pub(crate) struct BufferedBody {
    pub bytes: Bytes,
    /// Lives as long as the bytes, or what they are decoded to.
    pub permit: UploadPermit,
}

#[derive(Clone, Copy)]
pub(crate) struct BodyLimits {
    pub max_bytes: u64,
    /// The limit of the images in the body; `None` for a body without images.
    pub max_image_bytes: Option<u64>,
    pub timeout: Duration,
}

/// Refuses an image that is larger than `http.max_upload_bytes`.
pub(crate) fn upload_too_large(max_bytes: u64) -> Problem {
    Problem::new(
        Code::UploadTooLarge,
        format!(
            "the upload is larger than {} (http.max_upload_bytes): raise this setting; a picture \
             that is in the index needs no upload, because it can be searched by its id \
             (`lookalike search --id ID`, GET /v1/images/ID/similar)",
            format_size(max_bytes)
        ),
    )
}

impl BodyLimits {
    /// For the bytes of an image.
    pub(crate) fn for_image(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_upload_bytes,
            max_image_bytes: Some(settings.max_upload_bytes),
            timeout: settings.upload_timeout,
        }
    }

    /// For an image in base64 within JSON: 4 bytes for 3, an eighth of them for line breaks and
    /// escapes, and room for the rest of the request.
    pub(crate) fn for_json(settings: &Settings) -> Self {
        let base64_bytes = settings.max_upload_bytes.div_ceil(3).saturating_mul(4);
        Self {
            max_bytes: base64_bytes.saturating_add(base64_bytes / 8 + (1 << 20)),
            max_image_bytes: Some(settings.max_upload_bytes),
            timeout: settings.upload_timeout,
        }
    }

    fn too_large(self) -> Problem {
        match self.max_image_bytes {
            Some(max_image_bytes) => upload_too_large(max_image_bytes),
            None => Problem::new(
                Code::UploadTooLarge,
                format!("the request is larger than {}", format_size(self.max_bytes)),
            ),
        }
    }
}

pub(crate) async fn read_body(
    body: Body,
    declared_bytes: Option<u64>,
    limits: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem> {
    if declared_bytes.is_some_and(|bytes| bytes > limits.max_bytes) {
        discard_rest(body.into_bytes_stream(), limits).await;
        return Err(limits.too_large());
    }
    let mut stream = Box::pin(body.into_bytes_stream());
    let reading = collect_chunks(&mut stream, limits, budget);
    let body = tokio::time::timeout(limits.timeout, reading)
        .await
        .map_err(|_| upload_timed_out(limits))?;
    if body.is_err() {
        discard_rest(stream, limits).await;
    }
    body
}

async fn collect_chunks<S, E>(
    stream: &mut S,
    limits: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut permit = budget.empty_permit();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(
                Code::InvalidRequest,
                format!("the upload was interrupted: {error}"),
            )
        })?;
        let length = (bytes.len() + chunk.len()) as u64;
        if length > limits.max_bytes {
            return Err(limits.too_large());
        }
        permit.grow_to(length)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(BufferedBody {
        bytes: bytes.freeze(),
        permit,
    })
}

pub(super) fn upload_timed_out(limits: BodyLimits) -> Problem {
    Problem::new(
        Code::UploadTimeout,
        format!(
            "the body of the request was incomplete after {} s; http.upload_timeout limits uploads",
            limits.timeout.as_secs()
        ),
    )
}

/// Reads the rest of a refused body, up to a limit of bytes and time. A client that is still sending
/// when the connection closes would see a broken pipe instead of the response.
pub(super) async fn discard_rest<S, E>(stream: S, limits: BodyLimits)
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let mut remaining = limits.max_bytes.saturating_mul(2);
    let mut stream = std::pin::pin!(stream);
    let drained = async {
        while let Some(Ok(chunk)) = stream.next().await {
            remaining = remaining.saturating_sub(chunk.len() as u64);
            if remaining == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10).min(limits.timeout), drained).await;
}

/// Reads a form that consists of one file.
pub(crate) async fn read_form_file(
    body: Body,
    boundary: String,
    limits: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem> {
    let max_form_bytes = limits.max_bytes.saturating_add(MAX_FORM_BYTES);
    let mut stream = Box::pin(body.into_bytes_stream());
    let returned = ReturnedBytes::default();
    let fed = feed_form(stream.by_ref(), max_form_bytes, returned.clone());
    let mut form = multer::Multipart::new(fed, boundary);
    let unreadable = |error: multer::Error| match is_too_large(&error) {
        true => limits.too_large(),
        false => Problem::new(
            Code::InvalidRequest,
            format!("cannot parse the form: {}", error_chain(&error)),
        ),
    };
    let reading = async {
        let mut file = None;
        while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
            let part = PartDescription::from_headers(field.headers());
            if !part.is_file {
                return Err(Problem::invalid_parameter(
                    part.name,
                    "the form has a field that is not a file; limit, library and min_score belong in the address",
                ));
            }
            if file.is_some() {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "the form has more than one file; a search accepts one",
                ));
            }
            let mut permit = budget.empty_permit();
            let mut bytes = BytesMut::new();
            while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
                returned.add(chunk.len());
                let length = (bytes.len() + chunk.len()) as u64;
                if length > limits.max_bytes {
                    return Err(limits.too_large());
                }
                permit.grow_to(length)?;
                bytes.extend_from_slice(&chunk);
            }
            file = Some(BufferedBody {
                bytes: bytes.freeze(),
                permit,
            });
        }
        file.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "the form has no file; send one in the field `image`",
            )
        })
    };
    let body = tokio::time::timeout(limits.timeout, reading)
        .await
        .map_err(|_| upload_timed_out(limits))?;
    drop(form);
    if body.is_err() {
        discard_rest(stream, limits).await;
    }
    body
}

/// Joins an error and its causes in one line.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(super) fn declared_length(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

pub(super) fn service_of_request(request: &Request) -> &Arc<SearchService> {
    request.data().expect("every request carries the service")
}

#[cfg(test)]
mod tests;
