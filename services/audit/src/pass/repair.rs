//! Repairs differences: watchers resend what their catalogs contain, and the audit deletes rows
//! that no catalog lists.

use lookalike_bus::{WatcherReply, WatcherRequest};

use super::AuditPass;
use super::found::FoundDifference;
use crate::compare::DifferenceKind;
use crate::error::Error;

/// Ids with duplicate rows that are remembered from one audit to the next.
const MAX_REMEMBERED_DUPLICATES: usize = 100_000;

impl AuditPass<'_> {
    pub(super) async fn repair_differences(
        &mut self,
        differences: &[FoundDifference],
    ) -> Result<(), Error> {
        let mut all_catalogs = self.catalogs.iter().chain(&self.other_catalogs);
        // An image that seems unknown may have moved to an unreachable library.
        let unreachable = all_catalogs
            .find(|catalog| catalog.unreachable.is_some())
            .map(|catalog| catalog.library.clone());
        for number in 0..self.catalogs.len() {
            let catalog = &self.catalogs[number];
            let name = catalog.library.to_string();
            let own_differences: Vec<&FoundDifference> = differences
                .iter()
                .filter(|found| found.difference.library == name)
                .collect();
            if own_differences.is_empty() || catalog.unreachable.is_some() {
                continue;
            }
            if !catalog.is_complete {
                let reason = "its watcher has not compared the whole folder with its catalog yet, \
                              or the folder is unavailable";
                self.library_report(number).not_repaired = Some(reason.to_owned());
                continue;
            }
            let (unknown, known): (Vec<&FoundDifference>, Vec<&FoundDifference>) = own_differences
                .into_iter()
                .partition(|found| found.difference.kind == DifferenceKind::Unknown);
            match &unreachable {
                Some(library) if !unknown.is_empty() => {
                    let reason = format!(
                        "did not delete rows without a catalog entry: the watcher of library \
                         {library} is unreachable, and its catalog may list them"
                    );
                    self.library_report(number).not_repaired = Some(reason);
                }
                _ => self.delete_unknown(number, &unknown).await?,
            }
            self.resend_known(number, &known).await?;
        }
        Ok(())
    }

    /// Deletes rows of images that no catalog lists. Only a very slow worker can still write such
    /// a row; the delete spares rows written since the audit read them, and the watcher receives
    /// that worker's outcome.
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
        self.context.index.delete_up_to_generation(&rows).await?;
        *self
            .library_report(number)
            .repaired
            .entry(DifferenceKind::Unknown)
            .or_default() += rows.len() as u64;
        Ok(())
    }

    /// Requests the watcher to send these images again, each with a new generation. An upsert
    /// replaces all rows of its id. If it did not after the last audit, the rows are deleted
    /// first, which may cost one embedding.
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
                "deleting duplicate rows that an upsert did not replace"
            );
            self.context.index.delete_ids(&persistent).await?;
        }
        let library = self.catalogs[number].library.clone();
        let request = WatcherRequest::Resend { ids };
        let reply = match self.context.watchers.send_request(&library, &request).await {
            Ok(reply) => reply,
            Err(error) => {
                self.catalogs[number].mark_unreachable(error);
                return Ok(());
            }
        };
        if let WatcherReply::Resent(resent) = reply
            && resent < known.len() as u64
        {
            tracing::debug!(%library, resent, of = known.len(), "some images were already in flight");
        }
        for found in known {
            let repaired = &mut self.library_report(number).repaired;
            *repaired.entry(found.difference.kind).or_default() += 1;
        }
        Ok(())
    }

    /// Returns the ids with duplicate rows that an earlier audit already resent.
    fn persistent_duplicates(&self, known: &[&FoundDifference]) -> Vec<String> {
        let mut remembered = self
            .context
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
