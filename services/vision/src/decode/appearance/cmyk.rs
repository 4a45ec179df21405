//! Converts the inks of printing to sRGB.

use moxcms::{DataColorSpace, Layout};

use super::{
    convert::{SampleTransform, convert_chunks, create_useful_transform},
    profile::open_profile,
};
use crate::decode::{deadline::CpuDeadline, encoding::SourceProfile};
use crate::error::DecodeError;

/// Converts CMYK pixels with the profile of their file.
pub(crate) struct CmykConverter {
    transform: SampleTransform<u8>,
}

impl CmykConverter {
    /// Returns `None` if the profile is not for CMYK or cannot be used. A simple formula has to do
    /// then.
    pub(crate) fn open(source: &SourceProfile) -> Option<Self> {
        let profile = open_profile(source)?;
        if profile.color_space != DataColorSpace::Cmyk {
            return None;
        }
        // The layout of four inks is the one of RGBA.
        let transform = create_useful_transform(&profile, Layout::Rgba, Layout::Rgb)?;
        Some(Self { transform })
    }

    /// Returns 8-bit RGB for pixels of four samples, of which 255 means full ink.
    ///
    /// # Errors
    /// Fails only if the time for the decode is over.
    pub(crate) fn convert_to_srgb(
        &self,
        inks: &[u8],
        deadline: &CpuDeadline<'_>,
    ) -> Result<Vec<u8>, DecodeError> {
        convert_chunks(inks, 4, 3, &*self.transform, deadline)
    }
}
