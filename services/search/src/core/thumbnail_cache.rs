//! The cache of thumbnails: the most recently requested ones, up to a limit of bytes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lru::LruCache;

use crate::metrics::THUMBNAIL_CACHE_BYTES;

/// Content hash and side: shared by all copies of a picture, and never stale.
pub(crate) type ThumbnailKey = (String, u32);

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

    pub(crate) fn get(&self, key: &ThumbnailKey) -> Option<Bytes> {
        let mut kept = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        kept.thumbnails.get(key).cloned()
    }

    pub(crate) fn put(&self, key: ThumbnailKey, jpeg: Bytes) {
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
