//! Computes a unit vector from the bytes of an image file, or from a text.
//!
//! An image passes these steps:
//!
//! 1. `decode`: detect the format, check the limits, decode to upright pixels, read attributes.
//!    The decoder also makes a [`Sketch`], which tells apart pictures with nearly equal vectors.
//! 2. `preprocess`: resize and crop to the input of the network, as the model's [`Description`]
//!    requires.
//! 3. `engine`: run the `network` of a [`Model`] on a device.
//!
//! [`decode_image`] and [`encode_thumbnail`] accept the bytes of any file and fail with a code for
//! files that are not valid images. Only this crate depends on burn and on image decoders. It reads no
//! settings file, no queue and no index. `search` uses everything except the engine.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "network"),
    allow(dead_code, reason = "some code is used only by the engine")
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod error;
pub mod metrics;
mod panics;
mod settings;

mod decode;
mod preprocess;
mod region;
mod sketch;
mod turn;

mod model;

#[cfg(feature = "network")]
mod network;

#[cfg(feature = "network")]
mod engine;

mod encode;
mod thumbnail;

mod align;

pub use align::{AffineMap, Alignment, ComparedPicture, LookDifference, MeanLook};
pub use decode::attributes::DecodedAttributes;
pub use decode::attributes::sidecar::SidecarAttributes;
pub use decode::colors::{COLOR_TERMS, MAX_COLOR_NAMES};
pub use decode::deadline::DecodeMonitor;
pub use decode::decoded::DecodedImage;
pub use decode::format_names::FORMAT_NAMES;
pub use decode::limits::Limits;
pub use decode::{decode_image, decode_monitored, detect_format};
pub use encode::encode_jpeg;
#[cfg(feature = "network")]
pub use engine::{DeviceState, DeviceStatus, Engine};
pub use error::{CODES, DecodeError, Error, RaisedLimits};
pub use model::Model;
pub use model::bands::{Band, Bands};
pub use model::convert::convert_checkpoint;
pub use model::description::{
    Architecture, CompoundScaling, CropOffset, Description, LongSide, Preprocessing, ResampleFilter,
};
pub use model::golden::{GoldenFile, MIN_GOLDEN_COSINE};
pub use model::registry::{self, BUNDLED_MODEL, DEFAULT_MODEL};
pub use model::towers::{Activation, TextTower, TransformerShape, VisionTower};
pub use preprocess::{Input, preprocess_image, preprocess_turned};
pub use region::{DecodedRegion, PictureRegion};
pub use settings::{CpuKernels, Settings};
pub use sketch::{AlterationSearch, MAX_SKETCH_BYTES, Sketch};
pub use thumbnail::encode_thumbnail;
pub use turn::PictureTurn;
