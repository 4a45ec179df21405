//! A difference together with the data that its repair needs.

use lookalike_bus::CatalogImage;
use lookalike_index::RowKey;

use crate::catalogs::CatalogReader;
use crate::compare::DifferenceKind;
use crate::report::Difference;

/// A confirmed difference of one image.
pub(super) struct FoundDifference {
    pub(super) difference: Difference,
    /// Generation of the newest row that the server returned; 0 without a row.
    pub(super) generation: i64,
}

impl FoundDifference {
    /// Returns `None` if the image has neither a catalog entry nor a row.
    pub(super) fn new(
        catalogs: &[CatalogReader],
        kind: DifferenceKind,
        detail: String,
        id: &str,
        entries: &[(usize, CatalogImage)],
        rows: &[RowKey],
    ) -> Option<Self> {
        let (library, path) = match (entries, rows) {
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
