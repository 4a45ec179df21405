//! One pass over all catalogs and all rows, with a second look at what seems to differ.
//!
//! In memory are a page of each catalog, a page of rows, and ids of suspects up to a limit.

mod repair;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use lookalike_bus::{KnownImage, MOST_IDS};
use lookalike_chassis::Backoff;
use lookalike_index::{Filter, RowKey, RowReader};
use lookalike_proto::Library;

use repair::Found;

use super::catalogs::{Catalog, Known};
use super::judge::{Kind, Verdict, judge};
use super::report::{LibraryReport, Report};
use super::{Auditor, Error, Options, Stage, TRIES, Watched, deep};
use crate::patience::put_up_with;

/// Ids of rows that are counted at once, to see whether there are more rows than ids.
const IDS_COUNTED_AT_ONCE: usize = 8192;

/// Files that are handed to the hashing threads at once.
const FILES_HASHED_AT_ONCE: usize = 64;

pub(super) struct Pass<'a> {
    auditor: &'a Auditor,
    options: &'a Options,
    catalogs: Vec<Catalog>,
    /// Those of libraries that are not meant, but are asked before an image counts as unknown.
    others: Vec<Catalog>,
    /// Where the files of each library are, for a deep audit; `None` where they are not here.
    roots: Vec<Option<PathBuf>>,
    reader: RowReader,
    page: VecDeque<RowKey>,
    rows_end: bool,
    /// Ids that were read and are yet to be counted, in their order.
    uncounted: Vec<String>,
    /// Files that are yet to be hashed, with the image's id and the number of the catalog.
    unhashed: Vec<(String, usize, deep::File)>,
    suspects: Vec<String>,
    /// Suspects whose bytes differ.
    other_content: HashSet<String>,
    report: Report,
    compared: u64,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        auditor: &'a Auditor,
        options: &'a Options,
        libraries: Vec<Watched>,
        others: Vec<Watched>,
    ) -> Result<Self, Error> {
        let mut report = Report::default();
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
            Filter::All
        } else {
            Filter::Library(options.libraries.iter().map(Library::to_string).collect())
        };
        Ok(Self {
            auditor,
            options,
            reader: auditor
                .index
                .row_reader(&filter, auditor.settings.page_rows)?,
            catalogs: libraries.into_iter().map(Catalog::new).collect(),
            others: others.into_iter().map(Catalog::new).collect(),
            roots,
            page: VecDeque::new(),
            rows_end: false,
            uncounted: Vec::new(),
            unhashed: Vec::new(),
            suspects: Vec::new(),
            other_content: HashSet::new(),
            report,
            compared: 0,
        })
    }

    /// Goes on without a library that was meant.
    pub(super) fn leave_out(&mut self, library: &Library, why: Error) {
        let mut catalogs = self.catalogs.iter_mut();
        if let Some(catalog) = catalogs.find(|catalog| catalog.library == *library) {
            catalog.fall_silent(why);
        }
    }

    /// The pass. A library whose watcher does not answer is left out of the rest of it, and told in
    /// the report.
    pub(super) async fn run(
        mut self,
        tell: &(dyn Fn(Stage) + Send + Sync),
    ) -> Result<Report, Error> {
        let on_disk = |catalog: &Catalog| catalog.status.counts.on_disk;
        let about: u64 = self.catalogs.iter().map(on_disk).sum();
        loop {
            for catalog in &mut self.catalogs {
                catalog.fill(self.auditor).await;
            }
            if self.catalogs.iter().all(|catalog| catalog.silent.is_some()) {
                return self.end();
            }
            if self.page.is_empty() && !self.rows_end {
                self.page = self.next_page().await?.into();
                self.rows_end = self.page.is_empty();
                tell(Stage::Comparing(self.compared, about.max(self.compared)));
            }
            let Some(image) = self.next_image() else {
                break;
            };
            self.compare(image);
            if self.uncounted.len() >= IDS_COUNTED_AT_ONCE {
                self.count().await?;
            }
            if self.unhashed.len() >= FILES_HASHED_AT_ONCE {
                self.hash().await;
            }
            if self.suspects.len() >= self.auditor.settings.max_suspects.max(1) {
                self.look_again().await?;
            }
        }
        self.count().await?;
        self.hash().await;
        self.look_again().await?;
        tell(Stage::Comparing(self.compared, self.compared));
        self.end()
    }

    /// The report; an error where no library was compared to its end.
    fn end(mut self) -> Result<Report, Error> {
        let mut compared = false;
        let mut first = None;
        for catalog in std::mem::take(&mut self.catalogs) {
            let Some(why) = catalog.silent else {
                compared = true;
                continue;
            };
            if let Some(library) = self.report.libraries.get_mut(catalog.library.as_str()) {
                library.not_compared = Some(why.to_string());
            }
            first.get_or_insert(why);
        }
        match first {
            Some(why) if !compared => Err(why),
            _ => Ok(self.report),
        }
    }

    /// Whether a row is of a library that was meant and does not answer: the image may be there.
    fn is_silent(&self, row: &RowKey) -> bool {
        let mut catalogs = self.catalogs.iter();
        catalogs.any(|catalog| catalog.silent.is_some() && catalog.library.as_str() == row.library)
    }

    /// The next page of rows: asked for again, where the server is busy, so that an audit of many
    /// rows need not begin anew.
    async fn next_page(&mut self) -> Result<Vec<RowKey>, Error> {
        let mut backoff = patience();
        loop {
            match self.reader.next().await {
                Ok(page) => return Ok(page),
                Err(error) => put_up_with(error, &mut backoff, TRIES).await?,
            }
        }
    }

    /// The image of the lowest id that is left on either side.
    fn next_image(&mut self) -> Option<Image> {
        let heads = self.catalogs.iter().filter_map(Catalog::next_id);
        let id = heads
            .chain(self.page.front().map(|row| row.id.as_str()))
            .min()?
            .to_owned();
        let catalogs = self.catalogs.iter_mut().enumerate();
        let known = catalogs
            .filter_map(|(number, catalog)| Some((number, catalog.take(&id)?)))
            .collect();
        let mut rows = Vec::new();
        while let Some(row) = self.page.pop_front_if(|row| row.id == id) {
            rows.push(row);
        }
        Some(Image { id, known, rows })
    }

    /// The first look at an image.
    fn compare(&mut self, Image { id, known, rows }: Image) {
        self.compared += 1;
        for row in &rows {
            match self.report.libraries.get_mut(&row.library) {
                Some(library) => library.rows += 1,
                None => self.report.note_unwatched(&row.library),
            }
        }
        if !rows.is_empty() && self.uncounted.last() != Some(&id) {
            self.uncounted.push(id.clone());
        }
        for (number, image) in &known {
            self.library(*number).known += 1;
            if let (Some(root), "indexed", false, Some(hash)) = (
                &self.roots[*number],
                image.state.as_str(),
                image.busy,
                &image.content_hash,
            ) {
                let file = deep::File {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                };
                self.unhashed.push((id.clone(), *number, file));
            }
        }
        let verdict = if rows.iter().any(|row| self.is_silent(row)) {
            Verdict::Elsewhere
        } else {
            self.judge(&known, &rows, false)
        };
        match verdict {
            Verdict::Equal | Verdict::Elsewhere => {}
            Verdict::Busy if known.len() == 1 => self.library(known[0].0).in_flight += 1,
            Verdict::Busy | Verdict::Differs(..) => self.suspects.push(id),
        }
    }

    fn judge(&self, known: &[(usize, KnownImage)], rows: &[RowKey], doubled: bool) -> Verdict {
        let known: Vec<(&str, &KnownImage)> = known
            .iter()
            .map(|(number, image)| (self.catalogs[*number].library.as_str(), image))
            .collect();
        judge(&known, rows, doubled, |library| {
            self.report.libraries.contains_key(library)
        })
    }

    fn library(&mut self, number: usize) -> &mut LibraryReport {
        let name = self.catalogs[number].library.as_str();
        self.report
            .libraries
            .get_mut(name)
            .expect("every library that is compared is in the report from the start")
    }

    /// Whether there are more rows than ids among those that were read.
    async fn count(&mut self) -> Result<(), Error> {
        let ids = std::mem::take(&mut self.uncounted);
        let mut backoff = patience();
        loop {
            match self.auditor.index.doubled(&ids).await {
                Ok(doubled) => {
                    self.suspects.extend(doubled);
                    return Ok(());
                }
                Err(error) => put_up_with(error, &mut backoff, TRIES).await?,
            }
        }
    }

    async fn hash(&mut self) {
        let mut asked = Vec::new();
        let mut files = Vec::new();
        for (id, number, file) in std::mem::take(&mut self.unhashed) {
            self.library(number).hashed += 1;
            asked.push(id);
            files.push(file);
        }
        let found = deep::differences(files, self.auditor.settings.deep_files).await;
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
    async fn look_again(&mut self) -> Result<(), Error> {
        let mut suspects = std::mem::take(&mut self.suspects);
        if suspects.is_empty() {
            return Ok(());
        }
        suspects.sort_unstable();
        suspects.dedup();
        // Whatever was half done at the first look has had this time to be finished.
        tokio::time::sleep(self.auditor.settings.second_look).await;
        for ids in suspects.chunks(MOST_IDS) {
            let differences = self.second_look(ids).await?;
            for difference in &differences {
                self.note(difference);
            }
            if self.options.repair {
                self.repair(&differences).await?;
            }
        }
        self.other_content.clear();
        Ok(())
    }

    /// Catalog, rows, catalog: where the catalog says the same twice, it said so when the rows
    /// were read, too.
    async fn second_look(&mut self, ids: &[String]) -> Result<Vec<Found>, Error> {
        let auditor = self.auditor;
        let mut before = auditor.known_of(&mut self.catalogs, ids).await;
        let mut rows: HashMap<String, Vec<RowKey>> = HashMap::new();
        for row in auditor.index.keys_of(ids).await? {
            rows.entry(row.id.clone()).or_default().push(row);
        }
        let mut shown: Vec<String> = rows.keys().cloned().collect();
        shown.sort_unstable();
        let doubled: HashSet<String> = auditor.index.doubled(&shown).await?.into_iter().collect();
        let other_content = self.hash_again(&before).await;
        let unknown: Vec<String> = ids
            .iter()
            .filter(|id| !before.contains_key(*id))
            .cloned()
            .collect();
        let others = auditor.known_of(&mut self.others, &unknown).await;
        let after = auditor.known_of(&mut self.catalogs, ids).await;
        let mut differences = Vec::new();
        for id in ids {
            let known = before.remove(id).unwrap_or_default();
            let rows = rows.remove(id).unwrap_or_default();
            if others.contains_key(id) {
                // Of a library that is not meant: its own audit tells.
                continue;
            }
            let same = after
                .get(id)
                .map_or(known.is_empty(), |after| *after == known);
            let verdict = if rows.iter().any(|row| self.is_silent(row)) {
                Verdict::Elsewhere
            } else if same {
                self.judge(&known, &rows, doubled.contains(id))
            } else {
                Verdict::Busy
            };
            let (kind, detail) = match (verdict, other_content.get(id)) {
                (Verdict::Differs(kind, detail), _) => (kind, detail),
                (Verdict::Equal, Some(detail)) => (Kind::OtherContent, detail.clone()),
                (Verdict::Busy, _) => {
                    if let Some((number, _)) = known.first() {
                        self.library(*number).in_flight += 1;
                    }
                    continue;
                }
                (Verdict::Equal | Verdict::Elsewhere, _) => continue,
            };
            differences.extend(Found::new(&self.catalogs, kind, detail, id, &known, &rows));
        }
        Ok(differences)
    }

    /// Whose bytes differ again, and how.
    async fn hash_again(&self, known: &Known) -> HashMap<String, String> {
        let mut asked = Vec::new();
        let mut files = Vec::new();
        for id in &self.other_content {
            if let Some([(number, image)]) = known.get(id).map(Vec::as_slice)
                && let (Some(root), Some(hash)) = (&self.roots[*number], &image.content_hash)
            {
                asked.push(id.clone());
                files.push(deep::File {
                    root: root.clone(),
                    path: image.path.clone(),
                    hash: hash.clone(),
                });
            }
        }
        let found = deep::differences(files, self.auditor.settings.deep_files).await;
        let pairs = asked.into_iter().zip(found);
        pairs
            .filter_map(|(id, detail)| Some((id, detail?)))
            .collect()
    }

    fn note(&mut self, found: &Found) {
        let kind = found.difference.kind;
        let so_far = self.report.differences.iter();
        let told = so_far.filter(|difference| difference.kind == kind).count();
        if told < self.auditor.settings.max_examples {
            self.report.differences.push(found.difference.clone());
        }
        if let Some(library) = self.report.libraries.get_mut(&found.difference.library) {
            *library.differences.entry(kind).or_default() += 1;
        }
    }
}

fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(10))
}

/// One image, on both sides.
struct Image {
    id: String,
    /// In which catalogs (one, or none; two while it moves), and how.
    known: Vec<(usize, KnownImage)>,
    rows: Vec<RowKey>,
}
