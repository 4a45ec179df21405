//! Repairing what was found to differ, and what a repair needs to know.

use lookalike_bus::{KnownImage, WatcherAnswer, WatcherQuestion};
use lookalike_index::RowKey;

use super::super::judge::Kind;
use super::super::report::Difference;
use super::{Catalog, Error, Pass};

/// Doubled ids that are remembered from one audit to the next.
const MOST_DOUBLES_REMEMBERED: usize = 100_000;

impl Pass<'_> {
    /// Has the watchers send again what they know, and deletes what nobody knows.
    pub(super) async fn repair(&mut self, differences: &[Found]) -> Result<(), Error> {
        let mut asked = self.catalogs.iter().chain(&self.others);
        // An image that seems unknown may have moved there.
        let silent = asked.find(|catalog| catalog.silent.is_some());
        let silent = silent.map(|catalog| catalog.library.clone());
        for number in 0..self.catalogs.len() {
            let catalog = &self.catalogs[number];
            let name = catalog.library.to_string();
            let mine: Vec<&Found> = differences
                .iter()
                .filter(|found| found.difference.library == name)
                .collect();
            if mine.is_empty() {
                continue;
            }
            if catalog.silent.is_some() {
                continue;
            }
            if !catalog.ready {
                let why = "its watcher has not compared the whole folder with its catalog yet, or the \
                     folder is away";
                self.library(number).held_back = Some(why.to_owned());
                continue;
            }
            let (unknown, known): (Vec<&Found>, Vec<&Found>) = mine
                .into_iter()
                .partition(|found| found.difference.kind == Kind::Unknown);
            match &silent {
                Some(silent) if !unknown.is_empty() => {
                    let why = format!(
                        "rows that no watcher knows stay while that of library {silent} does not \
                         answer"
                    );
                    self.library(number).held_back = Some(why);
                }
                _ => self.delete(number, &unknown).await?,
            }
            self.send_again(number, &known).await?;
        }
        Ok(())
    }

    /// Nobody writes rows of images that no catalog knows, but for a worker that was very slow:
    /// what that wrote since the row was seen stays, and the watcher hears of it.
    async fn delete(&mut self, number: usize, unknown: &[&Found]) -> Result<(), Error> {
        let rows: Vec<(String, i64)> = unknown
            .iter()
            .map(|found| (found.difference.id.clone(), found.generation))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.auditor.index.delete(&rows).await?;
        *self
            .library(number)
            .repaired
            .entry(Kind::Unknown)
            .or_default() += rows.len() as u64;
        Ok(())
    }

    /// The watcher sends these again, each with a new generation. An upsert replaces all rows of
    /// its id; where that did not help the last time, they are deleted first, which may cost one
    /// embedding.
    async fn send_again(&mut self, number: usize, known: &[&Found]) -> Result<(), Error> {
        let ids: Vec<String> = known
            .iter()
            .map(|found| found.difference.id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let stubborn = self.still_doubled(known);
        if !stubborn.is_empty() {
            tracing::warn!(
                ids = stubborn.len(),
                "rows that an upsert did not replace are deleted before they are written again"
            );
            self.auditor.index.delete_ids(&stubborn).await?;
        }
        let library = self.catalogs[number].library.clone();
        let question = WatcherQuestion::Resend { ids };
        let answer = match self.auditor.ask(&library, &question).await {
            Ok(answer) => answer,
            Err(error) => {
                self.catalogs[number].fall_silent(error);
                return Ok(());
            }
        };
        if let WatcherAnswer::Resent(sent) = answer
            && sent < known.len() as u64
        {
            tracing::debug!(%library, sent, of = known.len(), "some were being sent anyway");
        }
        for found in known {
            let repaired = &mut self.library(number).repaired;
            *repaired.entry(found.difference.kind).or_default() += 1;
        }
        Ok(())
    }

    /// Doubled ids that were sent again by an audit before.
    fn still_doubled(&self, known: &[&Found]) -> Vec<String> {
        let mut remembered = self
            .auditor
            .sent_for_doubles
            .lock()
            .expect("no holder of this lock panics");
        let mut stubborn = Vec::new();
        for found in known {
            let id = &found.difference.id;
            if found.difference.kind != Kind::Doubled {
                remembered.remove(id);
            } else if remembered.contains(id) {
                stubborn.push(id.clone());
            } else if remembered.len() < MOST_DOUBLES_REMEMBERED {
                remembered.insert(id.clone());
            }
        }
        stubborn
    }
}

/// A difference, and what its repair needs to know.
pub(super) struct Found {
    pub(super) difference: Difference,
    /// Of the newest row that was shown.
    generation: i64,
}

impl Found {
    /// `None` where it belongs to no library of this audit.
    pub(super) fn new(
        catalogs: &[Catalog],
        kind: Kind,
        detail: String,
        id: &str,
        known: &[(usize, KnownImage)],
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
