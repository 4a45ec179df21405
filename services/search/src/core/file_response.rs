//! Responds with an original file: content type, ranges and conditional requests (RFC 9110).

use lookalike_index::IndexedImage;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use poem::http::{HeaderMap, StatusCode, header};
use poem::web::headers::{
    AcceptRanges, ContentLength, ContentRange, ETag, HeaderMapExt as _, IfRange,
};
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::files::{describe_read_error, find_file};
use super::service::SearchService;
use crate::etag::{etag_matches, parse_etag};
use crate::problem::{Code, Problem};

/// The policy of files: a document in disguise can load and run nothing.
pub(crate) const FILE_POLICY: &str = "default-src 'none'; sandbox";

/// Every content type of a file.
pub(crate) const FILE_MEDIA_TYPES: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/bmp",
    "image/x-icon",
    "image/tiff",
    "image/avif",
    "image/heic",
    "image/jxl",
    "image/x-portable-anymap",
    "application/octet-stream",
];

/// Returns the content type and the disposition of a format. Formats that browsers do not display,
/// and unknown ones, are downloads; no format is served as a page or a script.
fn content_type(format: &str) -> (&'static str, &'static str) {
    match format {
        "jpeg" => ("image/jpeg", "inline"),
        "png" => ("image/png", "inline"),
        "gif" => ("image/gif", "inline"),
        "webp" => ("image/webp", "inline"),
        "bmp" => ("image/bmp", "inline"),
        "ico" => ("image/x-icon", "inline"),
        "tiff" => ("image/tiff", "attachment"),
        "avif" => ("image/avif", "inline"),
        "heic" => ("image/heic", "attachment"),
        "jxl" => ("image/jxl", "attachment"),
        "pnm" => ("image/x-portable-anymap", "attachment"),
        _ => ("application/octet-stream", "attachment"),
    }
}

/// Characters of a file name to encode: all but letters, digits and three marks.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// Returns `inline; filename*=UTF-8''…` with the name of the file at this path.
pub(crate) fn content_disposition(kind: &str, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!(
        "{kind}; filename*=UTF-8''{}",
        utf8_percent_encode(name, ENCODED)
    )
}

/// The part of a file that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    Whole,
    /// First byte and number of bytes.
    Range(u64, u64),
    Unsatisfiable,
}

/// Parses the header `Range`. Several ranges and other units yield the whole file, as RFC 9110
/// allows.
///
/// The type `Range` of the crate `headers` does not fit: it drops suffixes that are longer than the
/// file, and does not distinguish malformed ranges from unsatisfiable ones.
fn parse_range(range: Option<&str>, length: u64) -> RequestedRange {
    let Some((first, last)) = range
        .and_then(|range| range.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return RequestedRange::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last) = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => return RequestedRange::Unsatisfiable,
            Some(suffix) => (length.saturating_sub(suffix), length.saturating_sub(1)),
            None => return RequestedRange::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => (first, length.saturating_sub(1)),
            None => return RequestedRange::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last),
            _ => return RequestedRange::Whole,
        },
    };
    if first >= length {
        return RequestedRange::Unsatisfiable;
    }
    RequestedRange::Range(first, last.min(length - 1) - first + 1)
}

/// Whether the range applies: the client must not combine parts of two versions (`If-Range`).
fn range_applies(headers: &HeaderMap, etag: Option<&ETag>) -> bool {
    match headers.typed_try_get::<IfRange>() {
        Ok(None) => true,
        Ok(Some(condition)) => !condition.is_modified(etag, None),
        Err(_) => false,
    }
}

/// Responds with the original file of a row, as a stream.
pub(crate) async fn respond_with_file(
    service: &SearchService,
    row: &IndexedImage,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    let located = find_file(service, &row.library, &row.path).await?;
    // The hash of a changed file is unknown until it is indexed again.
    let etag = located
        .matches_row(row)
        .then(|| parse_etag(&row.content_hash))
        .flatten();
    let (media_type, kind) = content_type(&row.format);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(
            header::CONTENT_DISPOSITION,
            content_disposition(kind, &row.path),
        )
        .typed_header(AcceptRanges::bytes())
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::CONTENT_SECURITY_POLICY, FILE_POLICY);
    if let Some(etag) = &etag {
        response = response.typed_header(etag.clone());
        if etag_matches(request, etag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
        }
    }
    let range = request
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        .filter(|_| range_applies(request, etag.as_ref()));
    let (first, length) = match parse_range(range, located.bytes) {
        RequestedRange::Whole => (0, located.bytes),
        RequestedRange::Range(first, length) => {
            let content_range = ContentRange::bytes(first..first + length, located.bytes)
                .expect("the range is not empty");
            response = response
                .status(StatusCode::PARTIAL_CONTENT)
                .typed_header(content_range);
            (first, length)
        }
        RequestedRange::Unsatisfiable => {
            return Err(Problem::new(
                Code::RangeNotSatisfiable,
                format!("the file has {} bytes", located.bytes),
            ));
        }
    };
    let mut file = located.open_file().await?;
    if first > 0 {
        file.seek(std::io::SeekFrom::Start(first))
            .await
            .map_err(|error| {
                let (code, reason) = describe_read_error(error);
                Problem::new(code, format!("{}: {reason}", row.path))
            })?;
    }
    Ok(response
        .typed_header(ContentLength(length))
        .body(Body::from_async_read(file.take(length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expected) in [
            (None, RequestedRange::Whole),
            (Some("bytes=0-9"), RequestedRange::Range(0, 10)),
            (Some("bytes=90-"), RequestedRange::Range(90, 10)),
            (Some("bytes=-10"), RequestedRange::Range(90, 10)),
            (Some("bytes=-1000"), RequestedRange::Range(0, 100)),
            (Some("bytes=50-1000"), RequestedRange::Range(50, 50)),
            (Some("bytes=100-"), RequestedRange::Unsatisfiable),
            (Some("bytes=-0"), RequestedRange::Unsatisfiable),
            (Some("bytes=9-0"), RequestedRange::Whole),
            (Some("bytes=0-1,5-6"), RequestedRange::Whole),
            (Some("pages=0-1"), RequestedRange::Whole),
            (Some("bytes=a-b"), RequestedRange::Whole),
            (Some("bytes=99999999999999999999-"), RequestedRange::Whole),
        ] {
            assert_eq!(parse_range(range, 100), expected, "{range:?}");
        }
        assert_eq!(
            parse_range(Some("bytes=0-"), 0),
            RequestedRange::Unsatisfiable
        );
    }

    #[test]
    fn names_and_types_are_harmless() {
        assert_eq!(
            content_disposition("inline", "a/b\"\r\nX: ü.jpg"),
            "inline; filename*=UTF-8''b%22%0D%0AX%3A%20%C3%BC.jpg"
        );
        for format in lookalike_vision::FORMAT_NAMES {
            let (media_type, _) = content_type(format);
            assert!(FILE_MEDIA_TYPES.contains(&media_type), "{format}");
        }
        for format in ["svg", "html", "", "text/html"] {
            assert_eq!(
                content_type(format),
                ("application/octet-stream", "attachment")
            );
        }
    }
}
