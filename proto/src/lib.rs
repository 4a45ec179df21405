//! The messages between lookalike's roles, as checked types.
//!
//! [`wire`] contains what prost generates from `lookalike/v1/lookalike.proto`. `bus` converts each
//! received message once, with the `decode` functions of this crate. After that an [`ImageId`] has
//! 16 bytes, a [`LibraryName`] is valid and a [`RelativePath`] cannot leave its root.

mod error;
mod event;
mod ids;
mod outcome;
mod path_text;
pub mod reasons;
mod text;
#[allow(clippy::all, rust_2018_idioms)]
pub mod wire;

pub use error::InvalidMessage;
pub use event::{FileEvent, FileEventKind};
pub use ids::{
    ContentHash, ContentHasher, Generation, ImageId, InvalidId, InvalidLibraryName, InvalidPath,
    LibraryName, RelativePath,
};
pub use outcome::{Outcome, OutcomeAttributes, OutcomeState, Timings};
pub use path_text::{path_to_text, unescape_path};
pub use text::{InvalidText, QueryText};
