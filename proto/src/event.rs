//! `FileEvent`: a change of one file, sent by the watcher to the embedder.

use bytes::Bytes;
use prost::Message as _;

use crate::error::InvalidMessage;
use crate::ids::{Generation, ImageId, LibraryName, RelativePath};
use crate::wire;

/// The requested state of an image's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileEventKind {
    /// The row shall describe the file at the path.
    Put,
    /// The row shall not exist.
    Remove,
}

/// A request to make the row of one image match the file at a path, or to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    pub image_id: ImageId,
    pub library: LibraryName,
    /// The path below the library's root; of a removal, the last known one.
    pub path: RelativePath,
    pub kind: FileEventKind,
    /// Orders the observations of this image.
    pub generation: Generation,
    /// Counts the publications of this generation, from 1.
    pub attempt: u32,
    /// Size in bytes when the watcher observed the file; of a removal, the last observed size.
    /// `u64::MAX` in a removal means that a file at the path is known to be another image.
    pub size: u64,
    /// Modification time when the watcher observed the file, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time at which the watcher noticed the change, in nanoseconds since 1970.
    pub observed_at_ns: i64,
}

impl FileEvent {
    /// Returns the id by which JetStream detects duplicates: the same for a message that is sent
    /// twice by accident, a new one for each intended attempt.
    pub fn message_id(&self) -> String {
        format!("{}:{}:{}", self.image_id, self.generation, self.attempt)
    }

    pub fn encode(&self) -> Bytes {
        let kind = match self.kind {
            FileEventKind::Put => wire::file_event::Kind::Put,
            FileEventKind::Remove => wire::file_event::Kind::Remove,
        };
        wire::FileEvent {
            image_id: Bytes::copy_from_slice(self.image_id.as_bytes()),
            library: self.library.as_str().to_owned(),
            path: self.path.as_str().to_owned(),
            kind: kind.into(),
            generation: self.generation.get(),
            attempt: self.attempt,
            size: self.size,
            mtime_ns: self.mtime_ns,
            observed_at_ns: self.observed_at_ns,
            traceparent: String::new(),
        }
        .encode_to_vec()
        .into()
    }

    /// Decodes a message and checks it against the contract.
    pub fn decode(bytes: Bytes) -> Result<Self, InvalidMessage> {
        let message = "FileEvent";
        let event = wire::FileEvent::decode(bytes)
            .map_err(|source| InvalidMessage::Decode { message, source })?;
        let kind = match event.kind() {
            wire::file_event::Kind::Put => FileEventKind::Put,
            wire::file_event::Kind::Remove => FileEventKind::Remove,
            wire::file_event::Kind::Unspecified => {
                return Err(InvalidMessage::Field {
                    message,
                    field: "kind",
                });
            }
        };
        if event.generation == 0 || event.generation > i64::MAX as u64 {
            return Err(InvalidMessage::Field {
                message,
                field: "generation",
            });
        }
        Ok(Self {
            image_id: ImageId::try_from(&event.image_id[..])?,
            library: LibraryName::new(&event.library)?,
            path: RelativePath::new(event.path)?,
            kind,
            generation: Generation::from_u64(event.generation),
            attempt: event.attempt,
            size: event.size,
            mtime_ns: event.mtime_ns,
            observed_at_ns: event.observed_at_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        let event = FileEvent {
            image_id: ImageId::from_bytes([7; 16]),
            library: LibraryName::new("shop").unwrap(),
            path: RelativePath::new("a/ü.jpg").unwrap(),
            kind: FileEventKind::Remove,
            generation: Generation::from_u64(12),
            attempt: 3,
            size: 5,
            mtime_ns: -1,
            observed_at_ns: 9,
        };
        assert_eq!(FileEvent::decode(event.encode()).unwrap(), event);
        assert_eq!(event.message_id(), format!("{}:12:3", "07".repeat(16)));
    }

    #[test]
    fn refuses_what_breaks_the_contract() {
        assert!(FileEvent::decode(Bytes::from_static(b"\xff\xff")).is_err());
        assert!(FileEvent::decode(Bytes::new()).is_err());
        let escape = wire::FileEvent {
            image_id: Bytes::from_static(&[0; 16]),
            library: "shop".into(),
            path: "../../etc/passwd".into(),
            kind: 1,
            generation: 1,
            ..Default::default()
        };
        let error = FileEvent::decode(escape.encode_to_vec().into()).unwrap_err();
        assert!(matches!(error, InvalidMessage::Path(_)), "{error}");
    }
}
