//! The extractors of JSON bodies.

use std::time::Duration;

use poem::{Request, RequestBody};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::{ParseFromJSON, ToJSON};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{BodyLimits, declared_length, read_body, service_of_request};
use super::schema::{QueryPart, SavedSearchRequest, SearchRequest, Selection};
use crate::core::upload_budget::UploadPermit;
use crate::problem::{Code, Problem};

/// A request in JSON that may contain images.
pub(crate) trait RequestWithImages: ParseFromJSON + ToJSON {
    /// Describes the body in the API document.
    const BODY: &'static str;
    /// What to send instead of a body of another type.
    const INSTEAD: &'static str;

    fn parse_body(bytes: &[u8]) -> Result<Self, Problem>;
}

impl RequestWithImages for SearchRequest {
    const BODY: &'static str = "The query, and the conditions for hits";
    const INSTEAD: &'static str = "send JSON, or the image itself to /v1/search/image";

    fn parse_body(bytes: &[u8]) -> Result<Self, Problem> {
        parse_search_json(bytes)
    }
}

impl RequestWithImages for SavedSearchRequest {
    const BODY: &'static str = "The query, the conditions for matches, and where matches are sent";
    const INSTEAD: &'static str = "send JSON";

    fn parse_body(bytes: &[u8]) -> Result<Self, Problem> {
        check_value_count(bytes)?;
        parse_small_json(bytes)
    }
}

/// A request with the memory it uses.
pub(crate) struct JsonWithImages<T> {
    pub request: T,
    pub permit: UploadPermit,
}

impl<'a, T: RequestWithImages> ApiExtractor<'a> for JsonWithImages<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some(T::BODY),
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
            let detail = format!("{content_type} is not supported here: {}", T::INSTEAD);
            return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
        }
        let limits = BodyLimits::for_json(&service.settings);
        let length = declared_length(request);
        let buffered = read_body(body.take()?, length, limits, &service.upload_budget).await?;
        Ok(Self {
            request: T::parse_body(&buffered.bytes)?,
            permit: buffered.permit,
        })
    }
}

/// Values in a search request: many times what its lists and filters may contain.
const MAX_JSON_VALUES: usize = 4096;

pub(crate) fn parse_search_json(bytes: &[u8]) -> Result<SearchRequest, Problem> {
    check_value_count(bytes)?;
    SearchRequest::parse_from_json(Some(parse_json(bytes)?)).map_err(|error| {
        let param = parse_json(bytes)
            .ok()
            .and_then(|value| refused_field_path(&value));
        let detail = match param.as_deref() {
            Some("consistency") => "consistency must be bounded or strong".to_owned(),
            Some("group") => "group must be content or near".to_owned(),
            _ => error.into_message(),
        };
        Problem {
            param,
            ..unreadable_body(detail)
        }
    })
}

/// A parsed value takes many times the memory of a text like `0,`.
fn check_value_count(bytes: &[u8]) -> Result<(), Problem> {
    if has_more_values(bytes, MAX_JSON_VALUES) {
        let detail = format!("a search request may have at most {MAX_JSON_VALUES} values");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(())
}

/// Whether a JSON text has more than so many commas outside its strings.
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
        // Skips to the end of the string, over escaped characters.
        loop {
            let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                // The string has no end; the parser reports that.
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

/// Returns the path of the field that cannot be parsed, also within the lists. The conditions of a
/// filter are parsed later.
fn refused_field_path(request: &serde_json::Value) -> Option<String> {
    let key = refused_field::<SearchRequest>(request)?;
    let within = match (&key[..], &request[key]) {
        ("positive" | "negative", serde_json::Value::Array(list)) => refused_entry_path(list),
        _ => None,
    };
    let shown = format!("{key}{}", within.unwrap_or_default());
    Some(shown.chars().take(80).collect())
}

/// Returns the path of the list entry that cannot be parsed.
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

/// A request in JSON without an image.
pub(crate) trait SmallRequest: ParseFromJSON + ToJSON {
    /// Describes the body in the API document.
    const BODY: &'static str;
    const MAX_BYTES: u64;
    /// How long to wait for the body at most, even if `http.upload_timeout` is longer.
    const MAX_TIMEOUT: Duration;
}

impl SmallRequest for Selection {
    const BODY: &'static str = "At most 256 KiB";
    /// Enough for a thousand ids, with generous white space.
    const MAX_BYTES: u64 = 256 << 10;
    const MAX_TIMEOUT: Duration = Duration::MAX;
}

/// A small JSON body, for operations without an image.
pub(crate) struct SmallJson<T>(pub T);

impl<'a, T: SmallRequest> ApiExtractor<'a> for SmallJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some(T::BODY),
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
            let detail = format!("{content_type} is not supported here: send JSON");
            return Err(Problem::new(Code::UnsupportedMediaType, detail).into());
        }
        let limits = BodyLimits {
            max_bytes: T::MAX_BYTES,
            max_image_bytes: None,
            timeout: service.settings.upload_timeout.min(T::MAX_TIMEOUT),
        };
        let buffered = read_body(
            body.take()?,
            declared_length(request),
            limits,
            &service.upload_budget,
        )
        .await?;
        Ok(Self(parse_small_json(&buffered.bytes)?))
    }
}

fn parse_small_json<T: ParseFromJSON>(bytes: &[u8]) -> Result<T, Problem> {
    T::parse_from_json(Some(parse_json(bytes)?)).map_err(|error| {
        let value = parse_json(bytes).ok();
        let param = value.as_ref().and_then(refused_field::<T>);
        Problem {
            param: param.map(|key| key.chars().take(80).collect()),
            ..unreadable_body(error.into_message())
        }
    })
}

/// Parses UTF-8 with or without a byte order mark, which some programs write in front.
fn parse_json(bytes: &[u8]) -> Result<serde_json::Value, Problem> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if is_utf16 || bytes.contains(&0) {
        let detail = "the body is not JSON in UTF-8: it looks like UTF-16 or binary data; an \
                      image file itself goes to POST /v1/search/image";
        return Err(unreadable_body(detail.into()));
    }
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut value = serde_json::from_slice(text)
        .map_err(|error| unreadable_body(format!("the body is not JSON: {error}")))?;
    write_whole_numbers(&mut value);
    Ok(value)
}

/// Turns `12.0` into `12`. JSON has one kind of number, but the parser of integers refuses the first
/// form, which some programs write.
fn write_whole_numbers(value: &mut serde_json::Value) {
    /// Above this number, doubles are not exact.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        serde_json::Value::Array(values) => values.iter_mut().for_each(write_whole_numbers),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        serde_json::Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0);
            if let Some(whole) = whole.filter(|whole| whole.abs() <= MAX_EXACT) {
                *value = serde_json::Value::from(whole as i64);
            }
        }
        _ => {}
    }
}

/// Truncates the message, which may quote a body of any length.
fn unreadable_body(detail: String) -> Problem {
    let shown: String = detail.chars().take(300).collect();
    Problem::new(Code::InvalidRequest, shown)
}

/// Returns the field of an object that cannot be parsed. The parser does not report it, so each field
/// is parsed alone; this works because every field is optional.
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
mod tests {
    use super::*;

    #[test]
    fn malformed_requests_name_the_field() {
        let code = |text: &str| {
            let problem = parse_search_json(text.as_bytes()).err().unwrap();
            (problem.code, problem.param)
        };
        assert_eq!(code("").0, Code::InvalidRequest);
        assert_eq!(code("[1,").0, Code::InvalidRequest);
        assert_eq!(code("[]").0, Code::InvalidRequest);
        assert_eq!(
            code(r#"{"id": ["x"]}"#),
            (Code::InvalidRequest, Some("id".into()))
        );
        assert_eq!(
            code(r#"{"id": "x", "limit": 0}"#),
            (Code::InvalidRequest, Some("limit".into()))
        );
        assert_eq!(code(r#"{"nonsense": 1}"#).1, Some("nonsense".into()));
        assert_eq!(
            code(r#"{"id": "x", "consistency": "Eventual"}"#).1,
            Some("consistency".into())
        );
        assert_eq!(
            code(r#"{"id": "x", "filter": ["library", "a"]}"#).1,
            Some("filter".into())
        );
        let long = format!(r#"{{"limit": "{}"}}"#, "9".repeat(100_000));
        assert!(
            parse_search_json(long.as_bytes())
                .err()
                .unwrap()
                .detail
                .len()
                < 1000
        );
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        let request =
            parse_search_json(br#"{"id": "x", "limit": 12.0, "min_score": 1.0}"#).unwrap();
        assert_eq!((request.limit, request.min_score), (Some(12), Some(1.0)));
        for refused in ["12.5", "1e300", "-1.0"] {
            let text = format!(r#"{{"id": "x", "limit": {refused}}}"#);
            assert!(parse_search_json(text.as_bytes()).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let request = parse_search_json(b"\xef\xbb\xbf{\"text\": \"a\"}").unwrap();
        assert_eq!(request.text.as_deref(), Some("a"));
        let small: serde_json::Value = parse_json(b"\xef\xbb\xbf[1]").unwrap();
        assert_eq!(small, serde_json::json!([1]));
        for utf16 in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{\0}", b"{\0}\0"] {
            let problem = parse_search_json(utf16).unwrap_err();
            assert!(problem.detail.contains("UTF-16"), "{}", problem.detail);
        }
        assert!(parse_search_json(b"\xef\xbb\xbf\xef\xbb\xbf{}").is_err());
    }

    #[test]
    fn values_are_counted_before_parsing() {
        for (text, values) in [
            ("", 0),
            ("[1,2,3]", 2),
            (r#"{"a": "b,c,d", "e": ["\",\\", 1]}"#, 2),
            (r#"["no end,,,,"#, 0),
            (r#"["no end\"#, 0),
        ] {
            assert!(!has_more_values(text.as_bytes(), values), "{text}");
            let more = values > 0 && has_more_values(text.as_bytes(), values - 1);
            assert_eq!(more, values > 0, "{text}");
        }
        let many = format!(r#"{{"positive": [{}0]}}"#, "0,".repeat(1 << 20));
        let problem = parse_search_json(many.as_bytes()).unwrap_err();
        assert!(problem.detail.contains("at most 4096 values"));
    }
}
