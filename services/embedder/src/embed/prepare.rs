//! Prepare: one event, from its delivery to what is to be committed for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lookalike_bus::{Bus, Error as BusError};
use lookalike_chassis::clock::now_nanos;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_index::{IndexRow, IndexedImage};
use lookalike_proto::{ContentHash, FileEvent, FileEventKind, LibraryName};
use lookalike_vision::{
    DecodeError, DecodeMonitor, DecodedAttributes, Engine, Error as VisionError, Limits,
};
use tokio::sync::{RwLock, Semaphore};

use crate::commit::committer::{PreparedEvent, RowChange};
use crate::embed::content_cache::{ContentCache, IndexLookup, IndexingFailure, SharedContent};
use crate::embed::decode::{self, run_decoder};
use crate::embed::leaked_threads::LeakedThreads;
use crate::error::Error;
use crate::metrics;
use crate::queue::in_flight::InFlightEvent;
use crate::read::file::{self, HashedFile};
use crate::read::library_reader::LibraryReader;
use crate::read::unknown_libraries::UnknownLibraries;
use crate::shutdown_reason::ShutdownReason;

/// How often a picture is put through the network that failed on its batch.
const MAX_NETWORK_TRIES: u32 = 3;

/// How many workers may die with a file, each decoding nothing else, before it is left alone.
const MAX_DECODE_DEATHS: u32 = 2;

/// What preparing needs.
pub struct Preparer {
    pub readers: BTreeMap<LibraryName, Arc<LibraryReader>>,
    /// Libraries that this worker was asked for and does not have.
    pub unknown_libraries: UnknownLibraries,
    pub engine: Arc<Engine>,
    pub limits: Limits,
    pub lookup: IndexLookup,
    pub content_cache: Arc<ContentCache>,
    /// Threads that may decode at once.
    pub decode_permits: Arc<Semaphore>,
    /// Mebibytes of files that may be in memory at once.
    pub memory_permits: Arc<Semaphore>,
    pub memory_mebibytes: u32,
    /// Held for writing by a file that came with a worker's death before: it is decoded alone.
    pub exclusive_decode: RwLock<()>,
    /// Keeps the notes of which file a worker died with.
    pub bus: Bus,
    /// Decoders that nobody waits for any more.
    pub leaked_threads: Arc<LeakedThreads>,
    /// Ends this worker.
    pub shutdown_reason: ShutdownReason,
}

/// What became of a content.
enum ContentResult {
    /// A row with this content, of whatever image.
    Row(Arc<IndexRow>, bool),
    Failed(IndexingFailure),
    /// It can't be found out now.
    Deferred(String),
}

impl Preparer {
    /// Finds out what is to be committed for an event.
    pub async fn prepare_event(&self, in_flight: Arc<InFlightEvent>) -> PreparedEvent {
        let event = &in_flight.delivery.event;
        let Some(folder) = self.readers.get(&event.library) else {
            // Another worker may have it, and gets it at one of its next tries.
            self.unknown_libraries.warn_about_library(&event.library);
            let reason = format!(
                "a worker took it that does not have library {}",
                event.library
            );
            return PreparedEvent::new(in_flight, RowChange::Defer(reason));
        };
        let (action, hash, reused) = match event.kind {
            FileEventKind::Remove => (prepare_remove(folder, event.clone()).await, None, false),
            FileEventKind::Put => self.prepare_put(folder, &in_flight).await,
        };
        let mut ready = PreparedEvent::new(in_flight, action);
        ready.content_hash = hash;
        ready.reused = reused;
        ready
    }

    async fn prepare_put(
        &self,
        folder: &Arc<LibraryReader>,
        in_flight: &Arc<InFlightEvent>,
    ) -> (RowChange, Option<ContentHash>, bool) {
        let event = &in_flight.delivery.event;
        if let Err(error) = self.limits.check_file_bytes(event.size) {
            // Only if that is what lies there: the size is the event's.
            let told = event.clone();
            let checked = folder
                .run_blocking(move |root, _| file::verify_unchanged(root, &told))
                .await;
            let action = match checked {
                Ok(Ok(())) => decode_failure(&error).into(),
                Ok(Err(mismatch)) => mismatch.into(),
                Err(away) => RowChange::Defer(away.0),
            };
            return (action, None, false);
        }
        // First the turn, then the memory: what waits for a folder that hangs holds none.
        let turn = match folder.acquire_permit().await {
            Ok(turn) => turn,
            Err(away) => return (RowChange::Defer(away.0), None, false),
        };
        let mebibytes = u32::try_from(event.size >> 20)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let mebibytes = mebibytes.min(self.memory_mebibytes);
        let _memory = self
            .memory_permits
            .acquire_many(mebibytes)
            .await
            .expect("this semaphore is never closed");
        let told = event.clone();
        let read = turn.run_blocking(move |root, sign| {
            let _timer = STAGE_SECONDS.with_label_values(&["read"]).start_timer();
            file::read_verified(root, &told, || sign.record_progress())
        });
        let HashedFile { bytes, hash } = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(mismatch)) => return (mismatch.into(), None, false),
            Err(away) => return (RowChange::Defer(away.0), None, false),
        };
        record_timing(in_flight, |timings| timings.read_ns = now_nanos());
        let (action, reused) = match self.embed_content(in_flight, hash, bytes).await {
            ContentResult::Row(row, reused) => (
                RowChange::Put(folder.clone(), Box::new(build_row(event, hash, &row))),
                reused,
            ),
            ContentResult::Failed(failed) => (failed.into(), false),
            ContentResult::Deferred(reason) => (RowChange::Defer(reason), false),
        };
        (action, Some(hash), reused)
    }

    /// The vector of a content: remembered, or in the index, or from the network.
    async fn embed_content(
        &self,
        in_flight: &Arc<InFlightEvent>,
        hash: ContentHash,
        bytes: Vec<u8>,
    ) -> ContentResult {
        let content = self.content_cache.get_or_insert(hash);
        let mut reused = true;
        let found = content
            .get_or_find_row(in_flight.delivery.event.observed_at_ns, async || {
                if let Some(row) = self.lookup.find_row(hash).await {
                    return Ok(Arc::new(row));
                }
                reused = false;
                let row = self.run_network(in_flight, &content, bytes).await;
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
                ContentResult::Row(row, reused)
            }
            Err(embedding) => embedding,
        }
    }

    async fn run_network(
        &self,
        in_flight: &InFlightEvent,
        content: &SharedContent,
        bytes: Vec<u8>,
    ) -> Result<IndexRow, ContentResult> {
        let begun_ns = now_nanos();
        let decode = decode::decoder_for(bytes, &self.engine, &self.limits);
        let decoded = if in_flight.delivery.deliveries > 1 {
            self.decode_exclusively(in_flight, decode).await?
        } else {
            let _beside_others = self.exclusive_decode.read().await;
            self.decode_in_pool(decode).await
        };
        let (input, attributes) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let failed = decode_failure(&error);
                content.record_failure(&failed, begun_ns);
                return Err(ContentResult::Failed(failed));
            }
        };
        record_timing(in_flight, |timings| timings.decoded_ns = now_nanos());
        let mut tries = 0;
        let vector = loop {
            tries += 1;
            match self.engine.embed_images(vec![input.clone()]).await {
                Ok(mut vectors) => match vectors.pop() {
                    Some(vector) => break vector,
                    None => unreachable!("the engine gives one vector for one input"),
                },
                Err(error)
                    if tries < MAX_NETWORK_TRIES && !matches!(error, VisionError::Stopped) =>
                {
                    tracing::warn!(%error, tries, "the network failed, trying again");
                }
                // Not the picture's fault: another worker, or this one started anew, can do it.
                Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                    let problem = error.to_string();
                    self.shutdown_reason.shut_down_with(Error::Device(error));
                    return Err(ContentResult::Deferred(problem));
                }
                Err(error) => {
                    let detail = error.to_string();
                    return Err(ContentResult::Failed(IndexingFailure {
                        code: "network_failed",
                        detail,
                    }));
                }
            }
        };
        record_timing(in_flight, |timings| timings.embedded_ns = now_nanos());
        Ok(IndexRow {
            image: image_from_attributes(&attributes),
            vector,
        })
    }

    /// A file that was in the hands of a worker that died may be the one that killed it: nothing
    /// else is decoded meanwhile, so that it takes nothing along, and a note is left that says
    /// which one it was. When that note was left twice, the file is not touched any more.
    async fn decode_exclusively<T: Send + 'static>(
        &self,
        in_flight: &InFlightEvent,
        decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<Result<T, DecodeError>, ContentResult> {
        let event = &in_flight.delivery.event;
        let not_now = |error: BusError| ContentResult::Deferred(error.to_string());
        let _alone = self.exclusive_decode.write().await;
        let deaths = self
            .bus
            .begin_trial(&event.image_id, event.generation)
            .await
            .map_err(not_now)?;
        let decoded = if deaths >= MAX_DECODE_DEATHS {
            let detail = "An embedder died each time it decoded this file; it is tried again when \
                          the file changes."
                .to_owned();
            Err(ContentResult::Failed(IndexingFailure {
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
        decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<T, DecodeError> {
        let _thread = self
            .decode_permits
            .acquire()
            .await
            .expect("this semaphore is never closed");
        run_decoder(decode, self.limits.decode_timeout, &self.leaked_threads).await
    }
}

async fn prepare_remove(folder: &Arc<LibraryReader>, event: FileEvent) -> RowChange {
    let checked = folder.run_blocking(move |root, _| file::verify_gone(root, &event));
    match checked.await {
        Ok(Ok(())) => RowChange::Remove,
        Ok(Err(mismatch)) => mismatch.into(),
        Err(away) => RowChange::Defer(away.0),
    }
}

fn record_timing(in_flight: &InFlightEvent, set: impl FnOnce(&mut lookalike_proto::Timings)) {
    set(&mut in_flight
        .timings
        .lock()
        .expect("no holder of this lock panics"));
}

fn decode_failure(error: &DecodeError) -> IndexingFailure {
    IndexingFailure {
        code: error.code(),
        detail: error.to_string(),
    }
}

impl From<IndexingFailure> for ContentResult {
    fn from(failed: IndexingFailure) -> Self {
        Self::Failed(failed)
    }
}

impl From<IndexingFailure> for RowChange {
    fn from(failed: IndexingFailure) -> Self {
        Self::Fail {
            code: failed.code,
            detail: failed.detail,
        }
    }
}

fn image_from_attributes(attributes: &DecodedAttributes) -> IndexedImage {
    let pixels = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    IndexedImage {
        width: pixels(attributes.width),
        height: pixels(attributes.height),
        format: attributes.format.to_owned(),
        taken_at: attributes
            .taken_at
            .map(|seconds| seconds.saturating_mul(1000)),
        camera: attributes.camera.clone().unwrap_or_default(),
        colors: attributes.colors.clone(),
        ..IndexedImage::default()
    }
}

/// The event's own row, with the content's vector and attributes.
fn build_row(event: &FileEvent, hash: ContentHash, content: &IndexRow) -> IndexRow {
    IndexRow {
        image: IndexedImage {
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
