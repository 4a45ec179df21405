//! A picture's bytes → a unit vector.
//!
//! The modules stand in the order that a picture passes them: what is it, is it small enough,
//! pixels, attributes, the network's input, the vector; and a thumbnail beside the way. This
//! crate alone knows burn and the image decoders; it reads no settings file, no queue and no
//! index.
//!
//! - [`decode`] and [`thumbnail()`] take the bytes of any file and fail politely, with a code.
//! - [`preprocess()`] makes what the network takes, as the model's [`Description`] says.
//! - [`Engine`] runs the network on its device; [`Model`] is what it runs.
//!
//! `search` uses everything but the engine.

pub mod error;
pub mod metrics;

mod attributes;
mod colors;
mod decode;
mod description;
mod device;
mod engine;
mod jpeg;
mod limits;
mod model;
mod network;
mod preprocess;
mod settings;
mod sniff;
mod thumbnail;
mod weights;

pub use attributes::Attributes;
pub use decode::{Picture, decode};
pub use description::{Architecture, CropOffset, Description, Filter, LongSide, Preprocessing};
pub use engine::Engine;
pub use error::{CODES, DecodeError, Error};
pub use limits::Limits;
pub use model::{DEFAULT, Model};
pub use preprocess::{Input, preprocess};
pub use settings::Settings;
pub use thumbnail::{encode_jpeg, thumbnail};
