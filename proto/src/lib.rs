//! The messages between lookalike's roles, and the checked types that the roles use
//! instead of the wire's bytes and strings.
//!
//! [`wire`] is what prost makes of `lookalike/v1/lookalike.proto`. Everything that comes from
//! the wire passes through `TryFrom` once, at the door (`bus`); past it, an [`ImageId`] is 16
//! bytes, a [`LibraryName`] is a legal name and a [`RelativePath`] cannot leave its root.

mod event;
mod ids;
mod outcome;
pub mod reasons;
mod text;

pub use event::{FileEvent, FileEventKind};
pub use ids::{
    ContentHash, Generation, ImageId, InvalidId, InvalidLibraryName, InvalidPath, LibraryName,
    RelativePath,
};
pub use outcome::{Outcome, OutcomeAttributes, OutcomeState, Timings};
pub use text::{InvalidText, QueryText};

/// The generated wire types of package `lookalike.v1`.
#[allow(missing_docs, clippy::all, rust_2018_idioms)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/lookalike.v1.rs"));
}

/// A message that came over the wire and does not keep the contract.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// The bytes are not the protobuf message expected.
    #[error("not a {message} message: {source}")]
    Decode {
        /// Which message was expected.
        message: &'static str,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// An id or hash of the wrong length.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A library's name that is not one.
    #[error(transparent)]
    Library(#[from] InvalidLibraryName),
    /// A path that is not relative, or leaves its root.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// A text to search by that is none.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// An enum value that this version does not know, or a field that must not be empty.
    #[error("{message}: {field} is missing or unknown to this version")]
    Field {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
}
