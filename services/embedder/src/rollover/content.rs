//! One content's vector for the new model: known to its collection, remembered, or made from any
//! file that has the content.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lookalike_index::IndexedImage;
use lookalike_proto::{FileEvent, FileEventKind, Generation, ImageId, LibraryName, RelativePath};
use lookalike_vision::{Engine, Error as VisionError, Limits};
use lru::LruCache;
use tokio::sync::Semaphore;

use super::copy::CopyContext;
use crate::embed::decode::{self, run_decoder};
use crate::embed::leaked_threads::LeakedThreads;
use crate::read::file::{self, FileMismatch};
use crate::read::library_reader::LibraryReader;

/// What became of a content.
pub(super) enum VectorResult {
    /// Its vector, and whether the network made it just now.
    Vector(Vec<f32>, bool),
    /// There is none now, and why.
    Unavailable(String),
    /// The network fails whatever it is given.
    DeviceFailed(VisionError),
}

pub(super) struct ContentEmbedder {
    readers: HashMap<String, Arc<LibraryReader>>,
    engine: Arc<Engine>,
    limits: Limits,
    decode_permits: Semaphore,
    memory_permits: Semaphore,
    memory_mebibytes: u32,
    leaked_threads: Arc<LeakedThreads>,
    /// What was embedded a moment ago, and may not be seen in the collection yet.
    vectors: Mutex<LruCache<String, Vec<f32>>>,
}

impl ContentEmbedder {
    pub(super) fn new(context: CopyContext) -> Self {
        let CopyContext {
            settings,
            libraries,
            engine,
            limits,
            ..
        } = context;
        let folders = libraries.into_iter().map(|(library, root)| {
            let folder = LibraryReader::new(library.as_str(), root, &settings);
            (library.to_string(), folder)
        });
        let mebibytes = u32::try_from((settings.max_bytes_in_memory >> 20).max(1));
        let memory_mebibytes = mebibytes.unwrap_or(u32::MAX).min(u32::MAX >> 4);
        let most = NonZeroUsize::new(settings.cached_contents.max(1)).expect("at least 1");
        Self {
            readers: folders.collect(),
            engine,
            limits,
            decode_permits: Semaphore::new(context.decode_threads.max(1)),
            memory_permits: Semaphore::new(memory_mebibytes as usize),
            memory_mebibytes,
            leaked_threads: LeakedThreads::new(settings.max_leaked_threads),
            vectors: Mutex::new(LruCache::new(most)),
        }
    }

    /// Whether files of this library can be read here.
    pub(super) fn has_library(&self, library: &str) -> bool {
        self.readers.contains_key(library)
    }

    /// The vector of a content that all these images have.
    pub(super) async fn find_or_embed(
        &self,
        hash: &str,
        indexed_vector: Option<Vec<f32>>,
        images: &[IndexedImage],
    ) -> VectorResult {
        if let Some(vector) = indexed_vector.or_else(|| self.lock_vectors().get(hash).cloned()) {
            return VectorResult::Vector(vector, false);
        }
        let mut not = String::new();
        for image in images {
            match self.embed_image(image).await {
                VectorResult::Vector(vector, _) => {
                    self.lock_vectors().put(hash.to_owned(), vector.clone());
                    return VectorResult::Vector(vector, true);
                }
                VectorResult::Unavailable(why) => not = why,
                broken => return broken,
            }
        }
        VectorResult::Unavailable(not)
    }

    fn lock_vectors(&self) -> std::sync::MutexGuard<'_, LruCache<String, Vec<f32>>> {
        self.vectors.lock().expect("no holder of this lock panics")
    }

    async fn embed_image(&self, image: &IndexedImage) -> VectorResult {
        let Some(folder) = self.readers.get(&image.library) else {
            return VectorResult::Unavailable(
                "its library's folder is not on this machine".to_owned(),
            );
        };
        let turn = match folder.acquire_permit().await {
            Ok(turn) => turn,
            Err(away) => return VectorResult::Unavailable(away.0),
        };
        let mebibytes = u32::try_from(image.bytes >> 20).unwrap_or(u32::MAX);
        let mebibytes = mebibytes.saturating_add(1).min(self.memory_mebibytes);
        let _memory = self
            .memory_permits
            .acquire_many(mebibytes)
            .await
            .expect("this semaphore is never closed");
        let wanted = image.clone();
        let most = self.limits.max_file_bytes;
        let read = turn.run_blocking(move |root, sign| {
            read_content(root, &wanted, most, || sign.record_progress())
        });
        let bytes = match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(why)) => return VectorResult::Unavailable(why),
            Err(away) => return VectorResult::Unavailable(away.0),
        };
        let decode = decode::decoder_for(bytes, &self.engine, &self.limits);
        let decoded = {
            let _thread = self
                .decode_permits
                .acquire()
                .await
                .expect("this semaphore is never closed");
            run_decoder(decode, self.limits.decode_timeout, &self.leaked_threads).await
        };
        let input = match decoded {
            Ok((input, _)) => input,
            Err(error) => return VectorResult::Unavailable(error.to_string()),
        };
        match self.engine.embed_images(vec![input]).await {
            Ok(mut vectors) => match vectors.pop() {
                Some(vector) => VectorResult::Vector(vector, true),
                None => unreachable!("the engine gives one vector for one input"),
            },
            Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                VectorResult::DeviceFailed(error)
            }
            Err(error) => VectorResult::Unavailable(error.to_string()),
        }
    }
}

/// The bytes of a file that still has the content of its row.
fn read_content(
    root: &Path,
    image: &IndexedImage,
    max_bytes: u64,
    on_progress: impl Fn(),
) -> Result<Vec<u8>, String> {
    let other = || "its file holds something else by now".to_owned();
    let path = RelativePath::new(&*image.path).map_err(|error| error.to_string())?;
    let metadata = std::fs::symlink_metadata(path.join_to(root));
    let metadata = metadata.map_err(|error| format!("its file can't be read: {error}"))?;
    if u64::try_from(image.bytes) != Ok(metadata.size()) {
        return Err(other());
    }
    if metadata.size() > max_bytes {
        return Err("its file is larger than vision.max_file_bytes".to_owned());
    }
    // What it is now; that it stays so while it is read is checked as for any event.
    let event = FileEvent {
        image_id: ImageId::from_bytes([0; 16]),
        library: LibraryName::new(&image.library).map_err(|error| error.to_string())?,
        path,
        kind: FileEventKind::Put,
        generation: Generation::from_u64(0),
        attempt: 1,
        size: metadata.size(),
        mtime_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        observed_at_ns: 0,
    };
    match file::read_verified(root, &event, on_progress) {
        Ok(read) if read.hash.to_string() == image.content_hash => Ok(read.bytes),
        Ok(_) => Err(other()),
        Err(
            FileMismatch::Superseded(why)
            | FileMismatch::Unreadable(why)
            | FileMismatch::Unavailable(why),
        ) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rows_own_content_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), b"bytes").unwrap();
        let image = |path: &str, content: &[u8]| IndexedImage {
            library: "x".into(),
            path: path.into(),
            bytes: content.len() as i64,
            content_hash: blake3::hash(content).to_string(),
            ..IndexedImage::default()
        };
        let read = |image: &IndexedImage| read_content(dir.path(), image, 100, || ());
        assert_eq!(read(&image("a.jpg", b"bytes")).unwrap(), b"bytes");
        for (image, word) in [
            (image("a.jpg", b"other"), "something else"),
            (image("a.jpg", b"longer bytes"), "something else"),
            (image("b.jpg", b"bytes"), "can't be read"),
            (image("../a.jpg", b"bytes"), "path"),
        ] {
            let why = read(&image).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
