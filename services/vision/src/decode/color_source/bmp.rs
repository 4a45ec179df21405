//! Finds the profile of a BMP.

use crate::decode::encoding::SourceProfile;

/// Begin of the header after the file's own header of 14 bytes.
const HEADER_AT: usize = 14;
/// Length of the fifth version of the header, the first that can name a profile.
const V5_HEADER_BYTES: u32 = 124;
/// "MBED" as a little-endian number: the profile is in the file.
const PROFILE_EMBEDDED: u32 = 0x4d42_4544;

/// Returns the embedded profile of a BMP with a header of version 5.
pub(crate) fn read_bmp_profile(bytes: &[u8]) -> SourceProfile {
    find_profile(bytes).map_or(SourceProfile::Srgb, |profile| {
        SourceProfile::Icc(profile.to_vec())
    })
}

fn find_profile(bytes: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| -> Option<u32> {
        let bytes = bytes.get(HEADER_AT + at..HEADER_AT + at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if number(0)? < V5_HEADER_BYTES || number(56)? != PROFILE_EMBEDDED {
        return None;
    }
    let begin = HEADER_AT + usize::try_from(number(112)?).ok()?;
    let length = usize::try_from(number(116)?).ok()?;
    bytes.get(begin..begin.checked_add(length)?)
}
