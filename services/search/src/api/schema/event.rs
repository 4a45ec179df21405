//! The events of the index.

use poem_openapi::Object;
use poem_openapi::types::Example;

use super::EXAMPLE_ID;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Searches find the image in its present state.
    Indexed,
    /// The image left the index.
    Removed,
    /// The file cannot be indexed.
    Failed,
    /// A saved search found the image.
    Match,
    /// The counts of all libraries changed.
    Progress,
    /// Events are missing before the next one.
    Gap,
    /// The client was too slow; the stream ends.
    Dropped,
}

impl EventKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Indexed,
        Self::Removed,
        Self::Failed,
        Self::Match,
        Self::Progress,
        Self::Gap,
        Self::Dropped,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::Removed => "removed",
            Self::Failed => "failed",
            Self::Match => "match",
            Self::Progress => "progress",
            Self::Gap => "gap",
            Self::Dropped => "dropped",
        }
    }
}

/// An event of the index. Only the fields of its type are present.
#[derive(Debug, Clone, Object)]
#[oai(rename = "Event", example, skip_serializing_if_is_none)]
pub(crate) struct EventBody {
    /// What happened: `indexed` (searches find the image in its present state), `removed`, `failed`
    /// (the file cannot be indexed), `match` (a saved search found the image), `progress` (the counts
    /// changed), `gap` (events are missing before the next one) or `dropped` (the client was too slow;
    /// the stream ends).
    pub r#type: String,
    /// The place of the event in the stream; the same as its server-sent `id`.
    pub event_id: Option<String>,
    /// When it happened (RFC 3339, UTC).
    pub at: Option<String>,
    /// The library of the image.
    pub library: Option<String>,
    /// The id of the image.
    pub id: Option<String>,
    /// The address of the image, relative to the root of this service.
    pub image_url: Option<String>,
    /// BLAKE3 of the bytes of the file that the saved search found, 64 hexadecimal digits. A saved
    /// search finds an image once for each content.
    pub content_hash: Option<String>,
    /// The id of the saved search: 32 lower-case hexadecimal digits.
    pub saved_search: Option<String>,
    /// The name of the saved search.
    pub saved_search_name: Option<String>,
    /// Cosine of the angle between the vectors of the image and the saved search, −1 to 1.
    pub score: Option<f64>,
    /// Why the file cannot be indexed, as a stable name.
    pub code: Option<String>,
    /// One sentence for a person.
    pub detail: Option<String>,
    /// Files on disk.
    pub on_disk: Option<u64>,
    /// Files in the index.
    pub indexed: Option<u64>,
    /// Files that cannot be indexed.
    pub failed: Option<u64>,
    /// Files that a rule excludes.
    pub ignored: Option<u64>,
    /// Files whose result is not known yet.
    pub in_flight: Option<u64>,
}

impl EventBody {
    pub(crate) fn empty(kind: EventKind) -> Self {
        Self {
            r#type: kind.name().to_owned(),
            event_id: None,
            at: None,
            library: None,
            id: None,
            image_url: None,
            content_hash: None,
            saved_search: None,
            saved_search_name: None,
            score: None,
            code: None,
            detail: None,
            on_disk: None,
            indexed: None,
            failed: None,
            ignored: None,
            in_flight: None,
        }
    }
}

impl Example for EventBody {
    fn example() -> Self {
        Self {
            event_id: Some("17a2f0c9d1e34b00-42".into()),
            at: Some("2026-05-02T14:11:09Z".into()),
            library: Some("shop".into()),
            id: Some(EXAMPLE_ID.into()),
            image_url: Some(format!("/v1/images/{EXAMPLE_ID}")),
            ..Self::empty(EventKind::Indexed)
        }
    }
}
