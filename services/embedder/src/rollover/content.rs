//! Finds or computes the vector of one content for the new model: from its collection, from
//! memory, or from any file that has the content.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lookalike_index::IndexedImage;
use lookalike_proto::{FileEvent, FileEventKind, Generation, ImageId, LibraryName, RelativePath};
use lookalike_vision::{Engine, Error as VisionError, Limits};
use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::embed::decode::{self, run_decoder};
use crate::embed::leaked_threads::LeakedThreads;
use crate::read::file::{self, FileMismatch};
use crate::read::library_reader::LibraryReader;
use crate::read::memory_permits::MemoryPermits;
use crate::settings::Settings;

/// The parts of a row that are computed from a content.
#[derive(Debug, Clone)]
pub(super) struct ComputedContent {
    pub vector: Vec<f32>,
    /// Empty if a row of an earlier version was read.
    pub sketch: String,
}

/// Result of finding or computing the vector of one content.
pub(super) enum VectorResult {
    /// `is_new`: the network has just computed it.
    Vector {
        content: ComputedContent,
        is_new: bool,
    },
    /// There is no vector now, with the reason.
    Unavailable(String),
    /// The network fails on every input.
    DeviceFailed(VisionError),
}

pub(super) struct ContentEmbedder {
    readers: HashMap<String, Arc<LibraryReader>>,
    engine: Arc<Engine>,
    limits: Limits,
    decode_permits: Semaphore,
    memory_permits: MemoryPermits,
    leaked_threads: Arc<LeakedThreads>,
    /// What was computed recently and may not be visible in the collection yet.
    contents: Cache<String, ComputedContent>,
}

impl ContentEmbedder {
    pub(super) fn new(
        engine: Arc<Engine>,
        limits: Limits,
        decode_threads: usize,
        libraries: BTreeMap<LibraryName, PathBuf>,
        settings: &Settings,
    ) -> Self {
        let readers = libraries.into_iter().map(|(library, root)| {
            let reader = LibraryReader::new(library.as_str(), root, settings);
            (library.to_string(), reader)
        });
        Self {
            readers: readers.collect(),
            engine,
            limits,
            decode_permits: Semaphore::new(decode_threads.max(1)),
            memory_permits: MemoryPermits::new(settings.max_bytes_in_memory),
            leaked_threads: LeakedThreads::new(settings.max_leaked_threads),
            contents: Cache::new(settings.max_cached_contents.max(1) as u64),
        }
    }

    /// Returns whether this machine can read the files of a library.
    pub(super) fn has_library(&self, library: &str) -> bool {
        self.readers.contains_key(library)
    }

    /// Returns the vector of a content that all these images have.
    pub(super) async fn find_or_embed(
        &self,
        hash: &str,
        indexed: Option<ComputedContent>,
        images: &[IndexedImage],
    ) -> VectorResult {
        let known = match indexed {
            Some(content) => Some(content),
            None => self.contents.get(hash).await,
        };
        if let Some(content) = known {
            return VectorResult::Vector {
                content,
                is_new: false,
            };
        }
        let mut last_reason = String::new();
        for image in images {
            match self.embed_image(image).await {
                VectorResult::Vector { content, is_new } => {
                    let cached = content.clone();
                    self.contents.insert(hash.to_owned(), cached).await;
                    return VectorResult::Vector { content, is_new };
                }
                VectorResult::Unavailable(reason) => last_reason = reason,
                failed => return failed,
            }
        }
        VectorResult::Unavailable(last_reason)
    }

    async fn embed_image(&self, image: &IndexedImage) -> VectorResult {
        let Some(reader) = self.readers.get(&image.library) else {
            return VectorResult::Unavailable(
                "its library's folder is not on this machine".to_owned(),
            );
        };
        let permit = match reader.acquire_permit().await {
            Ok(permit) => permit,
            Err(unavailable) => return VectorResult::Unavailable(unavailable.0),
        };
        let bytes = u64::try_from(image.bytes).unwrap_or(u64::MAX);
        let _memory = self.memory_permits.acquire_bytes(bytes).await;
        let expected = image.clone();
        let max_bytes = self.limits.max_file_bytes;
        let read = permit.run_blocking(move |root, heartbeat| {
            read_content(root, &expected, max_bytes, || heartbeat.record_progress())
        });
        let bytes = match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(reason)) => return VectorResult::Unavailable(reason),
            Err(unavailable) => return VectorResult::Unavailable(unavailable.0),
        };
        let decode = decode::decoder_for(bytes, &self.engine, &self.limits);
        let decoded = {
            let _permit = self
                .decode_permits
                .acquire()
                .await
                .expect("this semaphore is never closed");
            run_decoder(decode, self.limits.decode_timeout, &self.leaked_threads).await
        };
        let (input, sketch) = match decoded {
            Ok((input, attributes)) => (input, attributes.sketch.to_text()),
            Err(error) => return VectorResult::Unavailable(error.to_string()),
        };
        match self.engine.embed_images(vec![input]).await {
            Ok(mut vectors) => match vectors.pop() {
                Some(vector) => VectorResult::Vector {
                    content: ComputedContent { vector, sketch },
                    is_new: true,
                },
                None => unreachable!("the engine gives one vector for one input"),
            },
            Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                VectorResult::DeviceFailed(error)
            }
            Err(error) => VectorResult::Unavailable(error.to_string()),
        }
    }
}

/// Reads a file that still has the content of its row.
fn read_content(
    root: &Path,
    image: &IndexedImage,
    max_bytes: u64,
    on_progress: impl Fn(),
) -> Result<Vec<u8>, String> {
    let changed = || "its file has another content now".to_owned();
    let path = RelativePath::new(&*image.path).map_err(|error| error.to_string())?;
    let metadata = std::fs::symlink_metadata(path.join_to(root));
    let metadata = metadata.map_err(|error| format!("cannot read its file: {error}"))?;
    if u64::try_from(image.bytes) != Ok(metadata.size()) {
        return Err(changed());
    }
    if metadata.size() > max_bytes {
        return Err("its file is larger than vision.max_file_bytes".to_owned());
    }
    // An event for the current state, so that `read_verified` detects a change while it reads.
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
        Ok(_) => Err(changed()),
        Err(
            FileMismatch::Superseded(reason)
            | FileMismatch::Unreadable(reason)
            | FileMismatch::Unavailable(reason),
        ) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_content_of_the_row_is_read() {
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
            (image("a.jpg", b"other"), "another content"),
            (image("a.jpg", b"longer bytes"), "another content"),
            (image("b.jpg", b"bytes"), "cannot read"),
            (image("../a.jpg", b"bytes"), "path"),
        ] {
            let reason = read(&image).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
