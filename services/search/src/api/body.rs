//! Bodies of requests: counted while they stream in, never more in memory than allowed.
//!
//! poem's own extractors buffer whatever comes, and its size limit believes `Content-Length`;
//! so every operation that takes a body reads it here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use poem::{Body, Request, RequestBody, http::header};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ToJSON};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Settings;
use crate::api::schema::{FilterBody, QueryPart, SearchRequest};
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// Memory that all uploads together may hold.
pub(crate) struct UploadBudget {
    permits: Arc<Semaphore>,
}

/// The unit of [`UploadBudget`]: semaphores count in 32 bits.
const BUDGET_UNIT_BYTES: u64 = 4096;

impl UploadBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(usize::MAX);
        Self {
            permits: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    fn empty_permit(&self) -> UploadPermit {
        UploadPermit {
            permits: Arc::clone(&self.permits),
            permit: None,
            units: 0,
        }
    }
}

/// What one upload holds of the budget; given back when dropped.
pub(crate) struct UploadPermit {
    permits: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    units: u64,
}

impl UploadPermit {
    fn grow_to(&mut self, bytes: u64) -> Result<(), Problem> {
        let more = bytes.div_ceil(BUDGET_UNIT_BYTES).saturating_sub(self.units);
        if more == 0 {
            return Ok(());
        }
        let overloaded = || {
            Problem::new(
                Code::Overloaded,
                "other uploads take all the memory there is for them",
            )
        };
        let count = u32::try_from(more).map_err(|_| overloaded())?;
        let permit = Arc::clone(&self.permits)
            .try_acquire_many_owned(count)
            .map_err(|_| overloaded())?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        self.units += more;
        Ok(())
    }
}

/// A body in memory.
pub(crate) struct BufferedBody {
    pub bytes: Bytes,
    /// Given back with the bytes, or with what was made of them.
    pub permit: UploadPermit,
}

/// How a body is read.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimits {
    pub max_bytes: u64,
    pub timeout: Duration,
}

impl BodyLimits {
    /// For a picture as it is.
    pub(crate) fn for_image(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_upload_bytes,
            timeout: settings.upload_timeout,
        }
    }

    /// For a picture in base64 within JSON: 4 bytes for 3, and room for the rest of the question.
    pub(crate) fn for_json(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_upload_bytes.div_ceil(3) * 4 + (1 << 20),
            timeout: settings.upload_timeout,
        }
    }

    fn too_large(self) -> Problem {
        Problem::new(
            Code::UploadTooLarge,
            format!(
                "the upload is larger than {}",
                lookalike_chassis::settings::size::format_size(self.max_bytes)
            ),
        )
    }
}

/// Reads a whole body.
pub(crate) async fn read_body(
    body: Body,
    declared_bytes: Option<u64>,
    bounds: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem> {
    if declared_bytes.is_some_and(|bytes| bytes > bounds.max_bytes) {
        discard_rest(body.into_bytes_stream(), bounds).await;
        return Err(bounds.too_large());
    }
    let mut stream = Box::pin(body.into_bytes_stream());
    let reading = collect_chunks(&mut stream, bounds, budget);
    let read = tokio::time::timeout(bounds.timeout, reading)
        .await
        .map_err(|_| upload_timed_out(bounds))?;
    if read.is_err() {
        discard_rest(stream, bounds).await;
    }
    read
}

async fn collect_chunks<S, E>(
    stream: &mut S,
    bounds: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut share = budget.empty_permit();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(
                Code::InvalidRequest,
                format!("the upload broke off: {error}"),
            )
        })?;
        let length = (bytes.len() + chunk.len()) as u64;
        if length > bounds.max_bytes {
            return Err(bounds.too_large());
        }
        share.grow_to(length)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(BufferedBody {
        bytes: bytes.freeze(),
        permit: share,
    })
}

fn upload_timed_out(bounds: BodyLimits) -> Problem {
    Problem::new(
        Code::UploadTimeout,
        format!(
            "the upload was not complete after {} s",
            bounds.timeout.as_secs()
        ),
    )
}

/// Takes what was refused, up to a limit of bytes and time: a client that is still sending when the connection
/// closes sees a broken pipe instead of the answer.
async fn discard_rest<S, E>(stream: S, bounds: BodyLimits)
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let mut left = bounds.max_bytes.saturating_mul(2);
    let mut stream = std::pin::pin!(stream);
    let drained = async {
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10).min(bounds.timeout), drained).await;
}

/// Reads the one file of a form.
pub(crate) async fn read_form_file(
    body: Body,
    boundary: String,
    bounds: BodyLimits,
    budget: &UploadBudget,
) -> Result<BufferedBody, Problem> {
    // The form's own bytes come on top of the file's.
    let most = bounds.max_bytes + (64 << 10);
    let (seen, over) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let over_in_stream = Arc::clone(&over);
    let mut stream = Box::pin(body.into_bytes_stream());
    let counted = stream.by_ref().map(move |chunk| {
        let chunk = chunk?;
        let seen = seen.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
        if seen > most {
            over_in_stream.store(true, Ordering::Relaxed);
            return Err(std::io::Error::other("too large"));
        }
        Ok(chunk)
    });
    let mut form = multer::Multipart::new(counted, boundary);
    let unreadable = |error: multer::Error| match over.load(Ordering::Relaxed) {
        true => bounds.too_large(),
        false => Problem::new(
            Code::InvalidRequest,
            format!("the form can't be read: {}", error_chain(&error)),
        ),
    };
    let reading = async {
        let mut file = None;
        while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
            let named = field
                .name()
                .is_some_and(|name| name == "image" || name == "file");
            if field.file_name().is_none() && !named {
                return Err(Problem::invalid_parameter(
                    field.name().unwrap_or_default(),
                    "the form has a field that is no file; limit, library and min_score belong into the address",
                ));
            }
            if file.is_some() {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    "the form has more than one file; a search takes one",
                ));
            }
            let mut share = budget.empty_permit();
            let mut bytes = BytesMut::new();
            while let Some(chunk) = field.chunk().await.map_err(unreadable)? {
                let length = (bytes.len() + chunk.len()) as u64;
                if length > bounds.max_bytes {
                    return Err(bounds.too_large());
                }
                share.grow_to(length)?;
                bytes.extend_from_slice(&chunk);
            }
            file = Some(BufferedBody {
                bytes: bytes.freeze(),
                permit: share,
            });
        }
        file.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "the form has no file; send one in the field `image`",
            )
        })
    };
    let read = tokio::time::timeout(bounds.timeout, reading)
        .await
        .map_err(|_| upload_timed_out(bounds))?;
    drop(form);
    if read.is_err() {
        discard_rest(stream, bounds).await;
    }
    read
}

/// An error with its causes, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn declared_length(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

fn service_of_request(request: &Request) -> &Arc<SearchService> {
    request.data().expect("every request carries the service")
}

/// A picture as a body or as the one file of a form; what it is, its bytes tell.
pub(crate) struct ImageUpload(pub BufferedBody);

impl<'a> ApiExtractor<'a> for ImageUpload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let binary = || {
            MetaSchemaRef::Inline(Box::new(MetaSchema {
                description: Some("The bytes of one picture, at most 64 MiB unless set otherwise"),
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
        Some(MetaRequest {
            description: Some(
                "A picture as the whole body, whatever its content type says, or as the one file of a form",
            ),
            content: vec![
                media("image/*", binary()),
                media("application/octet-stream", binary()),
                media("multipart/form-data", form),
            ],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let service = service_of_request(request);
        let bounds = BodyLimits::for_image(&service.settings);
        let body = body.take()?;
        let content_type = request.content_type().unwrap_or_default();
        let held = if content_type
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/")
        {
            let boundary = multer::parse_boundary(content_type).map_err(|error| Problem {
                param: Some("Content-Type".into()),
                ..Problem::new(Code::InvalidRequest, error.to_string())
            })?;
            read_form_file(body, boundary, bounds, &service.upload_budget).await?
        } else {
            read_body(
                body,
                declared_length(request),
                bounds,
                &service.upload_budget,
            )
            .await?
        };
        Ok(Self(held))
    }
}

/// A question as JSON, with its share of the memory for uploads: it may hold a picture.
pub(crate) struct SearchBody(pub SearchRequest, pub UploadPermit);

impl<'a> ApiExtractor<'a> for SearchBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<SearchRequest> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("What to look for, and among which images"),
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: <Json<SearchRequest> as Payload>::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let service = service_of_request(request);
        let content_type = request.content_type().unwrap_or("application/json");
        if !<Json<SearchRequest> as Payload>::check_content_type(content_type) {
            let detail = format!(
                "{content_type} is not taken here: send JSON, or the picture itself to /v1/search/image"
            );
            return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
        }
        let bounds = BodyLimits::for_json(&service.settings);
        let held = read_body(
            body.take()?,
            declared_length(request),
            bounds,
            &service.upload_budget,
        )
        .await?;
        Ok(Self(parse_search_json(&held.bytes)?, held.permit))
    }
}

/// Values in a question: many times what all its lists and filters can hold.
const MAX_JSON_VALUES: usize = 4096;

/// Reads the JSON of a question.
pub(crate) fn parse_search_json(bytes: &[u8]) -> Result<SearchRequest, Problem> {
    // A value in memory is many times what `0,` is here.
    if has_more_values(bytes, MAX_JSON_VALUES) {
        let detail = format!("a question has at most {MAX_JSON_VALUES} values");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    SearchRequest::parse_from_json(Some(parse_json(bytes)?)).map_err(|error| Problem {
        param: parse_json(bytes)
            .ok()
            .and_then(|value| refused_field_path(&value)),
        ..unreadable_body(error.into_message())
    })
}

/// Whether a text of JSON has more than so many commas outside of its strings.
fn has_more_values(bytes: &[u8], max_values: usize) -> bool {
    let (mut commas, mut rest) = (0, bytes);
    loop {
        let string = rest.iter().position(|byte| *byte == b'"');
        let plain = &rest[..string.unwrap_or(rest.len())];
        commas += plain.iter().filter(|byte| **byte == b',').count();
        let Some(start) = string.filter(|_| commas <= max_values) else {
            return commas > max_values;
        };
        rest = &rest[start + 1..];
        // To the end of the string, past whatever is escaped.
        loop {
            let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                // It has no end, which is for the parser to say.
                return false;
            };
            let is_escape = rest[at] == b'\\';
            rest = rest.get(at + 1 + usize::from(is_escape)..).unwrap_or(&[]);
            if !is_escape {
                break;
            }
        }
    }
}

/// The field of a question that can't be read, or the one within its filter or lists.
fn refused_field_path(question: &serde_json::Value) -> Option<String> {
    let key = refused_field::<SearchRequest>(question)?;
    let within = match (&key[..], &question[key]) {
        ("filter", filter) => refused_field::<FilterBody>(filter).map(|part| format!(".{part}")),
        ("positive" | "negative", serde_json::Value::Array(list)) => refused_entry_path(list),
        _ => None,
    };
    let shown = format!("{key}{}", within.unwrap_or_default());
    Some(shown.chars().take(80).collect())
}

/// The entry of a list that can't be read, and its field.
fn refused_entry_path(list: &[serde_json::Value]) -> Option<String> {
    let is_refused =
        |entry: &serde_json::Value| QueryPart::parse_from_json(Some(entry.clone())).is_err();
    let at = list.iter().position(is_refused)?;
    let field = refused_field::<QueryPart>(&list[at]);
    Some(match field {
        Some(field) => format!("[{at}].{field}"),
        None => format!("[{at}]"),
    })
}

/// A small body of JSON, for operations that take no picture.
pub(crate) struct SmallJson<T>(pub T);

/// Room for a thousand ids, whatever spaces they come with.
const MAX_SMALL_JSON_BYTES: u64 = 256 << 10;

impl<'a, T: ParseFromJSON + ToJSON> ApiExtractor<'a> for SmallJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("At most 256 KiB"),
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: <Json<T> as Payload>::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let service = service_of_request(request);
        let content_type = request.content_type().unwrap_or("application/json");
        if !<Json<T> as Payload>::check_content_type(content_type) {
            let detail = format!("{content_type} is not taken here: send JSON");
            return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
        }
        let bounds = BodyLimits {
            max_bytes: MAX_SMALL_JSON_BYTES,
            timeout: service.settings.upload_timeout,
        };
        let held = read_body(
            body.take()?,
            declared_length(request),
            bounds,
            &service.upload_budget,
        )
        .await?;
        Ok(Self(parse_small_json(&held.bytes)?))
    }
}

/// Reads the JSON of a small body.
fn parse_small_json<T: ParseFromJSON>(bytes: &[u8]) -> Result<T, Problem> {
    let value = parse_json(bytes)?;
    T::parse_from_json(Some(value.clone())).map_err(|error| Problem {
        param: refused_field::<T>(&value).map(|key| key.chars().take(80).collect()),
        ..unreadable_body(error.into_message())
    })
}

fn parse_json(bytes: &[u8]) -> Result<serde_json::Value, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| unreadable_body(format!("the body is not JSON: {error}")))
}

/// The message may quote what was sent, however long that is.
fn unreadable_body(detail: String) -> Problem {
    let shown: String = detail.chars().take(300).collect();
    Problem::new(Code::InvalidRequest, shown)
}

/// The field of an object that can't be read. The parser does not tell, so each is tried alone:
/// all of them may be left out.
fn refused_field<T: ParseFromJSON>(object: &serde_json::Value) -> Option<&String> {
    let refused = |key: &String, value: &serde_json::Value| {
        let alone = [(key.clone(), value.clone())].into_iter().collect();
        T::parse_from_json(Some(serde_json::Value::Object(alone))).is_err()
    };
    let mut fields = object.as_object()?.iter();
    fields
        .find(|(key, value)| refused(key, value))
        .map(|(key, _)| key)
}

#[cfg(test)]
mod tests;
