//! The history of one file.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::failure::ReasonBody;
use super::image::EXAMPLE_ID;

/// A step of a file on its way into the index.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(example)]
pub(crate) struct HistoryStep {
    /// `seen`, `settled`, `sent`, `delivered`, `read`, `decoded`, `embedded` or `reused`,
    /// `written` (or `answered` if no row was written), `confirmed`.
    pub step: String,
    /// When the step ended (RFC 3339, with milliseconds), by the clock of the machine that did it.
    pub at: String,
    /// Milliseconds since the previous step; null for the first one.
    pub after_ms: Option<f64>,
    /// A remark for people; may be empty.
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

/// The history of one file.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "FileHistory", example)]
pub(crate) struct FileHistoryBody {
    /// The id of the image: 32 lower-case hexadecimal digits; null until the file is observed.
    pub id: Option<String>,
    /// The library of the file.
    pub library: String,
    /// The path below the root of the library; invalid UTF-8 is replaced by U+FFFD.
    pub path: String,
    /// `settling` (not observed yet), `in_flight`, `indexed`, `failed`, `ignored`, `missing` (no
    /// longer at its path; the watcher searches for it elsewhere) or `removing` (its row is being
    /// removed).
    pub state: String,
    /// Since when (RFC 3339), or null.
    pub since: Option<String>,
    /// Why the file failed or is ignored: a stable name, or null.
    pub code: Option<String>,
    /// What is wrong with this file, in one sentence, or null.
    pub detail: Option<String>,
    /// Explains the code, or null.
    pub reason: Option<ReasonBody>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The modification time of the file (RFC 3339), or null.
    pub modified_at: Option<String>,
    /// BLAKE3 of the bytes: 64 hexadecimal digits; null until they are read.
    pub content_hash: Option<String>,
    /// The version observed last; always grows.
    pub generation: u64,
    /// The newest version with an outcome; 0 before the first outcome.
    pub confirmed: u64,
    /// The model that computed the vector, or null.
    pub model: Option<String>,
    /// The steps of the newest version so far, in order.
    pub steps: Vec<HistoryStep>,
    /// What the file is waiting for, in one sentence, or null.
    pub waits_for: Option<String>,
    /// Whether a search can find the newest content at this path; null if the index is
    /// unreachable.
    pub visible: Option<bool>,
    /// What the index contains of the file, in one sentence.
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
            detail: Some("the jpeg image is truncated: unexpected end of file".into()),
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
            index: "the index has no row of this file".into(),
        }
    }
}
