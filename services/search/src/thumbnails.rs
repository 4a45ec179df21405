//! Small JPEGs, made when they are first asked for and kept in memory within a limit of bytes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lookalike_index::Image;
use lookalike_proto::ContentHash;
use lru::LruCache;
use poem::Response;
use poem::http::{StatusCode, header};

use crate::files;
use crate::metrics::THUMBNAIL_CACHE_BYTES;
use crate::problem::{Code, Problem};
use crate::service::Service;

/// Sides that can be asked for, in pixels.
pub(crate) const SIDES: std::ops::RangeInclusive<u32> = 32..=1024;

/// Content hash and side: the same for every copy of a picture, and never stale.
type Key = (String, u32);

/// The thumbnails that were asked for last.
pub(crate) struct Cache {
    kept: Mutex<Kept>,
    max_bytes: u64,
}

struct Kept {
    thumbnails: LruCache<Key, Bytes>,
    bytes: u64,
}

/// What an entry takes beside its JPEG: key, list and table.
const ENTRY_BYTES: u64 = 200;

impl Cache {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self {
            kept: Mutex::new(Kept {
                thumbnails: LruCache::unbounded(),
                bytes: 0,
            }),
            max_bytes,
        }
    }

    fn get(&self, key: &Key) -> Option<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.thumbnails.get(key).cloned()
    }

    fn put(&self, key: Key, jpeg: Bytes) {
        let size = |jpeg: &Bytes| jpeg.len() as u64 + ENTRY_BYTES;
        if size(&jpeg) > self.max_bytes {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
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
pub(crate) async fn thumbnail(
    service: &Service,
    row: &Image,
    size: u32,
    version: Option<&str>,
    if_none_match: Option<&str>,
) -> Result<Response, Problem> {
    let side = size.clamp(*SIDES.start(), *SIDES.end());
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
    let cached = service.thumbnails.get(&key);
    if files::is_known(if_none_match, &etag) {
        return Ok(response
            .status(StatusCode::NOT_MODIFIED)
            .header(header::ETAG, etag)
            .header(header::CACHE_CONTROL, caching)
            .finish());
    }
    let (jpeg, is_rows) = match cached {
        Some(jpeg) => (jpeg, true),
        None => make(service, row, side).await?,
    };
    if is_rows {
        service.thumbnails.put(key, jpeg.clone());
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
async fn make(service: &Service, row: &Image, side: u32) -> Result<(Bytes, bool), Problem> {
    let found = files::find(service, &row.library, &row.path).await?;
    let limits = service.limits.clone();
    let hash = row.content_hash.clone();
    // Bytes that wait for a turn would fill the memory.
    let turn = service.thumbnail_gate.enter().await?;
    let (path, within) = (found.path.clone(), limits.clone());
    let read = move || {
        within.check_file_bytes(found.bytes)?;
        std::fs::read(path).map_err(|error| {
            let (code, why) = files::gone(error);
            Problem::new(code, why)
        })
    };
    let bytes = found.disk.errand(read).await?.map_err(|problem| Problem {
        detail: format!("{}: {}", row.path, problem.detail),
        ..problem
    });
    let work = move || {
        let bytes = bytes?;
        let is_rows = ContentHash::of(&bytes).to_string() == hash;
        let jpeg = lookalike_vision::thumbnail(&bytes, side, &limits)?;
        Ok::<_, Problem>((Bytes::from(jpeg), is_rows))
    };
    match turn.run(work).await? {
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

    fn key(n: u32) -> Key {
        (format!("{n:064}"), 320)
    }

    #[test]
    fn the_cache_keeps_to_its_bytes() {
        let cache = Cache::new(10 * 1200);
        for n in 0..100 {
            cache.put(key(n), Bytes::from(vec![0; 1000]));
            cache.get(&key(0));
        }
        let kept = cache.kept.lock().unwrap();
        assert_eq!((kept.thumbnails.len(), kept.bytes), (10, 12_000));
        assert!(kept.thumbnails.contains(&key(0)), "used all the time");
        assert!(kept.thumbnails.contains(&key(99)));
        assert!(!kept.thumbnails.contains(&key(50)));
    }

    #[test]
    fn one_that_comes_twice_counts_once() {
        let cache = Cache::new(2000);
        cache.put(key(1), Bytes::from(vec![0; 1000]));
        cache.put(key(1), Bytes::from(vec![0; 500]));
        cache.put(key(2), Bytes::from(vec![0; 5000]));
        assert_eq!(cache.kept.lock().unwrap().bytes, 700);
    }
}
