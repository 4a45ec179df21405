//! The report of an audit: differences found and repairs made.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compare::DifferenceKind;

/// Libraries without a watcher that are listed individually; the rest is added up.
const MAX_UNWATCHED_NAMES: usize = 1000;

pub type DifferenceCounts = BTreeMap<DifferenceKind, u64>;

/// One difference between a catalog and the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub library: String,
    /// The image's id, 32 hexadecimal digits.
    pub id: String,
    /// Path from the catalog, or from the row if no catalog contains the image.
    pub path: String,
    /// One sentence that describes the difference.
    pub detail: String,
}

/// Result of one library.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LibraryReport {
    /// Images in the catalog.
    pub catalogued: u64,
    pub rows: u64,
    /// Images that were not compared, because events of them are in flight.
    pub in_flight: u64,
    pub hashed: u64,
    pub differences: DifferenceCounts,
    /// Repairs: rows deleted and images resent.
    pub repaired: DifferenceCounts,
    /// Why some or all differences were not repaired.
    pub not_repaired: Option<String>,
    /// Why the library was not compared completely, for example an unreachable watcher.
    pub not_compared: Option<String>,
    /// Why a deep audit hashed no files.
    pub not_hashed: Option<String>,
}

/// Result of one audit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AuditReport {
    pub libraries: BTreeMap<String, LibraryReport>,
    /// Rows by library for libraries without a watcher. They are never changed.
    pub unwatched: BTreeMap<String, u64>,
    /// Individual differences, up to `audit.max_examples` of each kind.
    pub differences: Vec<Difference>,
    /// Duration of the audit.
    pub seconds: f64,
}

impl AuditReport {
    pub fn count_differences(&self, kind: DifferenceKind) -> u64 {
        let counts = self.libraries.values().map(|library| &library.differences);
        counts.filter_map(|counts| counts.get(&kind)).sum()
    }

    /// Counts rows deleted and images resent because of this kind.
    pub fn count_repaired(&self, kind: DifferenceKind) -> u64 {
        let counts = self.libraries.values().map(|library| &library.repaired);
        counts.filter_map(|counts| counts.get(&kind)).sum()
    }

    pub fn total_differences(&self) -> u64 {
        DifferenceKind::ALL
            .map(|kind| self.count_differences(kind))
            .iter()
            .sum()
    }

    pub fn total_repaired(&self) -> u64 {
        DifferenceKind::ALL
            .map(|kind| self.count_repaired(kind))
            .iter()
            .sum()
    }

    pub fn in_flight(&self) -> u64 {
        self.libraries.values().map(|l| l.in_flight).sum()
    }

    /// Returns the libraries that were not compared completely, each with the reason.
    pub fn not_compared(&self) -> impl Iterator<Item = (&str, &str)> {
        let libraries = self.libraries.iter();
        libraries
            .filter_map(|(name, library)| Some((name.as_str(), library.not_compared.as_deref()?)))
    }

    pub(crate) fn add_unwatched_row(&mut self, library: &str) {
        let name =
            if self.unwatched.len() < MAX_UNWATCHED_NAMES || self.unwatched.contains_key(library) {
                library
            } else {
                "(others)"
            };
        *self.unwatched.entry(name.to_owned()).or_default() += 1;
    }
}
