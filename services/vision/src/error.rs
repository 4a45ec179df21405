//! What can go wrong with a file ([`DecodeError`]) and with a model or its device ([`Error`]).
//!
//! A [`DecodeError`] is about somebody's file: it never passes by trying again, and its
//! [`code`](DecodeError::code) comes from the fixed list [`CODES`]. An [`Error`] is about our own
//! side: settings, weights, the device.

use std::path::PathBuf;

/// Every code that [`DecodeError::code`] can give, in the order of the checks.
///
/// | code | meaning |
/// | --- | --- |
/// | `empty` | no bytes at all |
/// | `too_large` | more bytes than `max_file_bytes` |
/// | `not_an_image` | begins like no image format that is known |
/// | `unsupported_format` | an image of a kind that this build does not read (HEIC, SVG, …) |
/// | `unsupported_feature` | a format that is read, but with something that is not (arithmetic JPEG, …) |
/// | `too_many_pixels` | claims more pixels, or a longer side, than the limits allow |
/// | `too_much_memory` | decoding would need more memory than `max_decode_bytes` |
/// | `truncated` | ends before the picture does |
/// | `corrupt` | breaks the rules of its format |
/// | `too_slow` | decoding did not end within `decode_timeout` |
/// | `decoder_panic` | brought the decoder down; only this file is affected |
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

/// Why a file is no picture for us. The same bytes always fail the same way (too slow is decided by
/// the time of a processor, so only a faster one changes that).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file is longer than the limit, in bytes.
    #[error("the file has {bytes} bytes; at most {max_bytes} are read")]
    TooLarge {
        /// Length of the file in bytes.
        bytes: u64,
        /// `max_file_bytes` of the settings.
        max_bytes: u64,
    },
    /// The first bytes belong to no image format.
    #[error("the file is not an image: it begins like no image format that is known")]
    NotAnImage,
    /// An image, but of a format that is not read.
    #[error("{format} images are not supported")]
    UnsupportedFormat {
        /// The format's usual name.
        format: &'static str,
    },
    /// A supported format with a feature that no decoder here has.
    #[error("this {format} image can not be read: {reason}")]
    UnsupportedFeature {
        /// The format's usual name.
        format: &'static str,
        /// The feature, in the decoder's words.
        reason: String,
    },
    /// Width, height or their product exceed the limits.
    #[error(
        "the image claims to be {width} x {height} pixels; at most {max_pixels} pixels and {max_side} a side are decoded"
    )]
    TooManyPixels {
        /// Claimed width in pixels.
        width: u32,
        /// Claimed height in pixels.
        height: u32,
        /// `max_pixels` of the settings.
        max_pixels: u64,
        /// `max_side` of the settings.
        max_side: u32,
    },
    /// The decoder would need more memory than allowed, in bytes.
    #[error("decoding needs more memory than the {max_bytes} bytes that are allowed")]
    TooMuchMemory {
        /// `max_decode_bytes` of the settings.
        max_bytes: u64,
    },
    /// The file ends before the picture does.
    #[error("the {format} image is cut short: {reason}")]
    Truncated {
        /// The format's usual name.
        format: &'static str,
        /// Where it ended, in the decoder's words.
        reason: String,
    },
    /// The file breaks the rules of its format.
    #[error("the {format} image is damaged: {reason}")]
    Corrupt {
        /// The format's usual name.
        format: &'static str,
        /// The rule, in the decoder's words.
        reason: String,
    },
    /// Decoding took too long.
    #[error("decoding took longer than the {max:?} that are allowed")]
    TooSlow {
        /// `decode_timeout` of the settings.
        max: std::time::Duration,
    },
    /// A decoder panicked on this file.
    #[error("the {format} decoder failed on this file: {reason}")]
    DecoderPanic {
        /// The format's usual name.
        format: &'static str,
        /// The panic's message.
        reason: String,
    },
}

impl DecodeError {
    /// A stable name of the kind of failure, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::NotAnImage => "not_an_image",
            Self::UnsupportedFormat { .. } => "unsupported_format",
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

/// What can go wrong with a model, its device or a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a known name nor a folder.
    #[error(
        "there is no model {name:?}{hint}; known are {known}, and a folder with a description (.json) and weights (.safetensors) can be given too"
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// A name like it, in words; or nothing.
        hint: String,
        /// The known names.
        known: String,
    },
    /// A model that is known by name, but whose weights are not part of lookalike.
    #[error(
        "the weights of {name:?} are not here: `lookalike models fetch {name}` downloads them; or give a folder with its files (model.safetensors and config.json as on the model's hub page) as the model"
    )]
    WeightsNotBundled {
        /// The model's name.
        name: String,
    },
    /// A file of a model could not be read.
    #[error("can not read {path}")]
    ReadModel {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A model folder lacks something, or has too much of it.
    #[error("the model folder {path} {problem}")]
    ModelFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The description is not as it must be.
    #[error("the model description {origin} can not be used: {problem}")]
    Description {
        /// File or name of the bundled model.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The weights are not those that the description names.
    #[error(
        "the weights of {model} have the SHA-256 {found}, but must have {expected}: they were changed or damaged and are not used; put the right file back, or fetch the model again (`lookalike models fetch NAME`)"
    )]
    Checksum {
        /// The model's name.
        model: String,
        /// From the description.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The weights are not as the network needs them.
    #[error("the weights of {model} can not be used: {problem}")]
    Weights {
        /// The model's name.
        model: String,
        /// What is wrong with them.
        problem: String,
    },
    /// The device that the settings name is not to be had.
    #[error("device {device:?} is not available: {problem}")]
    Device {
        /// As in the settings.
        device: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The device thread could not be started.
    #[error("can not start the device thread")]
    StartThread(#[source] std::io::Error),
    /// The trial run at start failed.
    #[error("the network does not work on this device: {problem}")]
    Warmup {
        /// What the trial run gave.
        problem: String,
    },
    /// The golden picture became another vector than these weights make of it.
    #[error(
        "{model} on {device} makes another vector of the golden picture than it must (cosine {cosine:.6}, at least {least} is needed): a driver, the device or a change of the network moved it, and vectors like this would corrupt an index. Start with another device (--device cpu), or update the driver; nothing was written",
        least = crate::model::golden::MIN_GOLDEN_COSINE
    )]
    Golden {
        /// The model's name.
        model: String,
        /// The device, in words.
        device: String,
        /// How near it came.
        cosine: f64,
    },
    /// An input has not the length that the model's preprocessing gives.
    #[error("an input has {found} bytes; {model} takes {expected} (8-bit RGB, {side} x {side})")]
    WrongInput {
        /// The model's name.
        model: String,
        /// Bytes of the input.
        found: usize,
        /// Bytes that the model takes.
        expected: usize,
        /// The model's input side in pixels.
        side: u32,
    },
    /// Words were to be embedded by a model that only knows pictures.
    #[error(
        "{model} has no text side: search with a picture, or use a model that has one (as clip-b32)"
    )]
    NoText {
        /// The model's name.
        model: String,
    },
    /// A text could not be split into tokens.
    #[error("the text can not be read by this model: {problem}")]
    Text {
        /// What is wrong with it, or with the model's tokenizer.
        problem: String,
    },
    /// The network panicked on a batch; the engine goes on.
    #[error("the network failed on a batch of {batch_images}: {problem}")]
    Network {
        /// Images in the batch.
        batch_images: usize,
        /// The panic's message.
        problem: String,
    },
    /// The network failed on the trial picture too, with which it had started well: whatever is
    /// wrong is not about a picture.
    #[error("the device does not work any more: {problem}")]
    Broken {
        /// What the picture's run gave.
        problem: String,
    },
    /// The network gave something that is no unit vector.
    #[error("the network gave a vector that can not be used: {problem}")]
    BadVector {
        /// What is wrong with it.
        problem: String,
    },
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

impl Error {
    /// [`Error::UnknownModel`] with what is known instead.
    pub(crate) fn unknown_model(name: String) -> Self {
        let hint = crate::model::registry::closest_name(&name)
            .map(|like| format!(" (did you mean {like:?}?)"))
            .unwrap_or_default();
        Self::UnknownModel {
            name,
            hint,
            known: crate::model::registry::join_names(),
        }
    }
}
