//! Repairing what was found to differ, and what a repair needs to know.

use lookalike_bus::{CatalogImage, WatcherReply, WatcherRequest};
use lookalike_index::RowKey;

use super::super::judge::DifferenceKind;
use super::super::report::Difference;
use super::{AuditPass, CatalogReader, Error};

/// Doubled ids that are remembered from one audit to the next.
const MAX_REMEMBERED_DUPLICATES: usize = 100_000;

impl AuditPass<'_> {
    /// Has the watchers send again what they know, and deletes what nobody knows.
    pub(super) async fn repair_differences(
        &mut self,
        differences: &[FoundDifference],
    ) -> Result<(), Error> {
        let mut asked = self.catalogs.iter().chain(&self.other_catalogs);
        // An image that seems unknown may have moved there.
        let silent = asked.find(|catalog| catalog.unreachable.is_some());
        let silent = silent.map(|catalog| catalog.library.clone());
        for number in 0..self.catalogs.len() {
            let catalog = &self.catalogs[number];
            let name = catalog.library.to_string();
            let own_differences: Vec<&FoundDifference> = differences
                .iter()
                .filter(|found| found.difference.library == name)
                .collect();
            if own_differences.is_empty() {
                continue;
            }
            if catalog.unreachable.is_some() {
                continue;
            }
            if !catalog.ready {
                let why = "its watcher has not compared the whole folder with its catalog yet, or the \
                     folder is away";
                self.library_report(number).not_repaired = Some(why.to_owned());
                continue;
            }
            let (unknown, known): (Vec<&FoundDifference>, Vec<&FoundDifference>) = own_differences
                .into_iter()
                .partition(|found| found.difference.kind == DifferenceKind::Unknown);
            match &silent {
                Some(silent) if !unknown.is_empty() => {
                    let why = format!(
                        "rows that no watcher knows stay while that of library {silent} does not \
                         answer"
                    );
                    self.library_report(number).not_repaired = Some(why);
                }
                _ => self.delete_unknown(number, &unknown).await?,
            }
            self.resend_known(number, &known).await?;
        }
        Ok(())
    }

    /// Nobody writes rows of images that no catalog knows, but for a worker that was very slow:
    /// what that wrote since the row was seen stays, and the watcher hears of it.
    async fn delete_unknown(
        &mut self,
        number: usize,
        unknown: &[&FoundDifference],
    ) -> Result<(), Error> {
        let rows: Vec<(String, i64)> = unknown
            .iter()
            .map(|found| (found.difference.id.clone(), found.generation))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.auditor.index.delete_up_to_generation(&rows).await?;
        *self
            .library_report(number)
            .repaired
            .entry(DifferenceKind::Unknown)
            .or_default() += rows.len() as u64;
        Ok(())
    }

    /// The watcher sends these again, each with a new generation. An upsert replaces all rows of
    /// its id; where that did not help the last time, they are deleted first, which may cost one
    /// embedding.
    async fn resend_known(
        &mut self,
        number: usize,
        known: &[&FoundDifference],
    ) -> Result<(), Error> {
        let ids: Vec<String> = known
            .iter()
            .map(|found| found.difference.id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let persistent = self.persistent_duplicates(known);
        if !persistent.is_empty() {
            tracing::warn!(
                ids = persistent.len(),
                "rows that an upsert did not replace are deleted before they are written again"
            );
            self.auditor.index.delete_ids(&persistent).await?;
        }
        let library = self.catalogs[number].library.clone();
        let question = WatcherRequest::Resend { ids };
        let answer = match self.auditor.request_watcher(&library, &question).await {
            Ok(answer) => answer,
            Err(error) => {
                self.catalogs[number].mark_unreachable(error);
                return Ok(());
            }
        };
        if let WatcherReply::Resent(sent) = answer
            && sent < known.len() as u64
        {
            tracing::debug!(%library, sent, of = known.len(), "some were being sent anyway");
        }
        for found in known {
            let repaired = &mut self.library_report(number).repaired;
            *repaired.entry(found.difference.kind).or_default() += 1;
        }
        Ok(())
    }

    /// Doubled ids that were sent again by an audit before.
    fn persistent_duplicates(&self, known: &[&FoundDifference]) -> Vec<String> {
        let mut remembered = self
            .auditor
            .resent_duplicates
            .lock()
            .expect("no holder of this lock panics");
        let mut persistent = Vec::new();
        for found in known {
            let id = &found.difference.id;
            if found.difference.kind != DifferenceKind::DuplicateRows {
                remembered.remove(id);
            } else if remembered.contains(id) {
                persistent.push(id.clone());
            } else if remembered.len() < MAX_REMEMBERED_DUPLICATES {
                remembered.insert(id.clone());
            }
        }
        persistent
    }
}

/// A difference, and what its repair needs to know.
pub(super) struct FoundDifference {
    pub(super) difference: Difference,
    /// Of the newest row that was shown.
    generation: i64,
}

impl FoundDifference {
    /// `None` where it belongs to no library of this audit.
    pub(super) fn new(
        catalogs: &[CatalogReader],
        kind: DifferenceKind,
        detail: String,
        id: &str,
        known: &[(usize, CatalogImage)],
        rows: &[RowKey],
    ) -> Option<Self> {
        let (library, path) = match (known, rows) {
            ([(number, image), ..], _) => {
                (catalogs[*number].library.to_string(), image.path.clone())
            }
            ([], [row, ..]) => (row.library.clone(), row.path.clone()),
            ([], []) => return None,
        };
        let difference = Difference {
            kind,
            library,
            id: id.to_owned(),
            path,
            detail,
        };
        let generation = rows.iter().map(|row| row.generation).max().unwrap_or(0);
        Some(Self {
            difference,
            generation,
        })
    }
}
