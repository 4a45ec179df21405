//! Fills the collection of another model while the old one serves: copies every row, with the vector
//! that the new model computes for its content.
//!
//! A pass reads the keys of both collections in the order of ids and makes the new collection equal
//! to the old one. It writes missing and outdated rows with all fields of the old row and a new
//! vector, and deletes rows that the old collection does not have any more. A pass finds the work of
//! earlier passes done, whichever process did it. So an interrupted copy resumes, and each pass
//! processes only what changed during the one before.
//!
//! The old rows determine the content of each file. A file that has another content by now, or that
//! cannot be read here, is skipped; the audit after the rollover repairs it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_chassis::Retry;
use lookalike_index::{
    Error as IndexError, Index, IndexRow, IndexedImage, ReadConsistency, RowFilter, RowKey,
    RowReader,
};
use lookalike_proto::LibraryName;
use lookalike_vision::{Engine, Limits};
use rand::Rng as _;

use super::content::{ComputedContent, ContentEmbedder, VectorResult};
use crate::golden;
use crate::settings::Settings;

/// Rows that are processed together; one request looks up their contents.
const ROWS_PER_BATCH: usize = 256;

/// Contents that are read, decoded or embedded at once.
const MAX_CONCURRENT_CONTENTS: usize = 32;

/// How often one request is sent while Milvus is busy.
const MAX_TRIES: u32 = 8;

const FIRST_RETRY_WAIT: Duration = Duration::from_millis(200);
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);

/// Skipped files that are reported one by one.
const MAX_SKIPPED_LISTED: usize = 20;

/// Dependencies and limits of a copy.
pub struct CopyContext {
    /// The collection in service.
    pub old: Index,
    /// The collection to fill.
    pub new: Index,
    /// Runs the new model.
    pub engine: Arc<Engine>,
    pub limits: Limits,
    /// Threads that may decode at once.
    pub decode_threads: usize,
    /// The libraries whose files this machine can read, with their root folders.
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    pub settings: Settings,
}

/// Progress and result of a pass.
#[derive(Debug, Clone, Default)]
pub struct CopyPass {
    /// Rows of the old collection that were compared.
    pub rows: u64,
    /// Rows that were written to the new collection.
    pub written: u64,
    /// Contents that the network embedded.
    pub embedded: u64,
    /// Rows that were deleted because the old collection does not have them any more.
    pub removed: u64,
    /// Rows whose file cannot be read here, or has another content by now.
    pub skipped: u64,
    /// Some of them: library, path, reason.
    pub skipped_files: Vec<(String, String, String)>,
    /// A uniform sample of the ids that are equal in both collections.
    pub sample: Vec<String>,
}

impl CopyPass {
    /// Rows that differed between the collections.
    pub fn changed_rows(&self) -> u64 {
        self.written + self.removed
    }
}

/// Why a pass failed. Rows written before stay written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot copy the rows now: {0}")]
    Index(#[from] IndexError),
    #[error("cannot run the new model: {0}")]
    Device(#[source] lookalike_vision::Error),
}

/// Copies the rows of one collection to the collection of another model.
pub struct CollectionCopy {
    old: Index,
    new: Index,
    engine: Arc<Engine>,
    contents: ContentEmbedder,
}

impl CollectionCopy {
    pub fn new(context: CopyContext) -> Self {
        Self {
            old: context.old,
            new: context.new,
            engine: context.engine.clone(),
            contents: ContentEmbedder::new(
                context.engine,
                context.limits,
                context.decode_threads,
                context.libraries,
                &context.settings,
            ),
        }
    }

    /// Runs one pass over all rows. Reports its progress regularly, and collects a sample of
    /// `sample_size` ids.
    pub async fn run_pass(
        &self,
        sample_size: usize,
        on_progress: &(dyn Fn(&CopyPass) + Send + Sync),
    ) -> Result<CopyPass, Error> {
        // A device that computes wrong vectors must write nothing.
        golden::compare_golden_vector(&self.new, &self.engine).await?;
        let mut pass = CopyPass::default();
        let mut old_keys = CollectionKeys::for_index(&self.old)?;
        let mut new_keys = CollectionKeys::for_index(&self.new)?;
        let (mut outdated, mut gone) = (Vec::new(), Vec::new());
        let mut equal_rows = 0_usize;
        loop {
            let (new, old) = (new_keys.peek_key().await?, old_keys.peek_key().await?);
            let Some(id) = [&new, &old].into_iter().flatten().map(|key| &key.id).min() else {
                break;
            };
            let id = id.clone();
            let new = new.filter(|key| key.id == id);
            let old = old.filter(|key| key.id == id);
            if new.is_some() {
                new_keys.take_key();
            }
            if old.is_some() {
                old_keys.take_key();
            }
            match old {
                None => gone.push(id),
                Some(old) => {
                    pass.rows += 1;
                    if new.as_ref() != Some(&old) {
                        outdated.push(id);
                    } else if sample_size > 0 {
                        equal_rows += 1;
                        sample_id(&mut pass.sample, sample_size, equal_rows, &id);
                    }
                }
            }
            if outdated.len() >= ROWS_PER_BATCH {
                self.write_rows(std::mem::take(&mut outdated), &mut pass)
                    .await?;
                on_progress(&pass);
            } else if pass.rows.is_multiple_of(1000) {
                on_progress(&pass);
            }
            if gone.len() >= ROWS_PER_BATCH {
                self.remove_rows(std::mem::take(&mut gone), &mut pass)
                    .await?;
            }
        }
        self.write_rows(outdated, &mut pass).await?;
        self.remove_rows(gone, &mut pass).await?;
        on_progress(&pass);
        Ok(pass)
    }

    /// Writes the rows of these images with new vectors.
    async fn write_rows(&self, ids: Vec<String>, pass: &mut CopyPass) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let images =
            retry_until_ok(|| self.old.fetch_images(&ids, ReadConsistency::Strong)).await?;
        let mut by_content: HashMap<String, Vec<IndexedImage>> = HashMap::new();
        for image in images {
            if !self.contents.has_library(&image.library) {
                let reason = "its library's folder is not on this machine".to_owned();
                record_skipped(pass, &image, reason);
                continue;
            }
            let copies = by_content.entry(image.content_hash.clone()).or_default();
            copies.push(image);
        }
        let hashes: Vec<String> = by_content.keys().cloned().collect();
        let mut indexed =
            retry_until_ok(|| self.new.find_rows_by_content(&hashes, &RowFilter::All)).await?;
        let embedding: Vec<_> = by_content
            .into_iter()
            .map(|(hash, images)| {
                let indexed = indexed.remove(&hash).map(|row| ComputedContent {
                    vector: row.vector,
                    sketch: row.image.sketch,
                });
                async move {
                    let contents = &self.contents;
                    let result = contents.find_or_embed(&hash, indexed, &images);
                    let result = result.await;
                    (images, result)
                }
            })
            .collect();
        let mut results =
            futures_util::stream::iter(embedding).buffer_unordered(MAX_CONCURRENT_CONTENTS);
        let mut rows = Vec::new();
        while let Some((images, result)) = results.next().await {
            let (content, is_new) = match result {
                VectorResult::Vector { content, is_new } => (content, is_new),
                VectorResult::Unavailable(reason) => {
                    for image in &images {
                        record_skipped(pass, image, reason.clone());
                    }
                    continue;
                }
                VectorResult::DeviceFailed(error) => return Err(Error::Device(error)),
            };
            pass.embedded += u64::from(is_new);
            rows.extend(images.into_iter().map(|image| new_row(image, &content)));
        }
        retry_until_ok(|| self.new.upsert_rows(&rows)).await?;
        pass.written += rows.len() as u64;
        Ok(())
    }

    async fn remove_rows(&self, ids: Vec<String>, pass: &mut CopyPass) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        retry_until_ok(|| self.new.delete_ids(&ids)).await?;
        pass.removed += ids.len() as u64;
        Ok(())
    }
}

/// Builds the new row of an image: its old attributes with what was computed from its content. A row that
/// an earlier version wrote may get its first sketch.
fn new_row(mut image: IndexedImage, content: &ComputedContent) -> IndexRow {
    if !content.sketch.is_empty() {
        image.sketch.clone_from(&content.sketch);
    }
    IndexRow {
        image,
        vector: content.vector.clone(),
    }
}

fn record_skipped(pass: &mut CopyPass, image: &IndexedImage, reason: String) {
    pass.skipped += 1;
    if pass.skipped_files.len() < MAX_SKIPPED_LISTED {
        let (library, path) = (image.library.clone(), image.path.clone());
        pass.skipped_files.push((library, path, reason));
    }
}

/// Samples uniformly (reservoir sampling): `id` is number `seen` of those offered.
fn sample_id(sample: &mut Vec<String>, sample_size: usize, seen: usize, id: &str) {
    if sample.len() < sample_size {
        sample.push(id.to_owned());
    } else {
        let position = rand::thread_rng().gen_range(0..seen);
        if let Some(sampled) = sample.get_mut(position) {
            id.clone_into(sampled);
        }
    }
}

/// Reads the keys of a collection in the order of ids, each id once.
struct CollectionKeys {
    reader: RowReader,
    page: VecDeque<RowKey>,
    ended: bool,
}

impl CollectionKeys {
    fn for_index(index: &Index) -> Result<Self, Error> {
        Ok(Self {
            reader: index.row_reader(&RowFilter::All, 4000)?,
            page: VecDeque::new(),
            ended: false,
        })
    }

    /// Returns the next key without removing it; of an id with several rows the newest.
    async fn peek_key(&mut self) -> Result<Option<RowKey>, Error> {
        if self.page.is_empty() && !self.ended {
            let mut retry = retry_while_busy();
            let mut page = loop {
                match self.reader.next_page().await {
                    Ok(page) => break page,
                    Err(error) if error.is_transient() => retry.wait_after(error).await?,
                    Err(error) => return Err(error.into()),
                }
            };
            page.sort_by(|a, b| a.id.cmp(&b.id).then(b.generation.cmp(&a.generation)));
            page.dedup_by(|later, earlier| later.id == earlier.id);
            self.ended = page.is_empty();
            self.page = page.into();
        }
        Ok(self.page.front().cloned())
    }

    fn take_key(&mut self) {
        self.page.pop_front();
    }
}

/// Repeats a request while Milvus is busy, [`MAX_TRIES`] times at most.
async fn retry_until_ok<T, F>(request: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, IndexError>>,
{
    Ok(retry_while_busy()
        .run(request, IndexError::is_transient)
        .await?)
}

fn retry_while_busy() -> Retry {
    Retry::new(FIRST_RETRY_WAIT, MAX_RETRY_WAIT).with_max_attempts(MAX_TRIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_uniform() {
        let mut counts = [0_u32; 10];
        for _ in 0..2000 {
            let mut sample = Vec::new();
            for seen in 1..=10 {
                sample_id(&mut sample, 3, seen, &(seen - 1).to_string());
            }
            assert_eq!(sample.len(), 3);
            for id in sample {
                counts[id.parse::<usize>().unwrap()] += 1;
            }
        }
        // 600 each, within six standard deviations.
        assert!(counts.iter().all(|n| (480..720).contains(n)), "{counts:?}");
    }
}
