//! A look at a file that could not be indexed: a browser shows what is there of a picture that is
//! cut short, and formats that are not read here.
//!
//! As with the originals, a client names an id; the watcher that lists the file knows its path,
//! the settings know the root. What is served is an image by its first bytes, or nothing, and
//! only of failures that no decoder needs to fear.

use lookalike_bus::FileFailure;
use poem::http::header;
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::history as why;
use crate::core::files;
use crate::core::service::SearchService;
use crate::problem::{Code, Problem};

/// Failures whose files may be shown. Not those that claim too much, or that brought a decoder or
/// a worker down: a browser's decoder may fare no better.
const PREVIEWABLE_CODES: &[&str] = &[
    "truncated",
    "corrupt",
    "unsupported_format",
    "unsupported_feature",
    "network_failed",
    "not_finite",
    "index_refused",
];

fn is_previewable(state: &str, code: &str) -> bool {
    state == "failed" && PREVIEWABLE_CODES.contains(&code)
}

/// Where a failed file may be looked at, if it may.
pub(crate) fn preview_url(failure: &FileFailure) -> Option<String> {
    is_previewable(&failure.state, &failure.code).then(|| {
        format!(
            "/v1/failures/{}/preview?library={}",
            failure.id, failure.library
        )
    })
}

/// What a file is by its first bytes, if it is something that browsers show in an `img`. No SVG:
/// that is a document.
fn sniff_media_type(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, mark: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(mark))
    };
    if at(0, b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        Some("image/gif")
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Some("image/webp")
    } else if at(4, b"ftypavif") || at(4, b"ftypavis") {
        Some("image/avif")
    } else if at(4, b"ftypheic") || at(4, b"ftypheix") {
        Some("image/heic")
    } else if at(0, b"BM") {
        Some("image/bmp")
    } else {
        None
    }
}

/// The file, as a stream.
pub(crate) async fn respond_with_preview(
    service: &SearchService,
    id: &str,
    library: Option<&str>,
) -> Result<Response, Problem> {
    let life = why::find_history(service, why::FileSelector::Id(id.to_owned()), library).await?;
    let no_picture = |why: &str| {
        Problem::new(
            Code::UnsupportedFormat,
            format!("{}/{} is not shown: {why}", life.library, life.path),
        )
    };
    if !is_previewable(&life.state, &life.code) {
        return Err(no_picture(
            "only files that failed for their bytes are, as far as that is harmless",
        ));
    }
    let found = files::find_file(service, &life.library, &life.path).await?;
    if found.bytes > service.settings.max_upload_bytes {
        return Err(no_picture("it is larger than http.max_upload_bytes"));
    }
    let failed = |error| {
        let (code, why) = files::describe_read_error(error);
        Problem::new(code, format!("{}: {why}", life.path))
    };
    let mut file = found.open_file().await?;
    let mut head = Vec::with_capacity(16);
    (&mut file)
        .take(16)
        .read_to_end(&mut head)
        .await
        .map_err(failed)?;
    let media_type = sniff_media_type(&head)
        .ok_or_else(|| no_picture("it begins like no picture of a browser"))?;
    file.rewind().await.map_err(failed)?;
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(
            header::CONTENT_DISPOSITION,
            files::content_disposition("inline", &life.path),
        )
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        )
        .header(header::CONTENT_LENGTH, found.bytes.to_string())
        .body(Body::from_async_read(file.take(found.bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_shown() {
        assert_eq!(sniff_media_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(
            sniff_media_type(b"RIFF\0\0\0\0WEBPVP8 "),
            Some("image/webp")
        );
        assert_eq!(sniff_media_type(b"\0\0\0\x1cftypavif"), Some("image/avif"));
        for head in [
            &b""[..],
            b"<svg xmlns=",
            b"<!doctype html>",
            b"RIFF\0\0\0\0AVI ",
        ] {
            assert_eq!(sniff_media_type(head), None);
        }
    }

    #[test]
    fn what_is_dangerous_to_decoders_is_not_shown() {
        for code in PREVIEWABLE_CODES {
            assert!(
                lookalike_proto::reasons::find_reason(code).is_some(),
                "{code}"
            );
        }
        assert!(is_previewable("failed", "truncated"));
        for (state, code) in [
            ("failed", "too_many_pixels"),
            ("failed", "poison"),
            ("failed", "decoder_panic"),
            ("ignored", "truncated"),
            ("indexed", ""),
        ] {
            assert!(!is_previewable(state, code), "{state} {code}");
        }
    }
}
