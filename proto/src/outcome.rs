//! `Outcome`: the result of one event, sent by the embedder to the watcher.

use bytes::Bytes;
use prost::Message as _;

use crate::error::InvalidMessage;
use crate::ids::{ContentHash, Generation, ImageId, LibraryName};
use crate::wire;

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeState {
    /// The row is in Milvus.
    Indexed,
    /// The row was removed from Milvus.
    Removed,
    /// The file cannot be indexed in its present state.
    Failed {
        /// A code of [`crate::reasons`].
        code: String,
        /// One sentence for a person.
        detail: String,
    },
    /// The file on disk no longer matches the event: the watcher observes it again.
    Superseded {
        /// What the embedder found instead.
        detail: String,
    },
    /// The worker cannot do the work now and changed nothing: the watcher sends the event again
    /// later.
    Deferred {
        /// Why the worker cannot do the work now.
        detail: String,
    },
}

/// Attributes of an image as the decoder found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutcomeAttributes {
    /// Pixels, after applying the orientation.
    pub width: u32,
    /// Pixels, after applying the orientation.
    pub height: u32,
    /// `jpeg`, `png`, …
    pub format: String,
}

/// The time at which an event completed each step, in nanoseconds since 1970; 0 for a step that did
/// not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Taken from the queue.
    pub received_ns: i64,
    /// Read and hashed.
    pub read_ns: i64,
    /// Decoded and scaled.
    pub decoded_ns: i64,
    pub embedded_ns: i64,
    /// Acknowledged by Milvus.
    pub committed_ns: i64,
}

/// The result of the event for one generation of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub image_id: ImageId,
    pub library: LibraryName,
    /// The generation of the event.
    pub generation: Generation,
    pub state: OutcomeState,
    /// BLAKE3 of the file's bytes, if they were read.
    pub content_hash: Option<ContentHash>,
    /// The model that produced the vector; empty without a vector.
    pub model: String,
    /// Present if the decoder ran.
    pub attributes: Option<OutcomeAttributes>,
    pub timings: Timings,
    /// Counts JetStream's deliveries of the event, from 1.
    pub deliveries: u32,
    /// Whether the vector came from the index or the content cache instead of the network.
    pub reused: bool,
}

impl Outcome {
    pub fn encode(&self) -> Bytes {
        let (state, code, detail) = match &self.state {
            OutcomeState::Indexed => (wire::outcome::State::Indexed, "", ""),
            OutcomeState::Removed => (wire::outcome::State::Removed, "", ""),
            OutcomeState::Failed { code, detail } => {
                (wire::outcome::State::Failed, code.as_str(), detail.as_str())
            }
            OutcomeState::Superseded { detail } => {
                (wire::outcome::State::Superseded, "", detail.as_str())
            }
            OutcomeState::Deferred { detail } => {
                (wire::outcome::State::Deferred, "", detail.as_str())
            }
        };
        wire::Outcome {
            image_id: Bytes::copy_from_slice(self.image_id.as_bytes()),
            library: self.library.as_str().to_owned(),
            generation: self.generation.get(),
            state: state.into(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            content_hash: self
                .content_hash
                .map(|hash| Bytes::copy_from_slice(hash.as_bytes()))
                .unwrap_or_default(),
            model: self.model.clone(),
            attributes: self.attributes.as_ref().map(|a| wire::Attributes {
                width: a.width,
                height: a.height,
                format: a.format.clone(),
            }),
            timings: Some(wire::Timings {
                received_ns: self.timings.received_ns,
                read_ns: self.timings.read_ns,
                decoded_ns: self.timings.decoded_ns,
                embedded_ns: self.timings.embedded_ns,
                committed_ns: self.timings.committed_ns,
            }),
            deliveries: self.deliveries,
            reused: self.reused,
        }
        .encode_to_vec()
        .into()
    }

    /// Decodes a message and checks it against the contract.
    pub fn decode(bytes: Bytes) -> Result<Self, InvalidMessage> {
        let message = "Outcome";
        let outcome = wire::Outcome::decode(bytes)
            .map_err(|source| InvalidMessage::Decode { message, source })?;
        let state = match outcome.state() {
            wire::outcome::State::Indexed => OutcomeState::Indexed,
            wire::outcome::State::Removed => OutcomeState::Removed,
            wire::outcome::State::Failed if outcome.code.is_empty() => {
                return Err(InvalidMessage::Field {
                    message,
                    field: "code",
                });
            }
            wire::outcome::State::Failed => OutcomeState::Failed {
                code: outcome.code,
                detail: outcome.detail,
            },
            wire::outcome::State::Superseded => OutcomeState::Superseded {
                detail: outcome.detail,
            },
            wire::outcome::State::Deferred => OutcomeState::Deferred {
                detail: outcome.detail,
            },
            wire::outcome::State::Unspecified => {
                return Err(InvalidMessage::Field {
                    message,
                    field: "state",
                });
            }
        };
        let content_hash = match &outcome.content_hash[..] {
            [] => None,
            bytes => Some(ContentHash::try_from(bytes)?),
        };
        let timings = outcome.timings.unwrap_or_default();
        Ok(Self {
            image_id: ImageId::try_from(&outcome.image_id[..])?,
            library: LibraryName::new(&outcome.library)?,
            generation: Generation::from_u64(outcome.generation),
            state,
            content_hash,
            model: outcome.model,
            attributes: outcome.attributes.map(|a| OutcomeAttributes {
                width: a.width,
                height: a.height,
                format: a.format,
            }),
            timings: Timings {
                received_ns: timings.received_ns,
                read_ns: timings.read_ns,
                decoded_ns: timings.decoded_ns,
                embedded_ns: timings.embedded_ns,
                committed_ns: timings.committed_ns,
            },
            deliveries: outcome.deliveries,
            reused: outcome.reused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        let outcome = Outcome {
            image_id: ImageId::from_bytes([1; 16]),
            library: LibraryName::new("shop").unwrap(),
            generation: Generation::from_u64(5),
            state: OutcomeState::Failed {
                code: "truncated".into(),
                detail: "ends early".into(),
            },
            content_hash: Some(ContentHash::hash_content(b"x")),
            model: "m".into(),
            attributes: Some(OutcomeAttributes {
                width: 3,
                height: 4,
                format: "png".into(),
            }),
            timings: Timings {
                received_ns: 1,
                read_ns: 2,
                ..Default::default()
            },
            deliveries: 2,
            reused: true,
        };
        assert_eq!(Outcome::decode(outcome.encode()).unwrap(), outcome);
        let deferred = Outcome {
            state: OutcomeState::Deferred {
                detail: "its mount is unavailable".into(),
            },
            ..outcome
        };
        assert_eq!(Outcome::decode(deferred.encode()).unwrap(), deferred);
        assert!(Outcome::decode(Bytes::new()).is_err());
    }
}
