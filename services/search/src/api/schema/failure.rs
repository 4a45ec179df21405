//! Failed and ignored files, and actions on them.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::image::EXAMPLE_ID;

/// Explains a code; the same for each file with this code.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Reason", example)]
pub(crate) struct ReasonBody {
    /// A short title.
    pub title: String,
    /// Explains the reason in one sentence.
    pub sentence: String,
    /// What can be done about the reason.
    pub remedy: String,
    /// Whether a retry can help: `permanent` (only if the file or the settings change), `transient`
    /// (a retry may succeed) or `rule` (a rule excludes the file).
    pub retry_policy: String,
}

impl ReasonBody {
    /// Returns `None` for a code that this version does not know.
    pub(crate) fn for_code(code: &str) -> Option<Self> {
        lookalike_proto::reasons::find_reason(code).map(|reason| Self {
            title: reason.title.into(),
            sentence: reason.sentence.into(),
            remedy: reason.remedy.into(),
            retry_policy: reason.retry_policy.name().into(),
        })
    }
}

impl Example for ReasonBody {
    fn example() -> Self {
        Self::for_code("truncated").expect("the list has this code")
    }
}

/// A file that is not in the index, and why.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Failure", example)]
pub(crate) struct FailureBody {
    /// The image's id: 32 lower-case hexadecimal digits.
    pub id: String,
    /// The library of the file.
    pub library: String,
    /// The path below the root of the library; invalid UTF-8 is replaced by U+FFFD.
    pub path: String,
    /// `failed`, or `ignored` if ignored files were requested.
    pub state: String,
    /// A stable name of the reason: `truncated`, `not_an_image`, `too_many_pixels`, … REASONS.md
    /// lists them all.
    pub code: String,
    /// What is wrong with this file, in one sentence.
    pub detail: String,
    /// Explains the code; null for a code that this version does not know.
    pub reason: Option<ReasonBody>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// When this state began (RFC 3339).
    pub since: String,
    /// The address of the file, relative to the root of this service, if a browser may be able to
    /// display it, for example a truncated picture; else null.
    pub preview_url: Option<String>,
}

impl Example for FailureBody {
    fn example() -> Self {
        Self {
            id: EXAMPLE_ID.into(),
            library: "shop".into(),
            path: "2026/broken.jpg".into(),
            state: "failed".into(),
            code: "truncated".into(),
            detail: "the jpeg image is truncated: unexpected end of file".into(),
            reason: Some(ReasonBody::example()),
            bytes: 20_480,
            since: "2026-05-03T08:00:00Z".into(),
            preview_url: Some(format!("/v1/failures/{EXAMPLE_ID}/preview?library=shop")),
        }
    }
}

/// A page of failures, ordered by library and id.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct FailureList {
    /// The files of this page.
    pub failures: Vec<FailureBody>,
    /// The value of `cursor` for the next page; null on the last page.
    pub cursor: Option<String>,
    /// Libraries whose watcher is unreachable: the list lacks their files.
    pub unreachable_libraries: Vec<String>,
}

impl Example for FailureList {
    fn example() -> Self {
        Self {
            failures: vec![FailureBody::example()],
            cursor: Some(format!("shop:{EXAMPLE_ID}")),
            unreachable_libraries: Vec::new(),
        }
    }
}

/// Selects failed files: all conditions must hold, and at least one is required.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct Selection {
    /// The ids of the files; at most 1,000.
    #[oai(validator(max_items = 1000))]
    pub ids: Option<Vec<String>>,
    /// Only files that failed with this code.
    #[oai(validator(max_length = 64))]
    pub code: Option<String>,
    /// Only files of this library; by default, of every watched library.
    pub library: Option<String>,
    /// Selects every failed file, so an empty selection never means all files.
    pub all: Option<bool>,
}

impl Example for Selection {
    fn example() -> Self {
        Self {
            code: Some("unreadable".into()),
            library: Some("shop".into()),
            ..Self::default()
        }
    }
}

/// The result of an action on failed files.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(rename = "Selected", example)]
pub(crate) struct SelectionResult {
    /// Files that are retried or discarded.
    pub files: u64,
    /// Given ids without such a file in the reachable libraries.
    pub not_found: u64,
    /// Libraries whose watcher is unreachable: nothing changed there.
    pub unreachable_libraries: Vec<String>,
}

impl Example for SelectionResult {
    fn example() -> Self {
        Self {
            files: 3,
            ..Self::default()
        }
    }
}
