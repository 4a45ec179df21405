//! Prepared events: the input of the commit.

use std::sync::Arc;
use std::time::Instant;

use lookalike_index::IndexRow;
use lookalike_proto::{ContentHash, FileEvent, ImageId};

use crate::queue::in_flight::InFlightEvent;
use crate::read::file::FileMismatch;
use crate::read::library_reader::{FolderUnavailable, LibraryReader};

/// Why a file is not in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexingFailure {
    /// One of the documented failure codes.
    pub code: &'static str,
    /// Describes the failure in one sentence.
    pub detail: String,
}

/// What the commit does for an event.
pub enum RowChange {
    /// Writes the row, if the file that this reader reads still matches the event.
    Put(Arc<LibraryReader>, Box<IndexRow>),
    Remove,
    /// Removes the row and reports why there is none.
    Fail(IndexingFailure),
    /// Writes nothing, because the disk shows something else.
    Supersede(String),
    /// Writes nothing now; the watcher sends the event again later.
    Defer(String),
}

impl RowChange {
    /// Returns whether the commit writes to the index for this change.
    pub fn needs_write(&self) -> bool {
        matches!(self, Self::Put(..)) || self.removes_row()
    }

    pub fn removes_row(&self) -> bool {
        matches!(self, Self::Remove | Self::Fail(_))
    }
}

impl From<IndexingFailure> for RowChange {
    fn from(failure: IndexingFailure) -> Self {
        Self::Fail(failure)
    }
}

impl From<FolderUnavailable> for RowChange {
    fn from(unavailable: FolderUnavailable) -> Self {
        Self::Defer(unavailable.0)
    }
}

impl From<FileMismatch> for RowChange {
    fn from(mismatch: FileMismatch) -> Self {
        match mismatch {
            FileMismatch::Superseded(detail) => Self::Supersede(detail),
            FileMismatch::Unreadable(detail) => Self::Fail(IndexingFailure {
                code: "unreadable",
                detail,
            }),
            FileMismatch::Unavailable(reason) => Self::Defer(reason),
        }
    }
}

/// An event and what the commit does for it.
pub struct PreparedEvent {
    pub in_flight: Arc<InFlightEvent>,
    pub change: RowChange,
    pub content_hash: Option<ContentHash>,
    /// Whether the vector was reused instead of embedded.
    pub reused: bool,
    /// When the file was last verified before the write.
    pub verified_at: Option<Instant>,
}

impl PreparedEvent {
    pub fn new(in_flight: Arc<InFlightEvent>, change: RowChange) -> Self {
        Self {
            in_flight,
            change,
            content_hash: None,
            reused: false,
            verified_at: None,
        }
    }

    pub fn event(&self) -> &FileEvent {
        &self.in_flight.delivery.event
    }

    pub fn image_id(&self) -> ImageId {
        self.event().image_id
    }

    /// Returns the id and the generation, as the index stores them.
    pub fn row_key(&self) -> (String, i64) {
        let event = self.event();
        let generation = i64::try_from(event.generation.get()).unwrap_or(i64::MAX);
        (event.image_id.to_string(), generation)
    }
}
