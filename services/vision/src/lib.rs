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

// What is it, and is it small enough?
mod limits;
mod sniff;
mod tiff;
mod webp;

// Bytes → an upright picture, within a time.
mod deadline;
mod decode;
mod jpeg;

// What the file tells beside its pixels.
mod attributes;
mod colors;

// Picture → the network's input.
mod preprocess;

// Which network, with which weights, and what its scores mean.
mod bands;
mod description;
mod golden;
mod model;
pub mod registry;
mod weights;

// Input → vector.
#[cfg(feature = "network")]
mod device;
#[cfg(feature = "network")]
mod engine;
#[cfg(feature = "network")]
mod network;

// For people.
mod thumbnail;

mod settings;

pub use attributes::DecodedAttributes;
pub use bands::{Band, Bands};
pub use deadline::DecodeMonitor;
pub use decode::{DecodedImage, decode_image, decode_monitored};
pub use description::{
    Activation, Architecture, CropOffset, Description, LongSide, Preprocessing, ResampleFilter,
    TextTower, TransformerShape, VisionTower,
};
#[cfg(feature = "network")]
pub use engine::Engine;
pub use error::{CODES, DecodeError, Error};
pub use golden::{GoldenFile, MIN_GOLDEN_COSINE};
pub use limits::Limits;
pub use model::{DEFAULT_MODEL, Model};
pub use preprocess::{Input, preprocess_image};
pub use settings::Settings;
pub use thumbnail::{encode_jpeg, encode_thumbnail};
