//! What the service knows of the uploads to one library.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lookalike_proto::{ContentHash, RelativePath};
use lru::LruCache;
use tokio::sync::Mutex;

use super::settings::LibraryPermissions;

/// Contents whose paths are remembered until the index contains them.
const MAX_RECENT_CONTENTS: NonZeroUsize = NonZeroUsize::new(4096).expect("it is above 0");

/// Paths of one content that are remembered.
const MAX_RECENT_PATHS: usize = 16;

pub(crate) struct LibraryUploads {
    pub permissions: LibraryPermissions,
    /// Locked while a picture is compared with those of the library and gets its name, so that the
    /// same picture is not stored twice.
    pub recent: Mutex<RecentUploads>,
    /// Locked while a file moves to the trash, so that a repetition finds it there.
    pub removal: Arc<Mutex<()>>,
}

impl LibraryUploads {
    pub(crate) fn new(permissions: LibraryPermissions) -> Self {
        Self {
            permissions,
            recent: Mutex::new(RecentUploads(LruCache::new(MAX_RECENT_CONTENTS))),
            removal: Arc::default(),
        }
    }
}

/// Where pictures were stored lately. Callers check that the files are still there.
pub(crate) struct RecentUploads(LruCache<ContentHash, Vec<RelativePath>>);

impl RecentUploads {
    pub(crate) fn add(&mut self, content_hash: ContentHash, path: RelativePath) {
        let paths = self.0.get_or_insert_mut(content_hash, Vec::new);
        paths.retain(|known| *known != path);
        if paths.len() >= MAX_RECENT_PATHS {
            paths.remove(0);
        }
        paths.push(path);
    }

    pub(crate) fn find(&mut self, content_hash: &ContentHash) -> Vec<RelativePath> {
        self.0.get(content_hash).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_paths_of_a_content_are_known() {
        let uploads = LibraryUploads::new(LibraryPermissions::default());
        let mut recent = uploads.recent.into_inner();
        let hash = ContentHash::hash_content(b"a");
        assert_eq!(recent.find(&hash), []);
        let path = |number: usize| RelativePath::new(number.to_string()).unwrap();
        for number in 0..=MAX_RECENT_PATHS {
            recent.add(hash, path(number));
        }
        recent.add(hash, path(3));
        let found = recent.find(&hash);
        assert_eq!(found.len(), MAX_RECENT_PATHS);
        assert!(!found.contains(&path(0)));
        assert_eq!(found.last(), Some(&path(3)));
    }
}
