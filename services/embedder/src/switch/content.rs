//! One content's vector for the new model: known to its collection, remembered, or made from any
//! file that has the content.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lookalike_index::Image;
use lookalike_proto::{FileEvent, Generation, ImageId, Kind, Library, RelativePath};
use lookalike_vision::{Engine, Error as VisionError, Limits};
use lru::LruCache;
use tokio::sync::Semaphore;

use super::Context;
use crate::decoding::{self, in_time};
use crate::file::{self, Mismatch};
use crate::folder::Folder;
use crate::strays::Strays;

/// What became of a content.
pub(super) enum Found {
    /// Its vector, and whether the network made it just now.
    Vector(Vec<f32>, bool),
    /// There is none now, and why.
    Not(String),
    /// The network fails whatever it is given.
    Broken(VisionError),
}

pub(super) struct Contents {
    folders: HashMap<String, Arc<Folder>>,
    engine: Arc<Engine>,
    limits: Limits,
    decoders: Semaphore,
    memory: Semaphore,
    memory_mebibytes: u32,
    strays: Arc<Strays>,
    /// What was embedded a moment ago, and may not be seen in the collection yet.
    remembered: Mutex<LruCache<String, Vec<f32>>>,
}

impl Contents {
    pub(super) fn new(context: Context) -> Self {
        let Context {
            settings,
            libraries,
            engine,
            limits,
            ..
        } = context;
        let folders = libraries.into_iter().map(|(library, root)| {
            let folder = Folder::new(library.as_str(), root, &settings);
            (library.to_string(), folder)
        });
        let mebibytes = u32::try_from((settings.max_bytes_in_memory >> 20).max(1));
        let memory_mebibytes = mebibytes.unwrap_or(u32::MAX).min(u32::MAX >> 4);
        let most = NonZeroUsize::new(settings.remembered_contents.max(1)).expect("at least 1");
        Self {
            folders: folders.collect(),
            engine,
            limits,
            decoders: Semaphore::new(context.decode_threads.max(1)),
            memory: Semaphore::new(memory_mebibytes as usize),
            memory_mebibytes,
            strays: Strays::new(settings.max_strays),
            remembered: Mutex::new(LruCache::new(most)),
        }
    }

    /// Whether files of this library can be read here.
    pub(super) fn is_here(&self, library: &str) -> bool {
        self.folders.contains_key(library)
    }

    /// The vector of a content that all these images have.
    pub(super) async fn vector(
        &self,
        hash: &str,
        known: Option<Vec<f32>>,
        images: &[Image],
    ) -> Found {
        if let Some(vector) = known.or_else(|| self.remembered().get(hash).cloned()) {
            return Found::Vector(vector, false);
        }
        let mut not = String::new();
        for image in images {
            match self.embed(image).await {
                Found::Vector(vector, _) => {
                    self.remembered().put(hash.to_owned(), vector.clone());
                    return Found::Vector(vector, true);
                }
                Found::Not(why) => not = why,
                broken => return broken,
            }
        }
        Found::Not(not)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, LruCache<String, Vec<f32>>> {
        self.remembered
            .lock()
            .expect("no holder of this lock panics")
    }

    async fn embed(&self, image: &Image) -> Found {
        let Some(folder) = self.folders.get(&image.library) else {
            return Found::Not("its library's folder is not on this machine".to_owned());
        };
        let turn = match folder.enter().await {
            Ok(turn) => turn,
            Err(away) => return Found::Not(away.0),
        };
        let mebibytes = u32::try_from(image.bytes >> 20).unwrap_or(u32::MAX);
        let mebibytes = mebibytes.saturating_add(1).min(self.memory_mebibytes);
        let _memory = self
            .memory
            .acquire_many(mebibytes)
            .await
            .expect("this semaphore is never closed");
        let wanted = image.clone();
        let most = self.limits.max_file_bytes;
        let read = turn.run(move |root, sign| read(root, &wanted, most, || sign.give()));
        let bytes = match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(why)) => return Found::Not(why),
            Err(away) => return Found::Not(away.0),
        };
        let decode = decoding::prepare(bytes, &self.engine, &self.limits);
        let decoded = {
            let _thread = self
                .decoders
                .acquire()
                .await
                .expect("this semaphore is never closed");
            in_time(decode, self.limits.decode_timeout, &self.strays).await
        };
        let input = match decoded {
            Ok((input, _)) => input,
            Err(error) => return Found::Not(error.to_string()),
        };
        match self.engine.embed(vec![input]).await {
            Ok(mut vectors) => match vectors.pop() {
                Some(vector) => Found::Vector(vector, true),
                None => unreachable!("the engine gives one vector for one input"),
            },
            Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                Found::Broken(error)
            }
            Err(error) => Found::Not(error.to_string()),
        }
    }
}

/// The bytes of a file that still has the content of its row.
fn read(root: &Path, image: &Image, most: u64, alive: impl Fn()) -> Result<Vec<u8>, String> {
    let other = || "its file holds something else by now".to_owned();
    let path = RelativePath::new(&*image.path).map_err(|error| error.to_string())?;
    let metadata = std::fs::symlink_metadata(path.below(root));
    let metadata = metadata.map_err(|error| format!("its file can't be read: {error}"))?;
    if u64::try_from(image.bytes) != Ok(metadata.size()) {
        return Err(other());
    }
    if metadata.size() > most {
        return Err("its file is larger than vision.max_file_bytes".to_owned());
    }
    // What it is now; that it stays so while it is read is checked as for any event.
    let event = FileEvent {
        image_id: ImageId::from_bytes([0; 16]),
        library: Library::new(&image.library).map_err(|error| error.to_string())?,
        path,
        kind: Kind::Put,
        generation: Generation::from_u64(0),
        attempt: 1,
        size: metadata.size(),
        mtime_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        observed_at_ns: 0,
    };
    match file::read(root, &event, alive) {
        Ok(read) if read.hash.to_string() == image.content_hash => Ok(read.bytes),
        Ok(_) => Err(other()),
        Err(Mismatch::Superseded(why) | Mismatch::Unreadable(why) | Mismatch::NotNow(why)) => {
            Err(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rows_own_content_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), b"bytes").unwrap();
        let image = |path: &str, content: &[u8]| Image {
            library: "x".into(),
            path: path.into(),
            bytes: content.len() as i64,
            content_hash: blake3::hash(content).to_string(),
            ..Image::default()
        };
        let read = |image: &Image| read(dir.path(), image, 100, || ());
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
