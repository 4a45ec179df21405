//! What an audit found and did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::DifferenceKind;

/// Names of libraries without a watcher that are told one by one; the rest is summed up.
const MAX_UNWATCHED_NAMES: usize = 1000;

/// Numbers by kind of difference.
pub type DifferenceCounts = BTreeMap<DifferenceKind, u64>;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind.
    pub kind: DifferenceKind,
    /// The library.
    pub library: String,
    /// The image.
    pub id: String,
    /// Its path: in the catalog, or where no catalog knows it, in the row.
    pub path: String,
    /// One sentence.
    pub detail: String,
}

/// A library in a report.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LibraryReport {
    /// Images that the catalog knows.
    pub catalogued: u64,
    /// Rows of this library.
    pub rows: u64,
    /// Images that were not compared, because something is under way for them.
    pub in_flight: u64,
    /// Files that were read and hashed.
    pub hashed: u64,
    /// Differences, by kind.
    pub differences: DifferenceCounts,
    /// Of these, rows that were deleted and images that are sent again.
    pub repaired: DifferenceCounts,
    /// Why nothing was repaired, or not everything.
    pub not_repaired: Option<String>,
    /// Why it was not compared, or not to its end: its watcher does not answer, say.
    pub not_compared: Option<String>,
    /// Why files were not hashed.
    pub not_hashed: Option<String>,
}

/// What an audit found and did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AuditReport {
    /// Every library that was compared.
    pub libraries: BTreeMap<String, LibraryReport>,
    /// Rows of libraries that no watcher speaks for: they are left alone.
    pub unwatched: BTreeMap<String, u64>,
    /// Differences one by one, up to a limit for each kind.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub seconds: f64,
}

impl AuditReport {
    /// Differences of this kind, in all libraries.
    pub fn count_differences(&self, kind: DifferenceKind) -> u64 {
        let counts = self.libraries.values().map(|library| &library.differences);
        counts.filter_map(|counts| counts.get(&kind)).sum()
    }

    /// Of these, how many were deleted or are sent again.
    pub fn count_repaired(&self, kind: DifferenceKind) -> u64 {
        let counts = self.libraries.values().map(|library| &library.repaired);
        counts.filter_map(|counts| counts.get(&kind)).sum()
    }

    /// Differences of every kind.
    pub fn total_differences(&self) -> u64 {
        DifferenceKind::ALL
            .map(|kind| self.count_differences(kind))
            .iter()
            .sum()
    }

    /// Repairs of every kind.
    pub fn total_repaired(&self) -> u64 {
        DifferenceKind::ALL
            .map(|kind| self.count_repaired(kind))
            .iter()
            .sum()
    }

    /// Images that were not compared.
    pub fn in_flight(&self) -> u64 {
        self.libraries.values().map(|l| l.in_flight).sum()
    }

    /// Libraries that were not compared, or not to their end, each with the reason.
    pub fn not_compared(&self) -> impl Iterator<Item = (&str, &str)> {
        let libraries = self.libraries.iter();
        libraries
            .filter_map(|(name, library)| Some((name.as_str(), library.not_compared.as_deref()?)))
    }

    pub(super) fn add_unwatched_row(&mut self, library: &str) {
        let name =
            if self.unwatched.len() < MAX_UNWATCHED_NAMES || self.unwatched.contains_key(library) {
                library
            } else {
                "(others)"
            };
        *self.unwatched.entry(name.to_owned()).or_default() += 1;
    }
}
