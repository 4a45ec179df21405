//! Filling another model's collection while the old one serves: every row again, with the vector
//! that the new model gives its content.
//!
//! A pass reads the keys of both collections in the order of ids and makes the new one equal to
//! the old one: rows that it does not have, or of another state, are written with all that the old
//! row says and a new vector; rows that the old one does not have any more are deleted. What an
//! earlier pass did, this one finds done, whoever made it: so a killed copy goes on where it was,
//! and each pass has only to do what changed during the one before.
//!
//! The old rows say what each file's content is. A file that holds something else by now, or can't
//! be read here, is left to those who follow the folders: the audit after the change sees to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_chassis::Backoff;
use lookalike_index::{
    Error as IndexError, Index, IndexRow, IndexedImage, ReadConsistency, RowFilter, RowKey,
    RowReader,
};
use lookalike_proto::LibraryName;
use lookalike_vision::{Engine, Limits};
use rand::Rng as _;

use super::content::{ContentEmbedder, VectorResult};
use crate::retry::backoff_or_fail;

/// Rows that are worked on together: their contents are looked up in one question.
const ROWS_PER_BATCH: usize = 256;

/// Contents that are read, decoded or embedded at once.
const MAX_CONCURRENT_CONTENTS: usize = 32;

/// How often Milvus is asked for the same thing when it is busy.
const MAX_TRIES: u32 = 8;

/// Files that are told one by one.
const MAX_SKIPPED_LISTED: usize = 20;

/// What a copy is made of.
pub struct CopyContext {
    /// The collection in service.
    pub old: Index,
    /// The one to be filled.
    pub new: Index,
    /// The new model.
    pub engine: Arc<Engine>,
    /// Limits of decoding.
    pub limits: Limits,
    /// Threads that may decode at once.
    pub decode_threads: usize,
    /// Where the libraries' files are, on this machine.
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    /// Limits of reading.
    pub settings: crate::Settings,
}

/// How far a pass is, and what it did.
#[derive(Debug, Clone, Default)]
pub struct CopyPass {
    /// Rows of the old collection that were looked at.
    pub rows: u64,
    /// Rows that were written.
    pub written: u64,
    /// Contents that went through the network for them.
    pub embedded: u64,
    /// Rows that were deleted, because the old collection has them no more.
    pub removed: u64,
    /// Rows whose file can't be read here, or holds something else by now.
    pub skipped: u64,
    /// Some of these: library, path, why.
    pub skipped_files: Vec<(String, String, String)>,
    /// Ids that both collections have, chosen evenly.
    pub sample: Vec<String>,
}

impl CopyPass {
    /// Rows that were not as they should be.
    pub fn changed_rows(&self) -> u64 {
        self.written + self.removed
    }
}

/// Why a pass could not be finished. What was written by then stays written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Milvus.
    #[error("the rows can't be copied now: {0}")]
    Index(#[from] IndexError),
    /// The network or its device.
    #[error("the new model can't be run: {0}")]
    Device(#[source] lookalike_vision::Error),
}

/// Copies.
pub struct CollectionCopy {
    old: Index,
    new: Index,
    engine: Arc<Engine>,
    contents: ContentEmbedder,
}

impl CollectionCopy {
    /// A copy that has not begun.
    pub fn new(context: CopyContext) -> Self {
        Self {
            old: context.old.clone(),
            new: context.new.clone(),
            engine: context.engine.clone(),
            contents: ContentEmbedder::new(context),
        }
    }

    /// One pass over all rows. `on_progress` hears how far it is, after every few rows; `sample` ids are
    /// chosen.
    ///
    /// # Errors
    /// Why it could not be finished.
    pub async fn run_pass(
        &self,
        sample: usize,
        on_progress: &(dyn Fn(&CopyPass) + Send + Sync),
    ) -> Result<CopyPass, Error> {
        // Nothing is written by a device that moves vectors.
        crate::golden::compare_golden_vector(&self.new, &self.engine).await?;
        let mut pass = CopyPass::default();
        let mut old = CollectionKeys::for_index(&self.old)?;
        let mut new = CollectionKeys::for_index(&self.new)?;
        let (mut differ, mut gone) = (Vec::new(), Vec::new());
        let mut both = 0_usize;
        loop {
            let (is, was) = (new.peek_key().await?, old.peek_key().await?);
            let Some(id) = [&is, &was].into_iter().flatten().map(|key| &key.id).min() else {
                break;
            };
            let id = id.clone();
            let is = is.filter(|key| key.id == id);
            let was = was.filter(|key| key.id == id);
            match &was {
                None => gone.push(id),
                Some(row) => {
                    pass.rows += 1;
                    if is.as_ref() != Some(row) {
                        differ.push(id);
                    } else if sample > 0 {
                        both += 1;
                        sample_id(&mut pass.sample, sample, both, &row.id);
                    }
                }
            }
            if is.is_some() {
                new.take_key();
            }
            if was.is_some() {
                old.take_key();
            }
            if differ.len() >= ROWS_PER_BATCH {
                self.write_rows(std::mem::take(&mut differ), &mut pass)
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
        self.write_rows(differ, &mut pass).await?;
        self.remove_rows(gone, &mut pass).await?;
        on_progress(&pass);
        Ok(pass)
    }

    /// Writes these images' rows with new vectors.
    async fn write_rows(&self, ids: Vec<String>, pass: &mut CopyPass) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let images =
            retry_until_ok(|| self.old.fetch_images(&ids, ReadConsistency::Strong)).await?;
        let (here, away): (Vec<IndexedImage>, Vec<IndexedImage>) = images
            .into_iter()
            .partition(|image| self.contents.has_library(&image.library));
        for image in &away {
            let why = "its library's folder is not on this machine".to_owned();
            record_skipped(pass, image, why);
        }
        let mut by_content: HashMap<String, Vec<IndexedImage>> = HashMap::new();
        for image in here {
            let copies = by_content.entry(image.content_hash.clone()).or_default();
            copies.push(image);
        }
        let hashes: Vec<String> = by_content.keys().cloned().collect();
        let known = retry_until_ok(|| self.new.find_rows_by_content(&hashes)).await?;
        let known = |hash: &str| known.get(hash).map(|row| row.vector.clone());
        let work: Vec<_> = by_content
            .into_iter()
            .map(|(hash, images)| {
                let vector = known(&hash);
                async move {
                    let found = self.contents.find_or_embed(&hash, vector, &images).await;
                    (images, found)
                }
            })
            .collect();
        let mut work = futures_util::stream::iter(work).buffer_unordered(MAX_CONCURRENT_CONTENTS);
        let mut rows = Vec::new();
        while let Some((images, found)) = work.next().await {
            let (vector, is_new) = match found {
                VectorResult::Vector(vector, is_new) => (vector, is_new),
                VectorResult::Unavailable(why) => {
                    for image in &images {
                        record_skipped(pass, image, why.clone());
                    }
                    continue;
                }
                VectorResult::DeviceFailed(error) => return Err(Error::Device(error)),
            };
            pass.embedded += u64::from(is_new);
            rows.extend(images.into_iter().map(|image| IndexRow {
                image,
                vector: vector.clone(),
            }));
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

fn record_skipped(pass: &mut CopyPass, image: &IndexedImage, why: String) {
    pass.skipped += 1;
    if pass.skipped_files.len() < MAX_SKIPPED_LISTED {
        let (library, path) = (image.library.clone(), image.path.clone());
        pass.skipped_files.push((library, path, why));
    }
}

/// Keeps an even choice of what came by, this being number `seen`.
fn sample_id(sample: &mut Vec<String>, most: usize, seen: usize, id: &str) {
    if sample.len() < most {
        sample.push(id.to_owned());
    } else {
        let place = rand::thread_rng().gen_range(0..seen);
        if let Some(place) = sample.get_mut(place) {
            id.clone_into(place);
        }
    }
}

/// The keys of a collection by id, each id once.
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

    /// The next one; of an id that has several rows the newest.
    async fn peek_key(&mut self) -> Result<Option<RowKey>, Error> {
        if self.page.is_empty() && !self.ended {
            let mut backoff = new_backoff();
            let mut page = loop {
                match self.reader.next_page().await {
                    Ok(page) => break page,
                    Err(error) => backoff_or_fail(error, &mut backoff, MAX_TRIES).await?,
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

fn new_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
}

/// Tries until it goes well, or will not.
async fn retry_until_ok<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, IndexError>>,
{
    let mut backoff = new_backoff();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => backoff_or_fail(error, &mut backoff, MAX_TRIES).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_even() {
        let mut chosen = [0_u32; 10];
        for _ in 0..2000 {
            let mut sample = Vec::new();
            for seen in 1..=10 {
                sample_id(&mut sample, 3, seen, &(seen - 1).to_string());
            }
            assert_eq!(sample.len(), 3);
            for id in sample {
                chosen[id.parse::<usize>().unwrap()] += 1;
            }
        }
        // 600 each, give or take six deviations.
        assert!(chosen.iter().all(|n| (480..720).contains(n)), "{chosen:?}");
    }
}
