//! The error of a message that breaks the contract.

use crate::ids::{InvalidId, InvalidLibraryName, InvalidPath};
use crate::text::InvalidText;

/// A received message that breaks the contract.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// The bytes are not a protobuf message of the expected type.
    #[error("not a {message} message: {source}")]
    Decode {
        message: &'static str,
        source: prost::DecodeError,
    },
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Library(#[from] InvalidLibraryName),
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// A required field is empty, or an enum value is unknown to this version.
    #[error("{message}: {field} is missing or unknown to this version")]
    Field {
        message: &'static str,
        field: &'static str,
    },
}
