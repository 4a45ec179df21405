//! What upkeep takes and gives, as JSON.

use poem_openapi::Object;
use poem_openapi::types::Example;

use crate::api::schema::EXAMPLE_ID;

/// Why a file is not in the index, in words; the same for each file with this code.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Reason", example)]
pub(crate) struct ReasonBody {
    /// A few words.
    pub title: String,
    /// What it means, in one sentence.
    pub sentence: String,
    /// What can be done about it.
    pub remedy: String,
    /// What would change it: `permanent` (only another content of the file, or other settings),
    /// `transient` (another try may pass) or `rule` (it is not meant to be indexed).
    pub retry_policy: String,
}

impl ReasonBody {
    /// The words for a code; none for one that this version does not know.
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
    /// Its library.
    pub library: String,
    /// Its path below the library's root; bytes that are no UTF-8 are shown as U+FFFD.
    pub path: String,
    /// `failed`, or `ignored` where those are asked for.
    pub state: String,
    /// A stable name of the reason: `truncated`, `not_an_image`, `too_many_pixels`, … REASONS.md
    /// lists them all.
    pub code: String,
    /// What was found in this file, in one sentence.
    pub detail: String,
    /// The code in words, with what can be done; null for a code that this version does not know.
    pub reason: Option<ReasonBody>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// When that was found (RFC 3339).
    pub since: String,
    /// The file itself, relative to this service's root, where a browser may well show what could
    /// not be indexed (a picture that is cut short, say); else null.
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
            detail: "the jpeg image is cut short: unexpected end of file".into(),
            reason: Some(ReasonBody::example()),
            bytes: 20_480,
            since: "2026-05-03T08:00:00Z".into(),
            preview_url: Some(format!("/v1/failures/{EXAMPLE_ID}/preview?library=shop")),
        }
    }
}

/// A page of failures, by library and id.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct FailureList {
    /// The files.
    pub failures: Vec<FailureBody>,
    /// Give this as `cursor` for the next page; null after the last one.
    pub cursor: Option<String>,
    /// Libraries that this page should have come to and whose watcher did not answer: the list goes
    /// on without their files.
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

/// Which failed files are meant; everything that is given must hold, and something must be given.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(crate) struct Selection {
    /// These, by id; at most 1,000.
    #[oai(validator(max_items = 1000))]
    pub ids: Option<Vec<String>>,
    /// Only those that failed with this code.
    #[oai(validator(max_length = 64))]
    pub code: Option<String>,
    /// Only those of this library; of every watched one unless given.
    pub library: Option<String>,
    /// Every failed file is meant; so that nothing given never means everything.
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

/// How many files were meant.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(example)]
pub(crate) struct SelectionResult {
    /// Files that are tried again, or left alone, from now on.
    pub files: u64,
    /// Of the ids that were given, those that name no such file in the libraries that answered.
    pub not_found: u64,
    /// Libraries whose watcher did not answer: nothing is changed there.
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

/// What a library's watcher does now.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct Scanning {
    /// The library.
    pub library: String,
    /// Its folder is being compared with the index.
    pub scanning: bool,
}

impl Example for Scanning {
    fn example() -> Self {
        Self {
            library: "shop".into(),
            scanning: true,
        }
    }
}

/// A step on a file's way into the index.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct HistoryStep {
    /// `seen`, `settled`, `sent`, `delivered`, `read_body`, `decoded`, `await_vector` or `reused`,
    /// `written` or, where no row came of it, `answered`, `confirmed`.
    pub step: String,
    /// When it was done (RFC 3339, with milliseconds), by the clock of the machine that did it.
    pub at: String,
    /// Milliseconds since the step before; null for the first one.
    pub after_ms: Option<f64>,
    /// More about it, in words; may be empty.
    pub note: String,
}

impl Example for HistoryStep {
    fn example() -> Self {
        Self {
            step: "delivered".into(),
            at: "2026-05-03T08:00:00.412Z".into(),
            after_ms: Some(3.2),
            note: "once".into(),
        }
    }
}

/// The whole life of one file.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct FileHistoryBody {
    /// The image's id: 32 lower-case hexadecimal digits; null while it is not taken in.
    pub id: Option<String>,
    /// Its library.
    pub library: String,
    /// Its path below the library's root; bytes that are no UTF-8 are shown as U+FFFD.
    pub path: String,
    /// `settling` (not taken in yet), `in_flight`, `indexed`, `failed`, `ignored`, `missing`
    /// (gone, and looked for elsewhere) or `removing` (the index is told to remove it).
    pub state: String,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// Why it failed or is ignored: a stable name, or null.
    pub code: Option<String>,
    /// What was found in this file, in one sentence, or null.
    pub detail: Option<String>,
    /// The code in words, with what can be done, or null.
    pub reason: Option<ReasonBody>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// When the file says that it was last written (RFC 3339), or null.
    pub modified_at: Option<String>,
    /// BLAKE3 of its bytes, once they were read: 64 hexadecimal digits, or null.
    pub content_hash: Option<String>,
    /// The version that was observed last; always grows.
    pub generation: u64,
    /// The newest version that an embedder answered for; 0 before the first answer.
    pub confirmed: u64,
    /// The model that made its vector, or null.
    pub model: Option<String>,
    /// Its way, in order, as far as it came with its newest version.
    pub steps: Vec<HistoryStep>,
    /// What it waits for now, in one sentence, or null.
    pub waits_for: Option<String>,
    /// Whether a search may find it now, with its newest content, at its path; null where the
    /// index does not answer.
    pub visible: Option<bool>,
    /// What the index has of it now, in one sentence.
    pub index: String,
}

impl Example for FileHistoryBody {
    fn example() -> Self {
        let step = |step: &str, at: &str, after_ms, note: &str| HistoryStep {
            step: step.into(),
            at: format!("2026-05-03T08:00:00.{at}Z"),
            after_ms,
            note: note.into(),
        };
        Self {
            id: Some(EXAMPLE_ID.into()),
            library: "shop".into(),
            path: "2026/broken.jpg".into(),
            state: "failed".into(),
            since: Some("2026-05-03T08:00:00Z".into()),
            code: Some("truncated".into()),
            detail: Some("the jpeg image is cut short: unexpected end of file".into()),
            reason: Some(ReasonBody::example()),
            bytes: 20_480,
            modified_at: Some("2026-05-03T07:59:59Z".into()),
            content_hash: None,
            generation: 1_777_795_200_000_000,
            confirmed: 1_777_795_200_000_000,
            model: None,
            steps: vec![
                step("seen", "102", None, ""),
                step("settled", "304", Some(202.0), ""),
                step("sent", "309", Some(5.0), "once"),
                step("delivered", "312", Some(3.0), "once"),
                step("read", "313", Some(1.0), ""),
            ],
            waits_for: None,
            visible: Some(false),
            index: "the index has no row of it".into(),
        }
    }
}
