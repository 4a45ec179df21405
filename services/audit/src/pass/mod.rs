//! One pass over all catalogs and all rows, with a second look at what seems to differ.
//!
//! In memory are a page of each catalog, a page of rows, and ids of suspects up to a limit.

mod repair;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use lookalike_bus::{CatalogImage, MAX_REQUEST_IDS};
use lookalike_chassis::Backoff;
use lookalike_index::{RowFilter, RowKey, RowReader};
use lookalike_proto::LibraryName;

use repair::FoundDifference;

use super::catalogs::{CatalogEntries, CatalogReader};
use super::judge::{DifferenceKind, Verdict, compare_entry};
use super::report::{AuditReport, LibraryReport};
use super::{AuditOptions, AuditStage, Auditor, Error, MAX_ATTEMPTS, WatchedLibrary, deep};
use crate::patience::backoff_or_fail;

/// Ids of rows that are counted at once, to see whether there are more rows than ids.
const COUNT_BATCH_IDS: usize = 8192;

/// Files that are handed to the hashing threads at once.
const HASH_BATCH_FILES: usize = 64;

pub(super) struct AuditPass<'a> {
    auditor: &'a Auditor,
    options: &'a AuditOptions,
    catalogs: Vec<CatalogReader>,
    /// Those of libraries that are not meant, but are asked before an image counts as unknown.
    other_catalogs: Vec<CatalogReader>,
    /// Where the files of each library are, for a deep audit; `None` where they are not here.
    roots: Vec<Option<PathBuf>>,
    reader: RowReader,
    page: VecDeque<RowKey>,
    rows_exhausted: bool,
    /// Ids that were read and are yet to be counted, in their order.
    uncounted: Vec<String>,
    /// Files that are yet to be hashed, with the image's id and the number of the catalog.
    unhashed: Vec<(String, usize, deep::FileToHash)>,
    suspects: Vec<String>,
    /// Suspects whose bytes differ.
    other_content: HashSet<String>,
    report: AuditReport,
    compared: u64,
}

impl<'a> AuditPass<'a> {
    pub(super) fn new(
        auditor: &'a Auditor,
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
                .then(|| format!("{} is no folder on this machine", root.display()));
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
            auditor,
            options,
            reader: auditor
                .index
                .row_reader(&filter, auditor.settings.page_rows)?,
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

    /// Goes on without a library that was meant.
    pub(super) fn exclude_library(&mut self, library: &LibraryName, why: Error) {
        let mut catalogs = self.catalogs.iter_mut();
        if let Some(catalog) = catalogs.find(|catalog| catalog.library == *library) {
            catalog.mark_unreachable(why);
        }
    }

    /// The pass. A library whose watcher does not answer is left out of the rest of it, and told in
    /// the report.
    pub(super) async fn run(
        mut self,
        tell: &(dyn Fn(AuditStage) + Send + Sync),
    ) -> Result<AuditReport, Error> {
        let on_disk = |catalog: &CatalogReader| catalog.status.counts.on_disk;
        let expected_images: u64 = self.catalogs.iter().map(on_disk).sum();
        loop {
            for catalog in &mut self.catalogs {
                catalog.fetch_page(self.auditor).await;
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
                tell(AuditStage::Comparing(
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
            if self.suspects.len() >= self.auditor.settings.max_suspects.max(1) {
                self.recheck_suspects().await?;
            }
        }
        self.find_duplicates().await?;
        self.hash_files().await;
        self.recheck_suspects().await?;
        tell(AuditStage::Comparing(self.compared, self.compared));
        self.into_report()
    }

    /// The report; an error where no library was compared to its end.
    fn into_report(mut self) -> Result<AuditReport, Error> {
        let mut compared = false;
        let mut first_error = None;
        for catalog in std::mem::take(&mut self.catalogs) {
            let Some(why) = catalog.unreachable else {
                compared = true;
                continue;
            };
            if let Some(library) = self.report.libraries.get_mut(catalog.library.as_str()) {
                library.not_compared = Some(why.to_string());
            }
            first_error.get_or_insert(why);
        }
        match first_error {
            Some(why) if !compared => Err(why),
            _ => Ok(self.report),
        }
    }

    /// Whether a row is of a library that was meant and does not answer: the image may be there.
    fn is_of_unreachable_library(&self, row: &RowKey) -> bool {
        let mut catalogs = self.catalogs.iter();
        catalogs
            .any(|catalog| catalog.unreachable.is_some() && catalog.library.as_str() == row.library)
    }

    /// The next page of rows: asked for again, where the server is busy, so that an audit of many
    /// rows need not begin anew.
    async fn next_rows(&mut self) -> Result<Vec<RowKey>, Error> {
        let mut backoff = index_backoff();
        loop {
            match self.reader.next_page().await {
                Ok(page) => return Ok(page),
                Err(error) => backoff_or_fail(error, &mut backoff, MAX_ATTEMPTS).await?,
            }
        }
    }

    /// The image of the lowest id that is left on either side.
    fn next_image(&mut self) -> Option<AuditedImage> {
        let heads = self.catalogs.iter().filter_map(CatalogReader::next_id);
        let id = heads
            .chain(self.page.front().map(|row| row.id.as_str()))
            .min()?
            .to_owned();
        let catalogs = self.catalogs.iter_mut().enumerate();
        let known = catalogs
            .filter_map(|(number, catalog)| Some((number, catalog.take_image(&id)?)))
            .collect();
        let mut rows = Vec::new();
        while let Some(row) = self.page.pop_front_if(|row| row.id == id) {
            rows.push(row);
        }
        Some(AuditedImage { id, known, rows })
    }

    /// The first look at an image.
    fn compare_image(&mut self, AuditedImage { id, known, rows }: AuditedImage) {
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
        for (number, image) in &known {
            self.library_report(*number).catalogued += 1;
            if let (Some(root), "indexed", false, Some(hash)) = (
                &self.roots[*number],
                image.state.as_str(),
                image.busy,
                &image.content_hash,
            ) {
                let file = deep::FileToHash {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                };
                self.unhashed.push((id.clone(), *number, file));
            }
        }
        let verdict = if rows.iter().any(|row| self.is_of_unreachable_library(row)) {
            Verdict::NotCovered
        } else {
            self.compare_sides(&known, &rows, false)
        };
        match verdict {
            Verdict::Equal | Verdict::NotCovered => {}
            Verdict::InFlight if known.len() == 1 => self.library_report(known[0].0).in_flight += 1,
            Verdict::InFlight | Verdict::Differs(..) => self.suspects.push(id),
        }
    }

    fn compare_sides(
        &self,
        known: &[(usize, CatalogImage)],
        rows: &[RowKey],
        doubled: bool,
    ) -> Verdict {
        let known: Vec<(&str, &CatalogImage)> = known
            .iter()
            .map(|(number, image)| (self.catalogs[*number].library.as_str(), image))
            .collect();
        compare_entry(&known, rows, doubled, |library| {
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

    /// Whether there are more rows than ids among those that were read.
    async fn find_duplicates(&mut self) -> Result<(), Error> {
        let ids = std::mem::take(&mut self.uncounted);
        let mut backoff = index_backoff();
        loop {
            match self.auditor.index.find_duplicate_ids(&ids).await {
                Ok(doubled) => {
                    self.suspects.extend(doubled);
                    return Ok(());
                }
                Err(error) => backoff_or_fail(error, &mut backoff, MAX_ATTEMPTS).await?,
            }
        }
    }

    async fn hash_files(&mut self) {
        let mut asked = Vec::new();
        let mut files = Vec::new();
        for (id, number, file) in std::mem::take(&mut self.unhashed) {
            self.library_report(number).hashed += 1;
            asked.push(id);
            files.push(file);
        }
        let found = deep::hash_differences(files, self.auditor.settings.max_deep_files).await;
        for (id, _) in asked
            .into_iter()
            .zip(found)
            .filter(|(_, differs)| differs.is_some())
        {
            self.other_content.insert(id.clone());
            self.suspects.push(id);
        }
    }

    /// Looks at the suspects again, counts what still differs, and repairs it.
    async fn recheck_suspects(&mut self) -> Result<(), Error> {
        let mut suspects = std::mem::take(&mut self.suspects);
        if suspects.is_empty() {
            return Ok(());
        }
        suspects.sort_unstable();
        suspects.dedup();
        // Whatever was half done at the first look has had this time to be finished.
        tokio::time::sleep(self.auditor.settings.recheck_delay).await;
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

    /// Catalog, rows, catalog: where the catalog says the same twice, it said so when the rows
    /// were read, too.
    async fn recheck_chunk(&mut self, ids: &[String]) -> Result<Vec<FoundDifference>, Error> {
        let auditor = self.auditor;
        let mut before = auditor.fetch_entries(&mut self.catalogs, ids).await;
        let mut rows: HashMap<String, Vec<RowKey>> = HashMap::new();
        for row in auditor.index.fetch_keys(ids).await? {
            rows.entry(row.id.clone()).or_default().push(row);
        }
        let mut row_ids: Vec<String> = rows.keys().cloned().collect();
        row_ids.sort_unstable();
        let duplicates: HashSet<String> = auditor
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
        let others = auditor
            .fetch_entries(&mut self.other_catalogs, &unknown)
            .await;
        let after = auditor.fetch_entries(&mut self.catalogs, ids).await;
        let mut differences = Vec::new();
        for id in ids {
            let known = before.remove(id).unwrap_or_default();
            let rows = rows.remove(id).unwrap_or_default();
            if others.contains_key(id) {
                // Of a library that is not meant: its own audit tells.
                continue;
            }
            let is_unchanged = after
                .get(id)
                .map_or(known.is_empty(), |after| *after == known);
            let verdict = if rows.iter().any(|row| self.is_of_unreachable_library(row)) {
                Verdict::NotCovered
            } else if is_unchanged {
                self.compare_sides(&known, &rows, duplicates.contains(id))
            } else {
                Verdict::InFlight
            };
            let (kind, detail) = match (verdict, other_content.get(id)) {
                (Verdict::Differs(kind, detail), _) => (kind, detail),
                (Verdict::Equal, Some(detail)) => (DifferenceKind::OtherContent, detail.clone()),
                (Verdict::InFlight, _) => {
                    if let Some((number, _)) = known.first() {
                        self.library_report(*number).in_flight += 1;
                    }
                    continue;
                }
                (Verdict::Equal | Verdict::NotCovered, _) => continue,
            };
            differences.extend(FoundDifference::new(
                &self.catalogs,
                kind,
                detail,
                id,
                &known,
                &rows,
            ));
        }
        Ok(differences)
    }

    /// Whose bytes differ again, and how.
    async fn rehash_files(&self, known: &CatalogEntries) -> HashMap<String, String> {
        let mut asked = Vec::new();
        let mut files = Vec::new();
        for id in &self.other_content {
            if let Some([(number, image)]) = known.get(id).map(Vec::as_slice)
                && let (Some(root), Some(hash)) = (&self.roots[*number], &image.content_hash)
            {
                asked.push(id.clone());
                files.push(deep::FileToHash {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                });
            }
        }
        let found = deep::hash_differences(files, self.auditor.settings.max_deep_files).await;
        let pairs = asked.into_iter().zip(found);
        pairs
            .filter_map(|(id, detail)| Some((id, detail?)))
            .collect()
    }

    fn record_difference(&mut self, found: &FoundDifference) {
        let kind = found.difference.kind;
        let so_far = self.report.differences.iter();
        let recorded = so_far.filter(|difference| difference.kind == kind).count();
        if recorded < self.auditor.settings.max_examples {
            self.report.differences.push(found.difference.clone());
        }
        if let Some(library) = self.report.libraries.get_mut(&found.difference.library) {
            *library.differences.entry(kind).or_default() += 1;
        }
    }
}

fn index_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(10))
}

/// One image, on both sides.
struct AuditedImage {
    id: String,
    /// In which catalogs (one, or none; two while it moves), and how.
    known: Vec<(usize, CatalogImage)>,
    rows: Vec<RowKey>,
}
