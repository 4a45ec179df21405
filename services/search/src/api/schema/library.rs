//! Libraries, their counts and why they may be out of date.

use poem_openapi::Object;
use poem_openapi::types::Example;

/// Why the index of a library may be out of date.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Degraded", example)]
pub(crate) struct DegradedBody {
    /// A stable name: `root_missing` (missing, or replaced by another folder), `mass_delete`,
    /// `unreadable`, `being_written`, `catalog_failed`, `watch_limit`, `watch_failed`, `watch_polled`,
    /// `standby`, `recovering`, `stuck`, `no_watcher`, …
    pub reason: String,
    /// Explains the reason in one sentence.
    pub detail: String,
    /// Since when (RFC 3339), or null if unknown.
    pub since: Option<String>,
}

impl Example for DegradedBody {
    fn example() -> Self {
        Self {
            reason: "root_missing".into(),
            detail: "the folder /mnt/shop is missing; nothing is deleted until it is back".into(),
            since: Some("2026-05-03T08:00:00Z".into()),
        }
    }
}

/// A watched folder and the counts of its files by state.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Library", example)]
pub(crate) struct LibraryBody {
    /// The name of the library.
    pub name: String,
    /// The root folder on the machine of the watcher.
    pub root: String,
    /// Regular files below the root: always the sum of the next four counts. All counts are null
    /// while no watcher reports the library: they are not known.
    pub on_disk: Option<u64>,
    /// Files in the index; null if unknown.
    pub indexed: Option<u64>,
    /// Files that cannot be indexed; `/v1/failures` lists them with a reason. Null if unknown.
    pub failed: Option<u64>,
    /// Files that a rule excludes from the index; null if unknown.
    pub ignored: Option<u64>,
    /// Files that were seen and are none of the above yet; null if unknown.
    pub in_flight: Option<u64>,
    /// Whether `POST /v1/images` may add pictures to the library.
    pub uploads: bool,
    /// Whether `DELETE /v1/images/{id}` may move pictures of the library to the trash.
    pub deletions: bool,
    /// Why the index may be out of date; normally empty.
    pub degraded: Vec<DegradedBody>,
    /// Whether a scan is in progress, so the counts still grow; null if unknown.
    pub scanning: Option<bool>,
    /// Files per second that were indexed, removed or failed, over the last ten seconds; null if
    /// unknown.
    pub files_per_second: Option<f64>,
}

impl Example for LibraryBody {
    fn example() -> Self {
        Self {
            name: "shop".into(),
            root: "/home/kim/shop".into(),
            on_disk: Some(1368),
            indexed: Some(1302),
            failed: Some(3),
            ignored: Some(9),
            in_flight: Some(54),
            uploads: true,
            deletions: false,
            degraded: vec![],
            scanning: Some(false),
            files_per_second: Some(97.5),
        }
    }
}

/// All libraries.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct LibraryList {
    /// The libraries, ordered by name.
    pub libraries: Vec<LibraryBody>,
}

impl Example for LibraryList {
    fn example() -> Self {
        Self {
            libraries: vec![LibraryBody::example()],
        }
    }
}

/// The response to a scan request.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Scanning", example)]
pub(crate) struct ScanStarted {
    /// The name of the library.
    pub library: String,
    /// Whether the folder is being compared with the index.
    pub scanning: bool,
}

impl Example for ScanStarted {
    fn example() -> Self {
        Self {
            library: "shop".into(),
            scanning: true,
        }
    }
}
