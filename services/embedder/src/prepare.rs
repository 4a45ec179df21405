//! Prepare: one event, from its delivery to what is to be committed for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lookalike_bus::{Bus, Error as BusError};
use lookalike_chassis::clock::now_nanos;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_index::{Image, Row};
use lookalike_proto::{ContentHash, FileEvent, Kind, Library};
use lookalike_vision::{Attributes, DecodeError, Engine, Error as VisionError, Limits, Watch};
use tokio::sync::{RwLock, Semaphore};

use crate::absent::Absent;
use crate::commit::{Action, Ready};
use crate::decoding::{self, in_time};
use crate::ending::Ending;
use crate::error::Error;
use crate::file::{self, Bytes};
use crate::folder::Folder;
use crate::hand::Held;
use crate::known::{Content, Failed, Lookup, Remembered};
use crate::metrics;
use crate::strays::Strays;

/// How often a picture is put through the network that failed on its batch.
const NETWORK_TRIES: u32 = 3;

/// How many workers may die with a file, each decoding nothing else, before it is left alone.
const DEATHS: u32 = 2;

/// What preparing needs.
pub struct Preparer {
    pub folders: BTreeMap<Library, Arc<Folder>>,
    /// Libraries that this worker was asked for and does not have.
    pub absent: Absent,
    pub engine: Arc<Engine>,
    pub limits: Limits,
    pub lookup: Lookup,
    pub remembered: Arc<Remembered>,
    /// Threads that may decode at once.
    pub decoders: Arc<Semaphore>,
    /// Mebibytes of files that may be in memory at once.
    pub memory: Arc<Semaphore>,
    pub memory_mebibytes: u32,
    /// Held for writing by a file that came with a worker's death before: it is decoded alone.
    pub alone: RwLock<()>,
    /// Keeps the notes of which file a worker died with.
    pub bus: Bus,
    /// Decoders that nobody waits for any more.
    pub strays: Arc<Strays>,
    /// Ends this worker.
    pub ending: Ending,
}

/// What became of a content.
enum Embedding {
    /// A row with this content, of whatever image.
    Row(Arc<Row>, bool),
    Failed(Failed),
    /// It can't be found out now.
    NotNow(String),
}

impl Preparer {
    /// Finds out what is to be committed for an event.
    pub async fn prepare(&self, held: Arc<Held>) -> Ready {
        let event = &held.delivery.event;
        let Some(folder) = self.folders.get(&event.library) else {
            // Another worker may have it, and gets it at one of its next tries.
            self.absent.warn(&event.library);
            let reason = format!(
                "a worker took it that does not have library {}",
                event.library
            );
            return Ready::new(held, Action::PutOff(reason));
        };
        let (action, hash, reused) = match event.kind {
            Kind::Remove => (remove(folder, event.clone()).await, None, false),
            Kind::Put => self.put(folder, &held).await,
        };
        let mut ready = Ready::new(held, action);
        ready.content_hash = hash;
        ready.reused = reused;
        ready
    }

    async fn put(
        &self,
        folder: &Arc<Folder>,
        held: &Arc<Held>,
    ) -> (Action, Option<ContentHash>, bool) {
        let event = &held.delivery.event;
        if let Err(error) = self.limits.check_file_bytes(event.size) {
            // Only if that is what lies there: the size is the event's.
            let told = event.clone();
            let checked = folder.run(move |root, _| file::check(root, &told)).await;
            let action = match checked {
                Ok(Ok(())) => failed(&error).into(),
                Ok(Err(mismatch)) => mismatch.into(),
                Err(away) => Action::PutOff(away.0),
            };
            return (action, None, false);
        }
        // First the turn, then the memory: what waits for a folder that hangs holds none.
        let turn = match folder.enter().await {
            Ok(turn) => turn,
            Err(away) => return (Action::PutOff(away.0), None, false),
        };
        let mebibytes = u32::try_from(event.size >> 20)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let mebibytes = mebibytes.min(self.memory_mebibytes);
        let _memory = self
            .memory
            .acquire_many(mebibytes)
            .await
            .expect("this semaphore is never closed");
        let told = event.clone();
        let read = turn.run(move |root, sign| {
            let _timer = STAGE_SECONDS.with_label_values(&["read"]).start_timer();
            file::read(root, &told, || sign.give())
        });
        let Bytes { bytes, hash } = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(mismatch)) => return (mismatch.into(), None, false),
            Err(away) => return (Action::PutOff(away.0), None, false),
        };
        note(held, |timings| timings.read_ns = now_nanos());
        let (action, reused) = match self.embed(held, hash, bytes).await {
            Embedding::Row(row, reused) => (
                Action::Put(folder.clone(), Box::new(row_of(event, hash, &row))),
                reused,
            ),
            Embedding::Failed(failed) => (failed.into(), false),
            Embedding::NotNow(reason) => (Action::PutOff(reason), false),
        };
        (action, Some(hash), reused)
    }

    /// The vector of a content: remembered, or in the index, or from the network.
    async fn embed(&self, held: &Arc<Held>, hash: ContentHash, bytes: Vec<u8>) -> Embedding {
        let content = self.remembered.content(hash);
        let mut reused = true;
        let found = content
            .row(held.delivery.event.observed_at_ns, async || {
                if let Some(row) = self.lookup.find(hash).await {
                    return Ok(Arc::new(row));
                }
                reused = false;
                let row = self.run_network(held, &content, bytes).await;
                row.map(Arc::new)
            })
            .await;
        match found {
            Ok(row) => {
                let counter = if reused {
                    &metrics::REUSED
                } else {
                    &metrics::EMBEDDINGS
                };
                counter.inc();
                Embedding::Row(row, reused)
            }
            Err(embedding) => embedding,
        }
    }

    async fn run_network(
        &self,
        held: &Held,
        content: &Content,
        bytes: Vec<u8>,
    ) -> Result<Row, Embedding> {
        let begun_ns = now_nanos();
        let decode = decoding::prepare(bytes, &self.engine, &self.limits);
        let decoded = if held.delivery.deliveries > 1 {
            self.decode_alone(held, decode).await?
        } else {
            let _beside_others = self.alone.read().await;
            self.decode_in_pool(decode).await
        };
        let (input, attributes) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let failed = failed(&error);
                content.note_failed(&failed, begun_ns);
                return Err(Embedding::Failed(failed));
            }
        };
        note(held, |timings| timings.decoded_ns = now_nanos());
        let mut tries = 0;
        let vector = loop {
            tries += 1;
            match self.engine.embed(vec![input.clone()]).await {
                Ok(mut vectors) => match vectors.pop() {
                    Some(vector) => break vector,
                    None => unreachable!("the engine gives one vector for one input"),
                },
                Err(error) if tries < NETWORK_TRIES && !matches!(error, VisionError::Stopped) => {
                    tracing::warn!(%error, tries, "the network failed, trying again");
                }
                // Not the picture's fault: another worker, or this one started anew, can do it.
                Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                    let problem = error.to_string();
                    self.ending.because(Error::Device(error));
                    return Err(Embedding::NotNow(problem));
                }
                Err(error) => {
                    let detail = error.to_string();
                    return Err(Embedding::Failed(Failed {
                        code: "network_failed",
                        detail,
                    }));
                }
            }
        };
        note(held, |timings| timings.embedded_ns = now_nanos());
        Ok(Row {
            image: image_of(&attributes),
            vector,
        })
    }

    /// A file that was in the hands of a worker that died may be the one that killed it: nothing
    /// else is decoded meanwhile, so that it takes nothing along, and a note is left that says
    /// which one it was. When that note was left twice, the file is not touched any more.
    async fn decode_alone<T: Send + 'static>(
        &self,
        held: &Held,
        decode: impl FnOnce(&Watch) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<Result<T, DecodeError>, Embedding> {
        let event = &held.delivery.event;
        let not_now = |error: BusError| Embedding::NotNow(error.to_string());
        let _alone = self.alone.write().await;
        let deaths = self
            .bus
            .begin_trial(&event.image_id, event.generation)
            .await
            .map_err(not_now)?;
        let decoded = if deaths >= DEATHS {
            let detail = "An embedder died each time it decoded this file; it is tried again when \
                          the file changes."
                .to_owned();
            Err(Embedding::Failed(Failed {
                code: "poison",
                detail,
            }))
        } else {
            Ok(self.decode_in_pool(decode).await)
        };
        if let Err(error) = self.bus.end_trial(&event.image_id, event.generation).await {
            tracing::warn!(%error, image = %event.image_id, "a trial's note stays for a day");
        }
        decoded
    }

    async fn decode_in_pool<T: Send + 'static>(
        &self,
        decode: impl FnOnce(&Watch) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<T, DecodeError> {
        let _thread = self
            .decoders
            .acquire()
            .await
            .expect("this semaphore is never closed");
        in_time(decode, self.limits.decode_timeout, &self.strays).await
    }
}

async fn remove(folder: &Arc<Folder>, event: FileEvent) -> Action {
    let checked = folder.run(move |root, _| file::check_gone(root, &event));
    match checked.await {
        Ok(Ok(())) => Action::Remove,
        Ok(Err(mismatch)) => mismatch.into(),
        Err(away) => Action::PutOff(away.0),
    }
}

fn note(held: &Held, set: impl FnOnce(&mut lookalike_proto::Timings)) {
    set(&mut held.timings.lock().expect("no holder of this lock panics"));
}

fn failed(error: &DecodeError) -> Failed {
    Failed {
        code: error.code(),
        detail: error.to_string(),
    }
}

impl From<Failed> for Embedding {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Failed> for Action {
    fn from(failed: Failed) -> Self {
        Self::Fail {
            code: failed.code,
            detail: failed.detail,
        }
    }
}

fn image_of(attributes: &Attributes) -> Image {
    let pixels = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    Image {
        width: pixels(attributes.width),
        height: pixels(attributes.height),
        format: attributes.format.to_owned(),
        taken_at: attributes
            .taken_at
            .map(|seconds| seconds.saturating_mul(1000)),
        camera: attributes.camera.clone().unwrap_or_default(),
        colors: attributes.colors.clone(),
        ..Image::default()
    }
}

/// The event's own row, with the content's vector and attributes.
fn row_of(event: &FileEvent, hash: ContentHash, content: &Row) -> Row {
    Row {
        image: Image {
            id: event.image_id.to_string(),
            library: event.library.to_string(),
            path: event.path.to_string(),
            content_hash: hash.to_string(),
            generation: i64::try_from(event.generation.get()).unwrap_or(i64::MAX),
            bytes: i64::try_from(event.size).unwrap_or(i64::MAX),
            modified_at: event.mtime_ns / 1_000_000,
            indexed_at: now_nanos() / 1_000_000,
            tags: Vec::new(),
            ..content.image.clone()
        },
        vector: content.vector.clone(),
    }
}
