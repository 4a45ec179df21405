//! Prepares one event: from its delivery to the row change that the commit applies.

use std::collections::BTreeMap;
use std::sync::Arc;

use lookalike_bus::{Bus, Error as BusError};
use lookalike_chassis::clock::now_nanos;
use lookalike_chassis::metrics::STAGE_SECONDS;
use lookalike_index::{IndexRow, IndexedImage};
use lookalike_proto::{ContentHash, FileEvent, FileEventKind, LibraryName, Timings};
use lookalike_vision::{
    DecodeError, DecodeMonitor, DecodedAttributes, Engine, Error as VisionError, Input, Limits,
    SidecarAttributes,
};
use tokio::sync::{RwLock, Semaphore, SemaphorePermit};

use crate::commit::job::{IndexingFailure, PreparedEvent, RowChange};
use crate::embed::content_cache::ContentCache;
use crate::embed::decode::{self, run_decoder};
use crate::embed::index_lookup::IndexLookup;
use crate::embed::leaked_threads::LeakedThreads;
use crate::embed::outside_attributes::set_attributes;
use crate::error::Error;
use crate::metrics;
use crate::queue::in_flight::InFlightEvent;
use crate::read::file::{self, HashedFile};
use crate::read::library_reader::LibraryReader;
use crate::read::memory_permits::MemoryPermits;
use crate::read::sidecars::read_sidecars;
use crate::read::unknown_libraries::UnknownLibraries;
use crate::shutdown_reason::ShutdownReason;

/// How often an image is given to the network in all when it fails.
const MAX_NETWORK_TRIES: u32 = 3;

/// A file is not decoded again after so many workers died while they decoded nothing else.
const MAX_DECODE_DEATHS: u32 = 2;

pub struct Preparer {
    pub readers: BTreeMap<LibraryName, Arc<LibraryReader>>,
    pub unknown_libraries: UnknownLibraries,
    pub engine: Arc<Engine>,
    pub limits: Limits,
    pub lookup: IndexLookup,
    pub content_cache: Arc<ContentCache>,
    /// Threads that may decode at once.
    pub decode_permits: Semaphore,
    pub memory_permits: MemoryPermits,
    /// Held for writing while a redelivered file is decoded, so it is decoded alone.
    pub exclusive_decode: RwLock<()>,
    /// Stores which file a worker died with.
    pub bus: Bus,
    pub leaked_threads: Arc<LeakedThreads>,
    pub shutdown_reason: ShutdownReason,
    /// Whether the names of folders become tags.
    pub folder_tags: bool,
    /// Whether sidecars are read.
    pub read_sidecars: bool,
}

/// Result of looking up or embedding one content.
enum VectorLookup {
    /// A row of any image that has this content.
    Row {
        row: Arc<IndexRow>,
        reused: bool,
    },
    Failed(IndexingFailure),
    /// The lookup or the network failed; retry later.
    Deferred(String),
}

impl From<IndexingFailure> for VectorLookup {
    fn from(failure: IndexingFailure) -> Self {
        Self::Failed(failure)
    }
}

impl Preparer {
    /// Determines what the commit does for an event.
    pub async fn prepare_event(&self, in_flight: Arc<InFlightEvent>) -> PreparedEvent {
        let event = &in_flight.delivery.event;
        let Some(reader) = self.readers.get(&event.library) else {
            // Another worker may have the library. The watcher sends the event again.
            self.unknown_libraries.warn_about_library(&event.library);
            let reason = format!(
                "the worker that took it does not have library {}",
                event.library
            );
            return PreparedEvent::new(in_flight, RowChange::Defer(reason));
        };
        match event.kind {
            FileEventKind::Remove => {
                let change = prepare_remove(reader, event.clone()).await;
                PreparedEvent::new(in_flight, change)
            }
            FileEventKind::Put => self.prepare_put(reader, in_flight).await,
        }
    }

    async fn prepare_put(
        &self,
        reader: &Arc<LibraryReader>,
        in_flight: Arc<InFlightEvent>,
    ) -> PreparedEvent {
        // The memory permit is held until the bytes are decoded.
        let (file, sidecar, _memory) = match self.read_file(reader, &in_flight).await {
            Ok(read) => read,
            Err(change) => return PreparedEvent::new(in_flight, change),
        };
        record_timing(&in_flight, |timings| timings.read_ns = now_nanos());
        let hash = file.hash;
        let (change, reused) = match self.embed_content(&in_flight, file).await {
            VectorLookup::Row { row, reused } => {
                let mut row = build_row(&in_flight.delivery.event, hash, &row);
                let path = in_flight.delivery.event.path.as_str();
                set_attributes(&mut row.image, path, &sidecar, self.folder_tags);
                (RowChange::Put(reader.clone(), Box::new(row)), reused)
            }
            VectorLookup::Failed(failure) => (failure.into(), false),
            VectorLookup::Deferred(reason) => (RowChange::Defer(reason), false),
        };
        let mut prepared = PreparedEvent::new(in_flight, change);
        prepared.content_hash = Some(hash);
        prepared.reused = reused;
        prepared
    }

    async fn read_file(
        &self,
        reader: &Arc<LibraryReader>,
        in_flight: &InFlightEvent,
    ) -> Result<(HashedFile, SidecarAttributes, SemaphorePermit<'_>), RowChange> {
        let event = in_flight.delivery.event.clone();
        if let Err(error) = self.limits.check_file_bytes(event.size) {
            // The size is the event's; it counts only if the disk agrees.
            reader
                .run_blocking(move |root, _| file::verify_unchanged(root, &event))
                .await??;
            return Err(decode_failure(&error).into());
        }
        // The permit to read comes first: what waits for a hanging folder must hold no memory.
        let permit = reader.acquire_permit().await?;
        let memory = self.memory_permits.acquire_bytes(event.size).await;
        let has_sidecars = self.read_sidecars;
        let read = permit.run_blocking(move |root, heartbeat| {
            let _timer = STAGE_SECONDS.with_label_values(&["read"]).start_timer();
            let file = file::read_verified(root, &event, || heartbeat.record_progress())?;
            // Later than the picture: a change after this is sent as another event.
            let sidecar = match has_sidecars {
                true => read_sidecars(root, &event.path)?,
                false => SidecarAttributes::default(),
            };
            heartbeat.record_progress();
            Ok::<_, file::FileMismatch>((file, sidecar))
        });
        let (file, sidecar) = read.await??;
        Ok((file, sidecar, memory))
    }

    /// Returns the vector of a content: from the cache, from the index, or from the network.
    async fn embed_content(&self, in_flight: &InFlightEvent, file: HashedFile) -> VectorLookup {
        let HashedFile { bytes, hash } = file;
        let mut reused = true;
        let observed_at_ns = in_flight.delivery.event.observed_at_ns;
        let found = self
            .content_cache
            .get_or_find_row(hash, observed_at_ns, async || {
                if let Some(row) = self.lookup.find_row(hash).await {
                    return Ok(Arc::new(row));
                }
                reused = false;
                let row = self.embed_bytes(in_flight, hash, bytes).await;
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
                VectorLookup::Row { row, reused }
            }
            Err(result) => result,
        }
    }

    async fn embed_bytes(
        &self,
        in_flight: &InFlightEvent,
        hash: ContentHash,
        bytes: Vec<u8>,
    ) -> Result<IndexRow, VectorLookup> {
        let started_ns = now_nanos();
        let decode = decode::decoder_for(bytes, &self.engine, &self.limits);
        let decoded = if in_flight.delivery.deliveries > 1 {
            self.decode_exclusively(in_flight, decode).await?
        } else {
            let _shared = self.exclusive_decode.read().await;
            self.decode_in_pool(decode).await
        };
        let (input, attributes) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let failure = decode_failure(&error);
                let cache = &self.content_cache;
                cache.record_failure(hash, &failure, started_ns).await;
                return Err(failure.into());
            }
        };
        record_timing(in_flight, |timings| timings.decoded_ns = now_nanos());
        let vector = self.run_network(input).await?;
        record_timing(in_flight, |timings| timings.embedded_ns = now_nanos());
        Ok(IndexRow {
            image: image_from_attributes(&attributes),
            vector,
        })
    }

    async fn run_network(&self, input: Input) -> Result<Vec<f32>, VectorLookup> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.engine.embed_images(vec![input.clone()]).await {
                Ok(mut vectors) => match vectors.pop() {
                    Some(vector) => return Ok(vector),
                    None => unreachable!("the engine gives one vector for one input"),
                },
                Err(error)
                    if tries < MAX_NETWORK_TRIES && !matches!(error, VisionError::Stopped) =>
                {
                    tracing::warn!(%error, tries, "the network failed, retrying");
                }
                // The device is at fault, not the image: another or a restarted worker can do it.
                Err(error @ (VisionError::Stopped | VisionError::Broken { .. })) => {
                    let reason = error.to_string();
                    self.shutdown_reason.shut_down_with(Error::Device(error));
                    return Err(VectorLookup::Deferred(reason));
                }
                Err(error) => {
                    return Err(VectorLookup::Failed(IndexingFailure {
                        code: "network_failed",
                        detail: error.to_string(),
                    }));
                }
            }
        }
    }

    /// Decodes a redelivered file while nothing else is decoded.
    ///
    /// The worker that had the file before may have died of it. Decoding it alone protects the other
    /// files, and a note in the trials bucket names that file. When a worker has died with
    /// that note [`MAX_DECODE_DEATHS`] times, the file is not decoded any more.
    async fn decode_exclusively<T: Send + 'static>(
        &self,
        in_flight: &InFlightEvent,
        decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<Result<T, DecodeError>, VectorLookup> {
        let event = &in_flight.delivery.event;
        let defer = |error: BusError| VectorLookup::Deferred(error.to_string());
        let _exclusive = self.exclusive_decode.write().await;
        let deaths = self
            .bus
            .begin_trial(&event.image_id, event.generation)
            .await
            .map_err(defer)?;
        let decoded = if deaths >= MAX_DECODE_DEATHS {
            let detail = "An embedder died each time it decoded this file; it is tried again when \
                          the file changes."
                .to_owned();
            Err(VectorLookup::Failed(IndexingFailure {
                code: "poison",
                detail,
            }))
        } else {
            Ok(self.decode_in_pool(decode).await)
        };
        if let Err(error) = self.bus.end_trial(&event.image_id, event.generation).await {
            tracing::warn!(%error, image = %event.image_id, "cannot delete a trial note; it expires after a day");
        }
        decoded
    }

    async fn decode_in_pool<T: Send + 'static>(
        &self,
        decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<T, DecodeError> {
        let _permit = self
            .decode_permits
            .acquire()
            .await
            .expect("this semaphore is never closed");
        run_decoder(decode, self.limits.decode_timeout, &self.leaked_threads).await
    }
}

async fn prepare_remove(reader: &Arc<LibraryReader>, event: FileEvent) -> RowChange {
    let verified = reader.run_blocking(move |root, _| file::verify_gone(root, &event));
    match verified.await {
        Ok(Ok(())) => RowChange::Remove,
        Ok(Err(mismatch)) => mismatch.into(),
        Err(unavailable) => unavailable.into(),
    }
}

fn record_timing(in_flight: &InFlightEvent, set: impl FnOnce(&mut Timings)) {
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
        tags: attributes.tags.clone(),
        colors: attributes.colors.clone(),
        sketch: attributes.sketch.to_text(),
        ..IndexedImage::default()
    }
}

/// Builds the row of the event's image, with the content's vector and attributes.
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
            ..content.image.clone()
        },
        vector: content.vector.clone(),
    }
}
