//! Small JPEGs, made when they are first asked for and kept in memory within a limit of bytes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lookalike_index::IndexedImage;
use lookalike_proto::ContentHash;
use lru::LruCache;
use poem::Response;
use poem::http::{StatusCode, header};

use crate::core::files;
use crate::core::service::SearchService;
use crate::metrics::THUMBNAIL_CACHE_BYTES;
use crate::problem::{Code, Problem};

/// Sides that can be asked for, in pixels.
pub(crate) const SIDE_RANGE: std::ops::RangeInclusive<u32> = 32..=1024;

/// Content hash and side: the same for every copy of a picture, and never stale.
type ThumbnailKey = (String, u32);

/// The thumbnails that were asked for last.
pub(crate) struct ThumbnailCache {
    entries: Mutex<CachedThumbnails>,
    max_bytes: u64,
}

struct CachedThumbnails {
    thumbnails: LruCache<ThumbnailKey, Bytes>,
    bytes: u64,
}

/// What an entry takes beside its JPEG: key, list and table.
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

/// Answers with a small JPEG of a row's file.
pub(crate) async fn respond_with_thumbnail(
    service: &SearchService,
    row: &IndexedImage,
    size: u32,
    version: Option<&str>,
    if_none_match: Option<&str>,
) -> Result<Response, Problem> {
    let side = size.clamp(*SIDE_RANGE.start(), *SIDE_RANGE.end());
    let etag = format!("\"{}-{side}\"", row.content_hash);
    let mut response = Response::builder().header(header::CONTENT_TYPE, "image/jpeg");
    let named = version.is_some_and(|v| v.len() >= 16 && row.content_hash.starts_with(v));
    let caching = if named {
        // The address names the content, so what it answers never changes.
        "private, max-age=31536000, immutable"
    } else {
        "private, no-cache"
    };
    let key = (row.content_hash.clone(), side);
    let cached = service.thumbnail_cache.get(&key);
    if files::etag_matches(if_none_match, &etag) {
        return Ok(response
            .status(StatusCode::NOT_MODIFIED)
            .header(header::ETAG, etag)
            .header(header::CACHE_CONTROL, caching)
            .finish());
    }
    let (jpeg, is_rows) = match cached {
        Some(jpeg) => (jpeg, true),
        None => make_thumbnail(service, row, side).await?,
    };
    if is_rows {
        service.thumbnail_cache.put(key, jpeg.clone());
        response = response
            .header(header::ETAG, etag)
            .header(header::CACHE_CONTROL, caching);
    } else {
        response = response.header(header::CACHE_CONTROL, "no-store");
    }
    Ok(response.body(jpeg))
}

/// Makes one, and tells whether the file is still the one of the row: between an edit and its
/// new row, the picture is shown but not kept under the old hash.
async fn make_thumbnail(
    service: &SearchService,
    row: &IndexedImage,
    side: u32,
) -> Result<(Bytes, bool), Problem> {
    let found = files::find_file(service, &row.library, &row.path).await?;
    let limits = service.limits.clone();
    let hash = row.content_hash.clone();
    // Bytes that wait for a turn would fill the memory.
    let turn = service.thumbnail_decodes.acquire().await?;
    let (path, within) = (found.path.clone(), limits.clone());
    let read = move || {
        within.check_file_bytes(found.bytes)?;
        std::fs::read(path).map_err(|error| {
            let (code, why) = files::describe_read_error(error);
            Problem::new(code, why)
        })
    };
    let bytes = found
        .disk
        .run_blocking(read)
        .await?
        .map_err(|problem| Problem {
            detail: format!("{}: {}", row.path, problem.detail),
            ..problem
        });
    let work = move || {
        let bytes = bytes?;
        let is_rows = ContentHash::hash_content(&bytes).to_string() == hash;
        let jpeg = lookalike_vision::encode_thumbnail(&bytes, side, &limits)?;
        Ok::<_, Problem>((Bytes::from(jpeg), is_rows))
    };
    match turn.run_blocking(work).await? {
        // The file passed when it was indexed; what is there now is another one.
        Err(problem) if problem.code == Code::UploadTooLarge => Err(Problem {
            code: Code::TooMuchMemory,
            ..problem
        }),
        made => made,
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
            "used all the time"
        );
        assert!(kept.thumbnails.contains(&thumbnail_key(99)));
        assert!(!kept.thumbnails.contains(&thumbnail_key(50)));
    }

    #[test]
    fn one_that_comes_twice_counts_once() {
        let cache = ThumbnailCache::new(2000);
        cache.put(thumbnail_key(1), Bytes::from(vec![0; 1000]));
        cache.put(thumbnail_key(1), Bytes::from(vec![0; 500]));
        cache.put(thumbnail_key(2), Bytes::from(vec![0; 5000]));
        assert_eq!(cache.entries.lock().unwrap().bytes, 700);
    }
}
