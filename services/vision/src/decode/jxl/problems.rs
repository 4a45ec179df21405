//! The errors of JPEG XL files.

use jxl::error::Error as JxlError;

use crate::decode::limits::Limits;
use crate::error::{DecodeError, RaisedLimits};

pub(crate) const FORMAT: &str = "jxl";

pub(crate) fn unsupported(reason: &str) -> DecodeError {
    DecodeError::UnsupportedFeature {
        format: FORMAT,
        reason: reason.to_owned(),
    }
}

pub(crate) fn corrupt(reason: &str) -> DecodeError {
    DecodeError::Corrupt {
        format: FORMAT,
        reason: reason.to_owned(),
    }
}

pub(crate) fn truncated() -> DecodeError {
    DecodeError::Truncated {
        format: FORMAT,
        reason: "the file ends within the image data".to_owned(),
    }
}

pub(crate) fn classify_jxl_error(error: &JxlError, limits: &Limits) -> DecodeError {
    match error {
        JxlError::OutOfMemory(_) | JxlError::ImageOutOfMemory(..) => DecodeError::TooMuchMemory {
            max_bytes: limits.max_decode_bytes,
            raised: RaisedLimits::default(),
        },
        JxlError::ImageSizeTooLarge(..) => {
            unsupported("one of its layers is larger than the picture")
        }
        JxlError::LevelLimitExceeded { .. } => unsupported(&error.to_string()),
        JxlError::UnexpectedCodestreamBoxEnd => truncated(),
        _ => corrupt(&error.to_string()),
    }
}
