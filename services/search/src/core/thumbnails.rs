//! Thumbnails: small JPEGs, created on request and cached in memory up to a limit of bytes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lookalike_index::IndexedImage;
use lookalike_proto::ContentHash;
use lru::LruCache;
use poem::Response;
use poem::http::{HeaderMap, StatusCode, header};

use super::files::{describe_read_error, find_file};
use super::service::SearchService;
use crate::etag::{etag_matches, parse_etag};
use crate::metrics::THUMBNAIL_CACHE_BYTES;
use crate::problem::{Code, Problem};

/// The longer side of a thumbnail, in pixels.
const SIDE_RANGE: std::ops::RangeInclusive<u32> = 32..=1024;

/// Content hash and side: shared by all copies of a picture, and never stale.
type ThumbnailKey = (String, u32);

/// The most recently requested thumbnails.
pub(crate) struct ThumbnailCache {
    entries: Mutex<CachedThumbnails>,
    max_bytes: u64,
}

struct CachedThumbnails {
    thumbnails: LruCache<ThumbnailKey, Bytes>,
    bytes: u64,
}

/// The estimated size of an entry without its JPEG: key, list and table.
const ENTRY_BYTES: u64 = 200;

impl ThumbnailCache {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            entries: Mutex::new(CachedThumbnails {
                thumbnails: LruCache::unbounded(),
                bytes: 0,
            }),
            max_bytes,
        }
    }

    fn get(&self, key: &ThumbnailKey) -> Option<Bytes> {
        let mut kept = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        kept.thumbnails.get(key).cloned()
    }

    fn put(&self, key: ThumbnailKey, jpeg: Bytes) {
        let size = |jpeg: &Bytes| jpeg.len() as u64 + ENTRY_BYTES;
        if size(&jpeg) > self.max_bytes {
            return;
        }
        let mut kept = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += size(&jpeg);
        if let Some(before) = kept.thumbnails.put(key, jpeg) {
            kept.bytes -= size(&before);
        }
        while kept.bytes > self.max_bytes {
            let Some((_, oldest)) = kept.thumbnails.pop_lru() else {
                break;
            };
            kept.bytes -= size(&oldest);
        }
        THUMBNAIL_CACHE_BYTES.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
    }
}

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
    let (path, read_limits) = (located.path.clone(), limits.clone());
    let read = move || {
        read_limits.check_file_bytes(located.bytes)?;
        std::fs::read(path).map_err(|error| {
            let (code, reason) = describe_read_error(error);
            Problem::new(code, reason)
        })
    };
    let bytes = located
        .disk
        .run_blocking(read)
        .await?
        .map_err(|problem| Problem {
            detail: format!("{}: {}", row.path, problem.detail),
            ..problem
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbnail_key(n: u32) -> ThumbnailKey {
        (format!("{n:064}"), 320)
    }

    #[test]
    fn the_cache_keeps_to_its_bytes() {
        let cache = ThumbnailCache::new(10 * 1200);
        for n in 0..100 {
            cache.put(thumbnail_key(n), Bytes::from(vec![0; 1000]));
            cache.get(&thumbnail_key(0));
        }
        let kept = cache.entries.lock().unwrap();
        assert_eq!((kept.thumbnails.len(), kept.bytes), (10, 12_000));
        assert!(
            kept.thumbnails.contains(&thumbnail_key(0)),
            "read all the time"
        );
        assert!(kept.thumbnails.contains(&thumbnail_key(99)));
        assert!(!kept.thumbnails.contains(&thumbnail_key(50)));
    }

    #[test]
    fn a_replaced_thumbnail_counts_once() {
        let cache = ThumbnailCache::new(2000);
        cache.put(thumbnail_key(1), Bytes::from(vec![0; 1000]));
        cache.put(thumbnail_key(1), Bytes::from(vec![0; 500]));
        cache.put(thumbnail_key(2), Bytes::from(vec![0; 5000]));
        assert_eq!(cache.entries.lock().unwrap().bytes, 700);
    }
}
