//! Compares the catalog entry of one image with its rows.

use lookalike_bus::CatalogImage;
use lookalike_index::RowKey;
use serde::Serialize;

/// Kind of a difference between catalog and index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The catalog lists the image as indexed, but there is no row.
    Missing,
    /// The row has another generation than the confirmed one, or another path, library or hash.
    /// Milvus may restore such rows after a restart or from a backup.
    Stale,
    /// One id has several rows.
    DuplicateRows,
    /// A row of an image that no catalog contains.
    Unknown,
    /// A row of a file that failed or is ignored.
    ShouldBeGone,
    /// The file's content differs from the indexed content, although size and time match.
    OtherContent,
}

impl DifferenceKind {
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Stale,
        Self::DuplicateRows,
        Self::Unknown,
        Self::ShouldBeGone,
        Self::OtherContent,
    ];

    /// Returns the name in metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::DuplicateRows => "duplicate_rows",
            Self::Unknown => "unknown",
            Self::ShouldBeGone => "should_be_gone",
            Self::OtherContent => "other_content",
        }
    }
}

/// Result of comparing one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Equal,
    /// An event of the image is in flight, so the sides cannot be compared.
    InFlight,
    /// A row of a library outside the scope of this audit.
    OutOfScope,
    /// A difference and its description.
    Differs(DifferenceKind, String),
}

/// Compares one image. `entries` are its catalog entries, each with the library's name; `rows` are
/// the rows that the server returns. The server may hide further rows of the same id:
/// `has_duplicates`. `covers` tells whether a library is in the scope of the audit.
pub(crate) fn compare_entry(
    entries: &[(&str, &CatalogImage)],
    rows: &[RowKey],
    has_duplicates: bool,
    is_in_scope: impl Fn(&str) -> bool,
) -> Verdict {
    let differs = |kind, detail: &str| Verdict::Differs(kind, detail.to_owned());
    let (library, image) = match entries {
        [entry] => *entry,
        // The file is moving from one library to another.
        [_, _, ..] => return Verdict::InFlight,
        [] => {
            return match rows {
                [] => Verdict::Equal,
                [row, ..] if is_in_scope(&row.library) => {
                    differs(DifferenceKind::Unknown, "no catalog contains this image")
                }
                _ => Verdict::OutOfScope,
            };
        }
    };
    if image.busy {
        return Verdict::InFlight;
    }
    let row = match (image.state.as_str(), rows) {
        ("failed" | "ignored", []) => return Verdict::Equal,
        ("failed" | "ignored", _) => {
            let detail = format!("the file is {}, but it has a row", image.state);
            return Verdict::Differs(DifferenceKind::ShouldBeGone, detail);
        }
        ("indexed", []) => return differs(DifferenceKind::Missing, "there is no row"),
        ("indexed", [row]) if !has_duplicates => row,
        ("indexed", _) => {
            return differs(DifferenceKind::DuplicateRows, "the id has several rows");
        }
        // A missing file may have moved; events of the other states are in flight.
        _ => return Verdict::InFlight,
    };
    let confirmed = i64::try_from(image.confirmed).unwrap_or(i64::MAX);
    let hash_differs = image
        .content_hash
        .as_ref()
        .is_some_and(|hash| *hash != row.content_hash);
    let stale = if row.library != library {
        format!("the row is in library {}", row.library)
    } else if row.path != image.path {
        format!("the row's path is {:?}", row.path)
    } else if hash_differs {
        "the row has another content hash".to_owned()
    } else if row.generation < confirmed {
        "the row is older than the confirmed generation".to_owned()
    } else if row.generation > confirmed {
        "the row is newer than the confirmed generation".to_owned()
    } else {
        return Verdict::Equal;
    };
    Verdict::Differs(DifferenceKind::Stale, stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `state confirmed path`, in flight if it ends with `…`.
    fn catalog_entry(text: &str) -> CatalogImage {
        let (text, busy) = match text.strip_suffix('…') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let words: Vec<&str> = text.split(' ').collect();
        let generation = words[1].parse().unwrap();
        CatalogImage {
            id: "x".into(),
            path: words[2].into(),
            content_hash: Some(format!("hash of {}", words[2])),
            generation,
            confirmed: generation,
            state: words[0].into(),
            size: 1,
            busy,
        }
    }

    /// Parses `library generation path`, separated by spaces.
    fn row_key(text: &str) -> RowKey {
        let words: Vec<&str> = text.split(' ').collect();
        RowKey {
            id: "x".into(),
            library: words[0].into(),
            path: words[2].into(),
            content_hash: format!("hash of {}", words[2]),
            generation: words[1].parse().unwrap(),
        }
    }

    fn assert_verdict(knowns: &[&str], rows: &[&str], verdict: &str) {
        let images: Vec<CatalogImage> = knowns.iter().map(|text| catalog_entry(text)).collect();
        let images: Vec<(&str, &CatalogImage)> = images.iter().map(|i| ("shop", i)).collect();
        let doubled = rows.contains(&"+");
        let keys: Vec<RowKey> = rows
            .iter()
            .filter(|text| **text != "+")
            .map(|text| row_key(text))
            .collect();
        let found = match compare_entry(&images, &keys, doubled, |library| library == "shop") {
            Verdict::Equal => "equal",
            Verdict::InFlight => "busy",
            Verdict::OutOfScope => "elsewhere",
            Verdict::Differs(kind, _) => kind.label(),
        };
        assert_eq!(found, verdict, "{knowns:?} {rows:?}");
    }

    #[test]
    fn every_kind_of_difference_is_recognised() {
        assert_verdict(&[], &[], "equal");
        assert_verdict(&["indexed 5 a"], &["shop 5 a"], "equal");
        assert_verdict(&["indexed 5 a"], &[], "missing");
        assert_verdict(&["indexed 5 a"], &["shop 4 a"], "stale");
        assert_verdict(&["indexed 5 a"], &["shop 6 a"], "stale");
        assert_verdict(&["indexed 5 a"], &["shop 5 b"], "stale");
        assert_verdict(&["indexed 5 a"], &["attic 5 a"], "stale");
        assert_verdict(&["indexed 5 a"], &["shop 5 a", "+"], "duplicate_rows");
        assert_verdict(&["indexed 5 a"], &["shop 4 a", "+"], "duplicate_rows");
        assert_verdict(
            &["indexed 5 a"],
            &["shop 5 a", "shop 5 a"],
            "duplicate_rows",
        );
        assert_verdict(&["failed 5 a"], &[], "equal");
        assert_verdict(&["failed 5 a"], &["shop 5 a"], "should_be_gone");
        assert_verdict(&["ignored 5 a"], &["shop 5 a", "+"], "should_be_gone");
        assert_verdict(&[], &["shop 5 a"], "unknown");
        assert_verdict(&[], &["attic 5 a"], "elsewhere");
    }

    #[test]
    fn images_in_flight_are_not_compared() {
        for rows in [&[][..], &["shop 4 a"], &["shop 5 b", "+"]] {
            for state in ["in_flight", "missing", "removing"] {
                assert_verdict(&[&format!("{state} 5 a")], rows, "busy");
            }
            for state in ["indexed", "ignored", "failed"] {
                assert_verdict(&[&format!("{state} 5 a…")], rows, "busy");
            }
            assert_verdict(&["indexed 5 a", "indexed 6 b"], rows, "busy");
        }
    }

    #[test]
    fn an_unknown_hash_is_not_compared() {
        let image = CatalogImage {
            content_hash: None,
            ..catalog_entry("indexed 5 a")
        };
        let verdict = compare_entry(&[("shop", &image)], &[row_key("shop 5 a")], false, |_| true);
        assert_eq!(verdict, Verdict::Equal);
        let other = RowKey {
            content_hash: "another".into(),
            ..row_key("shop 5 a")
        };
        let image = catalog_entry("indexed 5 a");
        let verdict = compare_entry(&[("shop", &image)], &[other], false, |_| true);
        assert!(matches!(
            verdict,
            Verdict::Differs(DifferenceKind::Stale, _)
        ));
    }
}
