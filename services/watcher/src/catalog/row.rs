//! One row: what is known of one image, and what is under way for it.

use lookalike_proto::{ContentHash, Generation, ImageId};
use rusqlite::types::Value;

use super::LibraryKey;
use crate::disk::FileStat;

/// What became of a file, as far as the watcher knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum FileState {
    /// Seen, and its newest generation is not answered yet.
    InFlight = 0,
    /// In the index.
    Indexed = 1,
    /// Can't be indexed as it is.
    Failed = 2,
    /// Not meant to be indexed.
    Ignored = 3,
    /// Failed, and somebody said to leave it alone until it changes. Counts as ignored.
    Discarded = 4,
}

impl FileState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::Indexed,
        Self::Failed,
        Self::Ignored,
        Self::Discarded,
    ];

    /// Whether the index is to hold no row of such a file, whatever is in it.
    pub fn is_excluded(self) -> bool {
        matches!(self, Self::Ignored | Self::Discarded)
    }

    /// The word in lists and metrics.
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

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    /// Its id, for good.
    pub id: ImageId,
    /// The library it lies in.
    pub library: LibraryKey,
    /// The folder below the library's root, without slashes at its ends.
    pub dir: Vec<u8>,
    /// The file's name.
    pub name: Vec<u8>,
    /// It lies there; else it is gone, and either looked for elsewhere or being removed.
    pub is_present: bool,
    /// When it was found to be gone; 0 while it is there.
    pub missing_since_ns: i64,
    /// The index was told (or is to be told) to remove it.
    pub is_removing: bool,
    /// What the disk said last.
    pub stat: FileStat,
    /// What became of it.
    pub state: FileState,
    /// Why it failed or is ignored.
    pub code: String,
    /// … in one sentence.
    pub detail: String,
    /// When the state was entered.
    pub state_since_ns: i64,
    /// Of the newest observation.
    pub generation: Generation,
    /// When that was made.
    pub observed_ns: i64,
    /// The newest generation has to be sent (again).
    pub is_unsent: bool,
    /// … but not before.
    pub send_after_ns: i64,
    /// How often it was sent again because the disk showed something else.
    pub retries: u32,
    /// The generation under way; none: `Generation::NONE`.
    pub in_flight: Generation,
    /// How often the newest generation was sent.
    pub attempt: u32,
    /// When the generation under way was sent.
    pub sent_ns: i64,
    /// When the stream that stored it was made.
    pub stream_created_ns: i64,
    /// Its number in that stream; 0 until JetStream answered.
    pub stream_sequence: u64,
    /// The newest generation that was answered.
    pub confirmed: Generation,
    /// BLAKE3 of the bytes, once an outcome told it.
    pub content_hash: Option<ContentHash>,
    /// An event of it was handed out once, so the index may hold a row of it.
    pub was_sent: bool,
    /// When it was first seen; 0 where that was before this was kept.
    pub first_seen_ns: i64,
}

impl CatalogRow {
    /// The path below the root.
    pub fn path(&self) -> Vec<u8> {
        join_path(&self.dir, &self.name)
    }

    /// Whether the index is to hold a row of it, or to be told to remove it. A vanished image is
    /// neither yet: it may turn up elsewhere.
    pub fn is_sendable(&self) -> bool {
        self.is_present || self.is_removing
    }
}

/// A name below a folder, which is empty for the root.
pub fn join_path(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

pub(super) const COLUMNS: &str = "id, library, dir, name, present, missing_since_ns, removing, \
    size, mtime_ns, ctime_ns, device, inode, born_ns, state, code, detail, since_ns, generation, \
    observed_ns, unsent, not_before_ns, retries, in_flight, attempt, sent_ns, sent_created, \
    sent_sequence, confirmed, content_hash, told, first_seen_ns";

/// Hands the row's values, in the order of [`COLUMNS`], to `run`.
pub(super) fn with_row_values<T>(
    row: &CatalogRow,
    run: impl FnOnce(rusqlite::ParamsFromIter<Vec<Value>>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // SQLite's integers are signed; the unsigned ones are kept bit by bit.
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
