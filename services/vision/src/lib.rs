//! A picture's bytes → a unit vector.
//!
//! The modules stand in the order that a picture passes them: what is it, is it small enough,
//! pixels, attributes, the network's input, the vector; and a thumbnail beside the way. This
//! crate alone knows burn and the image decoders; it reads no settings file, no queue and no
//! index.
//!
//! - [`decode`] and [`encode_thumbnail()`] take the bytes of any file and fail politely, with a code.
//! - [`preprocess_image()`] makes what the network takes, as the model's [`Description`] says.
//! - [`Engine`] runs the network on its device; [`Model`] is what it runs.
//!
//! `search` uses everything but the engine.

#![cfg_attr(
    not(feature = "network"),
    allow(dead_code, reason = "what only the engine uses")
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod error;
pub mod metrics;
mod settings;

mod decode;
mod preprocess;
mod thumbnail;

mod model;

#[cfg(feature = "network")]
mod engine;
#[cfg(feature = "network")]
mod network;

pub use decode::attributes::DecodedAttributes;
pub use decode::deadline::DecodeMonitor;
pub use decode::limits::Limits;
pub use decode::{DecodedImage, decode_image, decode_monitored};
#[cfg(feature = "network")]
pub use engine::Engine;
pub use error::{CODES, DecodeError, Error};
pub use model::bands::{Band, Bands};
pub use model::description::{
    Architecture, CropOffset, Description, LongSide, Preprocessing, ResampleFilter,
};
pub use model::golden::{GoldenFile, MIN_GOLDEN_COSINE};
pub use model::registry;
pub use model::towers::{Activation, TextTower, TransformerShape, VisionTower};
pub use model::{DEFAULT_MODEL, Model};
pub use preprocess::{Input, preprocess_image};
pub use settings::Settings;
pub use thumbnail::{encode_jpeg, encode_thumbnail};
