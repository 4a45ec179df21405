//! Finds the colour space of a JPEG XL picture.

use jxl::api::{
    JxlColorEncoding, JxlColorProfile, JxlPrimaries, JxlTransferFunction, JxlWhitePoint,
};

use super::problems::unsupported;
use crate::decode::encoding::SourceProfile;
use crate::error::DecodeError;

/// Returns what the decoder's samples mean.
pub(crate) fn read_profile(profile: &JxlColorProfile) -> Result<SourceProfile, DecodeError> {
    if profile.channels() > 3 {
        return Err(unsupported("its colours are CMYK"));
    }
    let encoding = match profile {
        JxlColorProfile::Icc(profile) => return Ok(SourceProfile::Icc(profile.clone())),
        JxlColorProfile::Simple(JxlColorEncoding::XYB { .. }) => {
            return Err(unsupported("its colours are XYB without a conversion"));
        }
        JxlColorProfile::Simple(encoding) => encoding,
    };
    let (primaries, transfer) = match encoding {
        JxlColorEncoding::RgbColorSpace {
            white_point: JxlWhitePoint::D65,
            primaries,
            transfer_function,
            ..
        } => (code_of_primaries(primaries), transfer_function),
        JxlColorEncoding::GrayscaleColorSpace {
            white_point: JxlWhitePoint::D65,
            transfer_function,
            ..
        } => (Some(1), transfer_function),
        _ => (None, &JxlTransferFunction::DCI),
    };
    // Viewers show the camera curve of television as they show sRGB.
    let transfer = match transfer {
        JxlTransferFunction::SRGB | JxlTransferFunction::BT709 => Some(13),
        JxlTransferFunction::Linear => Some(8),
        _ => None,
    };
    match (primaries, transfer) {
        (Some(1), Some(13)) => Ok(SourceProfile::Srgb),
        (Some(primaries), Some(transfer)) => Ok(SourceProfile::Coded {
            primaries,
            transfer,
        }),
        // The profile of a picture with high dynamic range maps its tones.
        _ => match encoding.maybe_create_profile() {
            Ok(Some(profile)) => Ok(SourceProfile::Icc(profile)),
            _ => Ok(SourceProfile::Srgb),
        },
    }
}

/// Returns the number of ITU-T H.273.
fn code_of_primaries(primaries: &JxlPrimaries) -> Option<u8> {
    match primaries {
        JxlPrimaries::SRGB => Some(1),
        JxlPrimaries::BT2100 => Some(9),
        JxlPrimaries::P3 => Some(12),
        JxlPrimaries::Chromaticities { .. } => None,
    }
}
