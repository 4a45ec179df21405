//! Thumbnails: small JPEGs, created on request and cached.

use bytes::Bytes;
use lookalike_index::IndexedImage;
use lookalike_proto::ContentHash;
use poem::Response;
use poem::http::{HeaderMap, StatusCode, header};

use super::files::find_file;
use super::service::SearchService;
use crate::etag::{etag_matches, parse_etag};
use crate::problem::{Code, Problem};

/// The longer side of a thumbnail, in pixels.
const SIDE_RANGE: std::ops::RangeInclusive<u32> = 32..=1024;

/// Responds with a thumbnail of a row's file. `version` is the start of a content hash that the
/// address contains.
pub(crate) async fn respond_with_thumbnail(
    service: &SearchService,
    row: &IndexedImage,
    size: u32,
    version: Option<&str>,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    let side = size.clamp(*SIDE_RANGE.start(), *SIDE_RANGE.end());
    let etag = parse_etag(&format!("{}-{side}", row.content_hash));
    let mut response = Response::builder().header(header::CONTENT_TYPE, "image/jpeg");
    let is_versioned = version.is_some_and(|v| v.len() >= 16 && row.content_hash.starts_with(v));
    let caching = if is_versioned {
        // The address contains the version of the content, so its response never changes.
        "private, max-age=31536000, immutable"
    } else {
        "private, no-cache"
    };
    let key = (row.content_hash.clone(), side);
    let cached = service.thumbnail_cache.get(&key);
    if let Some(etag) = etag.as_ref().filter(|etag| etag_matches(request, etag)) {
        return Ok(response
            .status(StatusCode::NOT_MODIFIED)
            .typed_header(etag.clone())
            .header(header::CACHE_CONTROL, caching)
            .finish());
    }
    let (jpeg, matches_row) = match cached {
        Some(jpeg) => (jpeg, true),
        None => make_thumbnail(service, row, side).await?,
    };
    if matches_row {
        service.thumbnail_cache.put(key, jpeg.clone());
        response = response.header(header::CACHE_CONTROL, caching);
        if let Some(etag) = etag {
            response = response.typed_header(etag);
        }
    } else {
        response = response.header(header::CACHE_CONTROL, "no-store");
    }
    Ok(response.body(jpeg))
}

/// Creates a thumbnail and returns whether the file still has the content of the row. Between an
/// edit and the new row, the thumbnail is displayed but not cached under the old hash.
async fn make_thumbnail(
    service: &SearchService,
    row: &IndexedImage,
    side: u32,
) -> Result<(Bytes, bool), Problem> {
    let located = find_file(service, &row.library, &row.path).await?;
    let limits = service.limits.clone();
    let hash = row.content_hash.clone();
    // The permit comes before the bytes: files that wait for a permit would fill the memory.
    let permit = service.thumbnail_decodes.acquire().await?;
    let bytes = located.read_bytes(&row.path, &limits).await;
    let work = move || {
        let bytes = bytes?;
        let matches_row = ContentHash::hash_content(&bytes).to_string() == hash;
        let jpeg = lookalike_vision::encode_thumbnail(&bytes, side, &limits)?;
        Ok::<_, Problem>((Bytes::from(jpeg), matches_row))
    };
    match permit.run_blocking(work).await? {
        // The file was small enough when it was indexed, so it has changed since.
        Err(problem) if problem.code == Code::UploadTooLarge => Err(Problem {
            code: Code::TooMuchMemory,
            ..problem
        }),
        thumbnail => thumbnail,
    }
}
