//! One pass over all catalogs and all rows; images that seem to differ are read again.
//!
//! Memory holds one page of each catalog, one page of rows, and the ids of suspects up to
//! `audit.max_suspects`.

mod found;
mod repair;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use lookalike_bus::{CatalogImage, MAX_REQUEST_IDS};
use lookalike_chassis::Retry;
use lookalike_index::{Error as IndexError, RowFilter, RowKey, RowReader};
use lookalike_proto::LibraryName;

use crate::catalogs::{CatalogEntries, CatalogReader, fetch_entries};
use crate::compare::{DifferenceKind, Verdict, compare_entry};
use crate::context::{AuditContext, AuditOptions, AuditStage};
use crate::error::Error;
use crate::hashing::{FileToHash, hash_differences};
use crate::report::{AuditReport, LibraryReport};
use crate::watcher_client::WatchedLibrary;
use found::FoundDifference;

/// Ids counted in one request to find out whether they have more rows than ids.
const COUNT_BATCH_IDS: usize = 8192;

/// Files passed to the hashing threads in one batch.
const HASH_BATCH_FILES: usize = 64;

/// Attempts of a read that Milvus is too busy to answer.
const MAX_ATTEMPTS: u32 = 5;
const FIRST_RETRY_WAIT: Duration = Duration::from_millis(500);
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);

/// State of one pass.
pub(crate) struct AuditPass<'a> {
    context: &'a AuditContext,
    options: &'a AuditOptions,
    catalogs: Vec<CatalogReader>,
    /// Catalogs outside the scope of this audit. They are read before an image counts as unknown.
    other_catalogs: Vec<CatalogReader>,
    /// Root folder of each library for a deep audit; `None` if this machine cannot read it.
    roots: Vec<Option<PathBuf>>,
    reader: RowReader,
    page: VecDeque<RowKey>,
    rows_exhausted: bool,
    /// Ids that were read and not counted yet, in their order.
    uncounted: Vec<String>,
    /// Files to hash, with the image's id and the position of its catalog.
    unhashed: Vec<(String, usize, FileToHash)>,
    suspects: Vec<String>,
    /// Suspects whose content hash differs.
    other_content: HashSet<String>,
    report: AuditReport,
    compared: u64,
}

impl<'a> AuditPass<'a> {
    pub(crate) fn new(
        context: &'a AuditContext,
        options: &'a AuditOptions,
        libraries: Vec<WatchedLibrary>,
        others: Vec<WatchedLibrary>,
    ) -> Result<Self, Error> {
        let mut report = AuditReport::default();
        let mut roots = Vec::new();
        for (library, status) in &libraries {
            let root = PathBuf::from(&status.root);
            let here = options.deep && root.is_dir();
            let not_hashed = (options.deep && !here)
                .then(|| format!("{} is not a folder on this machine", root.display()));
            let library_report = LibraryReport {
                not_hashed,
                ..LibraryReport::default()
            };
            report.libraries.insert(library.to_string(), library_report);
            roots.push(here.then_some(root));
        }
        let filter = if options.libraries.is_empty() {
            RowFilter::All
        } else {
            RowFilter::Library(
                options
                    .libraries
                    .iter()
                    .map(LibraryName::to_string)
                    .collect(),
            )
        };
        Ok(Self {
            context,
            options,
            reader: context
                .index
                .row_reader(&filter, context.settings.page_rows)?,
            catalogs: libraries.into_iter().map(CatalogReader::new).collect(),
            other_catalogs: others.into_iter().map(CatalogReader::new).collect(),
            roots,
            page: VecDeque::new(),
            rows_exhausted: false,
            uncounted: Vec::new(),
            unhashed: Vec::new(),
            suspects: Vec::new(),
            other_content: HashSet::new(),
            report,
            compared: 0,
        })
    }

    /// Continues without a selected library.
    pub(crate) fn exclude_library(&mut self, library: &LibraryName, error: Error) {
        let mut catalogs = self.catalogs.iter_mut();
        if let Some(catalog) = catalogs.find(|catalog| catalog.library == *library) {
            catalog.mark_unreachable(error);
        }
    }

    /// Runs the pass. A library whose watcher becomes unreachable is skipped from then on and
    /// reported.
    pub(crate) async fn run(
        mut self,
        on_stage: &(dyn Fn(AuditStage) + Send + Sync),
    ) -> Result<AuditReport, Error> {
        let on_disk = |catalog: &CatalogReader| catalog.status.counts.on_disk;
        let expected_images: u64 = self.catalogs.iter().map(on_disk).sum();
        loop {
            for catalog in &mut self.catalogs {
                catalog
                    .fetch_page(&self.context.watchers, self.context.settings.page_images)
                    .await;
            }
            if self
                .catalogs
                .iter()
                .all(|catalog| catalog.unreachable.is_some())
            {
                return self.into_report();
            }
            if self.page.is_empty() && !self.rows_exhausted {
                self.page = self.next_rows().await?.into();
                self.rows_exhausted = self.page.is_empty();
                on_stage(AuditStage::Comparing(
                    self.compared,
                    expected_images.max(self.compared),
                ));
            }
            let Some(image) = self.next_image() else {
                break;
            };
            self.compare_image(image);
            if self.uncounted.len() >= COUNT_BATCH_IDS {
                self.find_duplicates().await?;
            }
            if self.unhashed.len() >= HASH_BATCH_FILES {
                self.hash_files().await;
            }
            if self.suspects.len() >= self.context.settings.max_suspects.max(1) {
                self.recheck_suspects().await?;
            }
        }
        self.find_duplicates().await?;
        self.hash_files().await;
        self.recheck_suspects().await?;
        on_stage(AuditStage::Comparing(self.compared, self.compared));
        self.into_report()
    }

    /// Returns the report, or an error if no library was compared completely.
    fn into_report(mut self) -> Result<AuditReport, Error> {
        let mut compared = false;
        let mut first_error = None;
        for catalog in std::mem::take(&mut self.catalogs) {
            let Some(error) = catalog.unreachable else {
                compared = true;
                continue;
            };
            if let Some(library) = self.report.libraries.get_mut(catalog.library.as_str()) {
                library.not_compared = Some(error.to_string());
            }
            first_error.get_or_insert(error);
        }
        match first_error {
            Some(error) if !compared => Err(error),
            _ => Ok(self.report),
        }
    }

    /// Returns whether the row belongs to a selected library whose watcher is unreachable; its
    /// catalog may contain the image.
    fn is_of_unreachable_library(&self, row: &RowKey) -> bool {
        let mut catalogs = self.catalogs.iter();
        catalogs
            .any(|catalog| catalog.unreachable.is_some() && catalog.library.as_str() == row.library)
    }

    /// Reads the next page of rows. Repeats the read while Milvus is busy, so that an audit of many
    /// rows need not start over.
    async fn next_rows(&mut self) -> Result<Vec<RowKey>, Error> {
        let mut retry = retry_while_busy();
        loop {
            match self.reader.next_page().await {
                Ok(page) => return Ok(page),
                Err(error) if is_transient(&error) => retry.wait_after(error).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the image with the lowest remaining id from both sides.
    fn next_image(&mut self) -> Option<AuditedImage> {
        let heads = self.catalogs.iter().filter_map(CatalogReader::next_id);
        let id = heads
            .chain(self.page.front().map(|row| row.id.as_str()))
            .min()?
            .to_owned();
        let catalogs = self.catalogs.iter_mut().enumerate();
        let entries = catalogs
            .filter_map(|(number, catalog)| Some((number, catalog.take_image(&id)?)))
            .collect();
        let mut rows = Vec::new();
        while let Some(row) = self.page.pop_front_if(|row| row.id == id) {
            rows.push(row);
        }
        Some(AuditedImage { id, entries, rows })
    }

    /// Compares an image for the first time. A mismatch makes it a suspect.
    fn compare_image(&mut self, AuditedImage { id, entries, rows }: AuditedImage) {
        self.compared += 1;
        for row in &rows {
            match self.report.libraries.get_mut(&row.library) {
                Some(library) => library.rows += 1,
                None => self.report.add_unwatched_row(&row.library),
            }
        }
        if !rows.is_empty() && self.uncounted.last() != Some(&id) {
            self.uncounted.push(id.clone());
        }
        for (number, image) in &entries {
            self.library_report(*number).catalogued += 1;
            if let (Some(root), "indexed", false, Some(hash)) = (
                &self.roots[*number],
                image.state.as_str(),
                image.busy,
                &image.content_hash,
            ) {
                let file = FileToHash {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                };
                self.unhashed.push((id.clone(), *number, file));
            }
        }
        let verdict = if rows.iter().any(|row| self.is_of_unreachable_library(row)) {
            Verdict::OutOfScope
        } else {
            self.compare_sides(&entries, &rows, false)
        };
        match verdict {
            Verdict::Equal | Verdict::OutOfScope => {}
            Verdict::InFlight if entries.len() == 1 => {
                self.library_report(entries[0].0).in_flight += 1
            }
            Verdict::InFlight | Verdict::Differs(..) => self.suspects.push(id),
        }
    }

    fn compare_sides(
        &self,
        entries: &[(usize, CatalogImage)],
        rows: &[RowKey],
        has_duplicates: bool,
    ) -> Verdict {
        let entries: Vec<(&str, &CatalogImage)> = entries
            .iter()
            .map(|(number, image)| (self.catalogs[*number].library.as_str(), image))
            .collect();
        compare_entry(&entries, rows, has_duplicates, |library| {
            self.report.libraries.contains_key(library)
        })
    }

    fn library_report(&mut self, number: usize) -> &mut LibraryReport {
        let name = self.catalogs[number].library.as_str();
        self.report
            .libraries
            .get_mut(name)
            .expect("every library that is compared is in the report from the start")
    }

    /// Finds ids with several rows among those that were read, and makes them suspects.
    async fn find_duplicates(&mut self) -> Result<(), Error> {
        let ids = std::mem::take(&mut self.uncounted);
        let index = &self.context.index;
        let duplicates = retry_while_busy().run(|| index.find_duplicate_ids(&ids), is_transient);
        self.suspects.extend(duplicates.await?);
        Ok(())
    }

    async fn hash_files(&mut self) {
        let mut ids = Vec::new();
        let mut files = Vec::new();
        for (id, number, file) in std::mem::take(&mut self.unhashed) {
            self.library_report(number).hashed += 1;
            ids.push(id);
            files.push(file);
        }
        let results = hash_differences(files, self.context.settings.max_concurrent_hashes).await;
        for (id, _) in ids
            .into_iter()
            .zip(results)
            .filter(|(_, differs)| differs.is_some())
        {
            self.other_content.insert(id.clone());
            self.suspects.push(id);
        }
    }

    /// Reads the suspects again, and counts and repairs those that still differ.
    async fn recheck_suspects(&mut self) -> Result<(), Error> {
        let mut suspects = std::mem::take(&mut self.suspects);
        if suspects.is_empty() {
            return Ok(());
        }
        suspects.sort_unstable();
        suspects.dedup();
        // Changes in progress during the first comparison get this time to finish.
        tokio::time::sleep(self.context.settings.recheck_delay).await;
        for ids in suspects.chunks(MAX_REQUEST_IDS) {
            let differences = self.recheck_chunk(ids).await?;
            for difference in &differences {
                self.record_difference(difference);
            }
            if self.options.repair {
                self.repair_differences(&differences).await?;
            }
        }
        self.other_content.clear();
        Ok(())
    }

    /// Reads catalog, rows, catalog. If both catalog reads agree, the catalog had the same content
    /// while the rows were read.
    async fn recheck_chunk(&mut self, ids: &[String]) -> Result<Vec<FoundDifference>, Error> {
        let context = self.context;
        let watchers = &context.watchers;
        let mut before = fetch_entries(watchers, &mut self.catalogs, ids).await;
        let mut rows: HashMap<String, Vec<RowKey>> = HashMap::new();
        for row in context.index.fetch_keys(ids).await? {
            rows.entry(row.id.clone()).or_default().push(row);
        }
        let mut row_ids: Vec<String> = rows.keys().cloned().collect();
        row_ids.sort_unstable();
        let duplicates: HashSet<String> = context
            .index
            .find_duplicate_ids(&row_ids)
            .await?
            .into_iter()
            .collect();
        let other_content = self.rehash_files(&before).await;
        let unknown: Vec<String> = ids
            .iter()
            .filter(|id| !before.contains_key(*id))
            .cloned()
            .collect();
        let others = fetch_entries(watchers, &mut self.other_catalogs, &unknown).await;
        let after = fetch_entries(watchers, &mut self.catalogs, ids).await;
        let mut differences = Vec::new();
        for id in ids {
            let entries = before.remove(id).unwrap_or_default();
            let rows = rows.remove(id).unwrap_or_default();
            if others.contains_key(id) {
                // It belongs to a library outside the scope; that library's audit reports it.
                continue;
            }
            let is_unchanged = after
                .get(id)
                .map_or(entries.is_empty(), |after| *after == entries);
            let verdict = if rows.iter().any(|row| self.is_of_unreachable_library(row)) {
                Verdict::OutOfScope
            } else if is_unchanged {
                self.compare_sides(&entries, &rows, duplicates.contains(id))
            } else {
                Verdict::InFlight
            };
            let (kind, detail) = match (verdict, other_content.get(id)) {
                (Verdict::Differs(kind, detail), _) => (kind, detail),
                (Verdict::Equal, Some(detail)) => (DifferenceKind::OtherContent, detail.clone()),
                (Verdict::InFlight, _) => {
                    if let Some((number, _)) = entries.first() {
                        self.library_report(*number).in_flight += 1;
                    }
                    continue;
                }
                (Verdict::Equal | Verdict::OutOfScope, _) => continue,
            };
            differences.extend(FoundDifference::new(
                &self.catalogs,
                kind,
                detail,
                id,
                &entries,
                &rows,
            ));
        }
        Ok(differences)
    }

    /// Hashes suspect files again. Returns a description for each one that still differs.
    async fn rehash_files(&self, entries: &CatalogEntries) -> HashMap<String, String> {
        let mut ids = Vec::new();
        let mut files = Vec::new();
        for id in &self.other_content {
            if let Some([(number, image)]) = entries.get(id).map(Vec::as_slice)
                && let (Some(root), Some(hash)) = (&self.roots[*number], &image.content_hash)
            {
                ids.push(id.clone());
                files.push(FileToHash {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                });
            }
        }
        let results = hash_differences(files, self.context.settings.max_concurrent_hashes).await;
        let pairs = ids.into_iter().zip(results);
        pairs
            .filter_map(|(id, detail)| Some((id, detail?)))
            .collect()
    }

    fn record_difference(&mut self, found: &FoundDifference) {
        let kind = found.difference.kind;
        let so_far = self.report.differences.iter();
        let recorded = so_far.filter(|difference| difference.kind == kind).count();
        if recorded < self.context.settings.max_examples {
            self.report.differences.push(found.difference.clone());
        }
        if let Some(library) = self.report.libraries.get_mut(&found.difference.library) {
            *library.differences.entry(kind).or_default() += 1;
        }
    }
}

fn retry_while_busy() -> Retry {
    Retry::new(FIRST_RETRY_WAIT, MAX_RETRY_WAIT).with_max_attempts(MAX_ATTEMPTS)
}

/// Returns whether Milvus may answer the same request later. A missing collection stays missing.
fn is_transient(error: &IndexError) -> bool {
    let is_transient = error.is_transient();
    if is_transient {
        tracing::debug!(%error, "the index is busy, retrying");
    }
    is_transient
}

/// One image on both sides.
struct AuditedImage {
    id: String,
    /// Its catalog entries: usually one, none, or two while it moves to another library.
    entries: Vec<(usize, CatalogImage)>,
    rows: Vec<RowKey>,
}
