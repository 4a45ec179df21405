//! One row: what is known of one image, and the state of its event.

use lookalike_proto::{ContentHash, Generation, ImageId};
use rusqlite::types::Value;

use crate::clock::Now;
use crate::disk::FileStat;
use crate::paths::join_path;

/// A library's number in the catalog.
pub type LibraryKey = i64;

/// State of a file, as far as the watcher knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum FileState {
    /// Seen; its newest generation has no outcome yet.
    InFlight = 0,
    Indexed = 1,
    Failed = 2,
    /// Excluded by its name, its size or a rule.
    Ignored = 3,
    /// Failed, and a user excluded it until it changes. Counts as ignored.
    Discarded = 4,
}

impl FileState {
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::Indexed,
        Self::Failed,
        Self::Ignored,
        Self::Discarded,
    ];

    /// Whether the index must not contain such a file, whatever its content.
    pub fn is_excluded(self) -> bool {
        matches!(self, Self::Ignored | Self::Discarded)
    }

    /// The name in lists and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Indexed => "indexed",
            Self::Failed => "failed",
            Self::Ignored | Self::Discarded => "ignored",
        }
    }

    pub(super) fn from_i64(value: i64) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| *state as i64 == value)
            .unwrap_or(Self::InFlight)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    pub id: ImageId,
    pub library: LibraryKey,
    /// The folder below the library's root; empty for the root.
    pub dir: Vec<u8>,
    pub name: Vec<u8>,
    /// The file exists there. Otherwise it is missing: either searched for elsewhere, or being
    /// removed from the index.
    pub is_present: bool,
    /// When the file was found missing; 0 while it is present.
    pub missing_since_ns: i64,
    /// Its removal from the index was sent, or must be sent.
    pub is_removing: bool,
    /// What the disk reported last.
    pub stat: FileStat,
    pub state: FileState,
    /// Why the file failed or is ignored.
    pub code: String,
    /// The same in one sentence.
    pub detail: String,
    /// When the state was entered.
    pub state_since_ns: i64,
    /// Generation of the newest observation.
    pub generation: Generation,
    /// Time of the newest observation.
    pub observed_ns: i64,
    /// The newest generation must be sent (again) …
    pub is_unsent: bool,
    /// … but not before this time.
    pub send_after_ns: i64,
    /// How often in a row the event was deferred or superseded.
    pub retries: u32,
    /// The generation in flight, or `Generation::NONE`.
    pub in_flight: Generation,
    /// How often the newest generation was sent.
    pub attempt: u32,
    /// When the generation in flight was sent.
    pub sent_ns: i64,
    /// When the stream that stored the event was created.
    pub stream_created_ns: i64,
    /// The event's number in that stream; 0 until JetStream confirmed it.
    pub stream_sequence: u64,
    /// The newest generation that has an outcome.
    pub confirmed: Generation,
    /// BLAKE3 of the bytes, once an outcome contained it.
    pub content_hash: Option<ContentHash>,
    /// An event was sent at least once, so the index may contain a row.
    pub was_sent: bool,
    /// When the image was first seen; 0 if that is unknown.
    pub first_seen_ns: i64,
}

impl CatalogRow {
    /// The path below the root.
    pub fn path(&self) -> Vec<u8> {
        join_path(&self.dir, &self.name)
    }

    /// Whether events of this image may be sent. A missing file that is not being removed has none
    /// yet: it may be found elsewhere.
    pub fn is_sendable(&self) -> bool {
        self.is_present || self.is_removing
    }

    /// Starts a new generation, which must be sent.
    pub fn begin_generation(&mut self, now: Now) {
        self.generation = Generation::next_after(self.generation, now.wall);
        self.observed_ns = now.wall_nanos();
        self.is_unsent = true;
        self.send_after_ns = 0;
        self.retries = 0;
        self.attempt = 0;
        self.state = FileState::InFlight;
        self.code.clear();
        self.detail.clear();
        self.state_since_ns = now.wall_nanos();
    }

    /// Starts a new generation of unchanged content. An excluded file keeps its state.
    pub fn begin_resend(&mut self, now: Now) {
        let (state, code, detail) = (self.state, self.code.clone(), self.detail.clone());
        self.begin_generation(now);
        if state.is_excluded() {
            (self.state, self.code, self.detail) = (state, code, detail);
        }
    }

    /// Starts the generation that removes the image from the index.
    pub fn begin_removal(&mut self, now: Now) {
        self.begin_generation(now);
        self.is_present = false;
        self.is_removing = true;
        self.missing_since_ns = now.wall_nanos();
    }
}

pub(super) const COLUMNS: &str = "id, library, dir, name, is_present, missing_since_ns, \
    is_removing, size, mtime_ns, ctime_ns, device, inode, born_ns, state, code, detail, \
    state_since_ns, generation, observed_ns, is_unsent, send_after_ns, retries, in_flight, \
    attempt, sent_ns, stream_created_ns, stream_sequence, confirmed, content_hash, was_sent, \
    first_seen_ns";

/// The columns that change while an event is sent and answered.
pub(super) const EVENT_COLUMNS: &[&str] = &[
    "state",
    "code",
    "detail",
    "state_since_ns",
    "generation",
    "observed_ns",
    "is_unsent",
    "send_after_ns",
    "retries",
    "in_flight",
    "attempt",
    "sent_ns",
    "stream_created_ns",
    "stream_sequence",
    "confirmed",
    "content_hash",
    "was_sent",
];

pub(super) fn column_names() -> impl Iterator<Item = &'static str> {
    COLUMNS.split(',').map(str::trim)
}

/// Passes the row's values, in the order of [`COLUMNS`], to `run`.
pub(super) fn with_row_values<T>(
    row: &CatalogRow,
    run: impl FnOnce(rusqlite::ParamsFromIter<Vec<Value>>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // SQLite's integers are signed; unsigned values keep their bits.
    let int = |value: u64| Value::Integer(value as i64);
    run(rusqlite::params_from_iter(vec![
        Value::Blob(row.id.as_bytes().to_vec()),
        Value::Integer(row.library),
        Value::Blob(row.dir.clone()),
        Value::Blob(row.name.clone()),
        int(row.is_present.into()),
        Value::Integer(row.missing_since_ns),
        int(row.is_removing.into()),
        int(row.stat.size),
        Value::Integer(row.stat.mtime_ns),
        Value::Integer(row.stat.ctime_ns),
        int(row.stat.device),
        int(row.stat.inode),
        Value::Integer(row.stat.born_ns),
        Value::Integer(row.state as i64),
        Value::Text(row.code.clone()),
        Value::Text(row.detail.clone()),
        Value::Integer(row.state_since_ns),
        int(row.generation.get()),
        Value::Integer(row.observed_ns),
        int(row.is_unsent.into()),
        Value::Integer(row.send_after_ns),
        int(row.retries.into()),
        int(row.in_flight.get()),
        int(row.attempt.into()),
        Value::Integer(row.sent_ns),
        Value::Integer(row.stream_created_ns),
        int(row.stream_sequence),
        int(row.confirmed.get()),
        row.content_hash
            .map_or(Value::Null, |hash| Value::Blob(hash.as_bytes().to_vec())),
        int(row.was_sent.into()),
        Value::Integer(row.first_seen_ns),
    ]))
}

pub(super) fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<CatalogRow> {
    let int = |index: usize| row.get::<_, i64>(index).map(|value| value as u64);
    let small = |index: usize| int(index).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let generation = |index: usize| int(index).map(Generation::from_u64);
    Ok(CatalogRow {
        id: ImageId::from_bytes(row.get(0)?),
        library: row.get(1)?,
        dir: row.get(2)?,
        name: row.get(3)?,
        is_present: int(4)? != 0,
        missing_since_ns: row.get(5)?,
        is_removing: int(6)? != 0,
        stat: FileStat {
            size: int(7)?,
            mtime_ns: row.get(8)?,
            ctime_ns: row.get(9)?,
            device: int(10)?,
            inode: int(11)?,
            born_ns: row.get(12)?,
        },
        state: FileState::from_i64(row.get(13)?),
        code: row.get(14)?,
        detail: row.get(15)?,
        state_since_ns: row.get(16)?,
        generation: generation(17)?,
        observed_ns: row.get(18)?,
        is_unsent: int(19)? != 0,
        send_after_ns: row.get(20)?,
        retries: small(21)?,
        in_flight: generation(22)?,
        attempt: small(23)?,
        sent_ns: row.get(24)?,
        stream_created_ns: row.get(25)?,
        stream_sequence: int(26)?,
        confirmed: generation(27)?,
        content_hash: row
            .get::<_, Option<[u8; 32]>>(28)?
            .map(ContentHash::from_bytes),
        was_sent: int(29)? != 0,
        first_seen_ns: row.get(30)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_events_are_columns() {
        let is_column = |name: &&str| column_names().any(|column| column == *name);
        assert!(EVENT_COLUMNS.iter().all(is_column), "{EVENT_COLUMNS:?}");
        assert_eq!(column_names().next(), Some("id"));
    }
}
