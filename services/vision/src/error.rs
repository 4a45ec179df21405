//! Errors of a user's file ([`DecodeError`]) and of a model or its device ([`Error`]).
//!
//! A [`DecodeError`] is permanent: a retry gives the same error. Its [`code`](DecodeError::code) is
//! one of the fixed list [`CODES`]. An [`Error`] concerns our side: settings, weights, device.

use std::fmt;
use std::path::PathBuf;

/// Every code that [`DecodeError::code`] can return, in the order of the checks.
///
/// | code | meaning |
/// | --- | --- |
/// | `empty` | no bytes at all |
/// | `too_large` | more bytes than `max_file_bytes` |
/// | `not_an_image` | the first bytes match no known image format |
/// | `unsupported_format` | an image format that this build does not support (SVG, JPEG 2000, …) |
/// | `unsupported_feature` | a supported format with an unsupported feature (arithmetic JPEG, …) |
/// | `too_many_pixels` | claims more pixels, or a longer side, than the limits allow |
/// | `too_much_memory` | decoding would need more memory than `max_decode_bytes` |
/// | `truncated` | the file is truncated |
/// | `corrupt` | violates its format |
/// | `too_slow` | decoding used more CPU time than `decode_timeout` |
/// | `decoder_panic` | the decoder panicked; only this file is affected |
pub const CODES: &[&str] = &[
    "empty",
    "too_large",
    "not_an_image",
    "unsupported_format",
    "unsupported_feature",
    "too_many_pixels",
    "too_much_memory",
    "truncated",
    "corrupt",
    "too_slow",
    "decoder_panic",
];

/// The reason why a file cannot be decoded. The same bytes always fail the same way; `too_slow` is
/// decided by CPU time, so only a faster CPU changes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the file is empty")]
    Empty,
    #[error("the file has {bytes} bytes; the limit is {max_bytes}")]
    TooLarge {
        bytes: u64,
        /// `max_file_bytes` of the settings.
        max_bytes: u64,
    },
    #[error("the file is not an image: its first bytes match no known image format")]
    NotAnImage,
    #[error("{format} files are not supported")]
    UnsupportedFormat { format: &'static str },
    /// A camera raw file whose pixels stay unread.
    #[error(
        "camera raw images ({format}) are read by the preview that the camera embeds, and this file has none of {min_side} or more pixels"
    )]
    RawWithoutPreview {
        format: &'static str,
        /// In pixels, of the longer side.
        min_side: u32,
    },
    /// A supported format with a feature that our decoders lack.
    #[error("cannot read this {format} image: {reason}")]
    UnsupportedFeature {
        format: &'static str,
        /// The decoder's message about the feature.
        reason: String,
    },
    #[error(
        "the image claims to have {width} x {height} pixels; the limits are {max_pixels} pixels and {max_side} per side{raised}"
    )]
    TooManyPixels {
        width: u32,
        height: u32,
        /// `max_pixels` of the settings.
        max_pixels: u64,
        /// `max_side` of the settings.
        max_side: u32,
        /// The limits at which the image would be decoded.
        raised: RaisedLimits,
    },
    #[error("decoding needs more memory than the limit of {max_bytes} bytes{raised}")]
    TooMuchMemory {
        /// `max_decode_bytes` of the settings.
        max_bytes: u64,
        /// The limits at which the image would be decoded, if they are known.
        raised: RaisedLimits,
    },
    #[error("the {format} image is truncated: {reason}")]
    Truncated {
        format: &'static str,
        /// The decoder's message about where the file ended.
        reason: String,
    },
    /// The file violates its format.
    #[error("the {format} image is damaged: {reason}")]
    Corrupt {
        format: &'static str,
        /// The decoder's message about the violated rule.
        reason: String,
    },
    #[error("decoding used more CPU time than the limit of {max:?}")]
    TooSlow {
        /// `decode_timeout` of the settings.
        max: std::time::Duration,
    },
    /// A decoder panicked on this file.
    #[error("the {format} decoder failed on this file: {reason}")]
    DecoderPanic {
        format: &'static str,
        reason: String,
    },
}

/// Values of settings at which a rejected image would be decoded. Displayed as the end of a sentence,
/// or as nothing if no value is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RaisedLimits {
    pub max_pixels: Option<u64>,
    pub max_side: Option<u32>,
    pub max_decode_bytes: Option<u64>,
}

impl fmt::Display for RaisedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In whole mebibytes, as people write sizes in a settings file.
        let memory = |bytes: u64| format!("\"{}MiB\"", bytes.div_ceil(1 << 20));
        let settings = [
            ("max_pixels", self.max_pixels.map(|value| value.to_string())),
            ("max_side", self.max_side.map(|value| value.to_string())),
            ("max_decode_bytes", self.max_decode_bytes.map(memory)),
        ];
        let mut introduction = "; to index it, set ";
        for (setting, value) in settings {
            if let Some(value) = value {
                write!(f, "{introduction}vision.{setting} to at least {value}")?;
                introduction = " and ";
            }
        }
        Ok(())
    }
}

impl DecodeError {
    /// Returns the stable code of this error, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::NotAnImage => "not_an_image",
            Self::UnsupportedFormat { .. } | Self::RawWithoutPreview { .. } => "unsupported_format",
            Self::UnsupportedFeature { .. } => "unsupported_feature",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::TooMuchMemory { .. } => "too_much_memory",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::TooSlow { .. } => "too_slow",
            Self::DecoderPanic { .. } => "decoder_panic",
        }
    }
}

/// An error of a model, its device or a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is neither a registered model nor a folder.
    #[error(
        "there is no model {name:?}{hint}; use one of {known}, or a folder with a description (.json) and weights (.safetensors)"
    )]
    UnknownModel {
        name: String,
        /// A phrase that suggests a similar name, or the empty string.
        hint: String,
        /// The names of the registered models.
        known: String,
    },
    /// The model is registered, but its weights are not bundled.
    #[error(
        "the weights of {name:?} are not on this machine: download them with `lookalike models fetch {name}`, or use a folder with its files (model.safetensors and config.json from the model's hub page) as the model"
    )]
    WeightsNotBundled { name: String },
    #[error("cannot read {path}")]
    ReadModel {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A model folder lacks a file, or has too many.
    #[error("the model folder {path} {problem}")]
    ModelFolder { path: PathBuf, problem: String },
    #[error("cannot use the model description {origin}: {problem}")]
    Description {
        /// The file, or the name of the bundled model.
        origin: String,
        problem: String,
    },
    /// The weights are not those whose checksum the description states.
    #[error(
        "the weights of {model} have the SHA-256 {actual} instead of {expected}: the file was changed or damaged and is not used; restore it, or fetch the model again (`lookalike models fetch NAME`)"
    )]
    Checksum {
        model: String,
        /// SHA-256 from the description.
        expected: String,
        /// SHA-256 of the file.
        actual: String,
    },
    #[error("cannot use the weights of {model}: {problem}")]
    Weights { model: String, problem: String },
    /// The device of the settings is not available.
    #[error("device {device:?} is not available: {problem}")]
    Device {
        /// As in the settings.
        device: String,
        /// The reason, and what to do.
        problem: String,
    },
    /// The CPU does not support the kernels of the settings.
    #[error(
        "this CPU does not support the kernels {kernels}: set vision.kernels to auto, {supported} or \
         flex"
    )]
    Kernels {
        kernels: &'static str,
        /// The instruction sets that it supports.
        supported: String,
    },
    #[error("cannot start the device thread")]
    StartThread(#[source] std::io::Error),
    /// The trial run at the start failed.
    #[error("the network does not work on this device: {problem}")]
    Warmup { problem: String },
    /// The vector of the golden picture or of another test input differs from the one recorded for
    /// these weights, or computed on the CPU.
    #[error(
        "{model} on {device} computes a vector of {input} that differs from the expected one (cosine {cosine:.6}, at least {min_cosine} is needed): a driver, the device or a change of the network altered it, and such vectors would corrupt an index. Nothing was written. Start with another device (--device cpu), or update the driver"
    )]
    Golden {
        model: String,
        /// A description of the device.
        device: String,
        /// What was embedded, such as `the golden picture`.
        input: &'static str,
        cosine: f64,
        min_cosine: f64,
    },
    /// An input's length differs from that of the model's preprocessed images.
    #[error("an input has {bytes} bytes; {model} takes {expected} (8-bit RGB, {side} x {side})")]
    WrongInput {
        model: String,
        bytes: usize,
        /// Bytes that the model takes.
        expected: usize,
        /// Side of the model's input in pixels.
        side: u32,
    },
    /// The model embeds only images, but the request is a text.
    #[error(
        "{model} cannot embed text: search with an image, or use a model with a text encoder (such as clip-b32)"
    )]
    NoText { model: String },
    /// The tokenizer failed on a text.
    #[error("this model cannot read the text: {problem}")]
    Text {
        /// The problem of the text or of the model's tokenizer.
        problem: String,
    },
    /// The network panicked on a batch; the engine continues.
    #[error("the network failed on a batch of {batch_images}: {problem}")]
    Network {
        batch_images: usize,
        problem: String,
    },
    /// No device is left: on each, the network also failed on the trial image, which had succeeded at
    /// the start, so the images are not the cause.
    #[error("the device no longer works: {problem}")]
    Broken {
        /// The error of the batch.
        problem: String,
    },
    /// The network returned something other than a unit vector.
    #[error("the network returned an unusable vector: {problem}")]
    BadVector { problem: String },
    #[error("the engine has stopped")]
    Stopped,
}
