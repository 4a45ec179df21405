//! Previews of failed files. A browser displays as much of a truncated picture as there is, and
//! formats that lookalike does not support.
//!
//! As with original files, a client names an id; the watcher has the path, the settings have the root
//! folder. A file is served only if its first bytes are those of an image, and only if its failure is
//! harmless for decoders.

use lookalike_bus::FileFailure;
use poem::http::header;
use poem::{Body, Response};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::history::{FileSelector, find_history};
use crate::core::file_response::{FILE_POLICY, content_disposition};
use crate::core::files::{describe_read_error, find_file};
use crate::core::service::SearchService;
use crate::http::link_prefix;
use crate::problem::{Code, Problem};

/// Codes of files that may be displayed. Excluded are files that claim too much memory or that
/// crashed a decoder or a worker: they may crash the decoder of a browser, too.
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

/// Returns the address of the preview, if the file may be displayed.
pub(crate) fn preview_url(failure: &FileFailure) -> Option<String> {
    is_previewable(&failure.state, &failure.code).then(|| {
        format!(
            "{}/v1/failures/{}/preview?library={}",
            link_prefix(),
            failure.id,
            failure.library
        )
    })
}

/// Every content type of a preview.
pub(crate) const PREVIEW_MEDIA_TYPES: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/heic",
    "image/bmp",
];

/// Detects a content type from the first bytes, if browsers display it in an `img`. SVG is excluded,
/// because it is a document.
fn sniff_media_type(head: &[u8]) -> Option<&'static str> {
    let has = |offset: usize, mark: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(mark))
    };
    if has(0, b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if has(0, b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if has(0, b"GIF87a") || has(0, b"GIF89a") {
        Some("image/gif")
    } else if has(0, b"RIFF") && has(8, b"WEBP") {
        Some("image/webp")
    } else if has(4, b"ftypavif") || has(4, b"ftypavis") {
        Some("image/avif")
    } else if has(4, b"ftypheic") || has(4, b"ftypheix") {
        Some("image/heic")
    } else if has(0, b"BM") {
        Some("image/bmp")
    } else {
        None
    }
}

/// Responds with the file, as a stream.
pub(crate) async fn respond_with_preview(
    service: &SearchService,
    id: &str,
    library: Option<&str>,
) -> Result<Response, Problem> {
    let history = find_history(service, FileSelector::Id(id.to_owned()), library).await?;
    let refuse = |reason: &str| {
        Problem::new(
            Code::NoPreview,
            format!(
                "cannot preview {}/{}: {reason}",
                history.library, history.path
            ),
        )
    };
    if !is_previewable(&history.state, &history.code) {
        return Err(refuse(
            "only files whose content is at fault are displayed, and only if that is harmless",
        ));
    }
    let located = find_file(service, &history.library, &history.path).await?;
    if located.bytes > service.settings.max_upload_bytes {
        return Err(refuse("it is larger than http.max_upload_bytes"));
    }
    let failed = |error| {
        let (code, reason) = describe_read_error(error);
        Problem::new(code, format!("{}: {reason}", history.path))
    };
    let mut file = located.open_file().await?;
    let mut head = Vec::with_capacity(16);
    (&mut file)
        .take(16)
        .read_to_end(&mut head)
        .await
        .map_err(failed)?;
    let media_type = sniff_media_type(&head)
        .ok_or_else(|| refuse("it does not start like a picture that browsers display"))?;
    file.rewind().await.map_err(failed)?;
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(
            header::CONTENT_DISPOSITION,
            content_disposition("inline", &history.path),
        )
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::CONTENT_SECURITY_POLICY, FILE_POLICY)
        .header(header::CONTENT_LENGTH, located.bytes.to_string())
        .body(Body::from_async_read(file.take(located.bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_previewed() {
        for head in [
            &b"\xff\xd8\xff"[..],
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"RIFF\0\0\0\0WEBP",
            b"\0\0\0\0ftypavif",
            b"\0\0\0\0ftypheic",
            b"BM",
        ] {
            let media_type = sniff_media_type(head).unwrap();
            assert!(PREVIEW_MEDIA_TYPES.contains(&media_type), "{media_type}");
        }
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
    fn files_that_endanger_decoders_are_not_previewed() {
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
