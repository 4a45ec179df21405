//! Finds the colour space of a PNG, and whether it is animated.
//!
//! A PNG has four ways to state its colours. They are used in the order of the standard (PNG, third
//! edition, section 13.13): `cICP`, `iCCP`, `sRGB`, then `gAMA` with `cHRM`.

use std::borrow::Cow;

use crate::decode::{
    appearance::MAX_PROFILE_BYTES, encoding::SourceProfile, png_chunks::list_header_chunks,
};

/// Returns the colour space that the file states.
pub(crate) fn read_png_profile(bytes: &[u8]) -> SourceProfile {
    let (mut coded, mut icc, mut is_srgb) = (None, None, false);
    let (mut gamma, mut primaries) = (None, None);
    let mut has_profile = false;
    for chunk in list_header_chunks(bytes) {
        let data = chunk.data;
        match chunk.name {
            b"cICP" => coded = coded.or_else(|| read_coded_colors(data)),
            // Only the first one counts, so that a file cannot have thousands of them inflated.
            b"iCCP" if !has_profile => {
                has_profile = true;
                icc = inflate_profile(data).ok().flatten();
            }
            b"sRGB" => is_srgb = true,
            b"gAMA" => gamma = gamma.or_else(|| read_gamma(data)),
            b"cHRM" => primaries = primaries.or_else(|| read_primaries(data)),
            _ => {}
        }
    }
    if let Some(coded) = coded {
        return coded;
    }
    match (icc, is_srgb, gamma) {
        (Some(icc), _, _) => SourceProfile::Icc(icc),
        (None, false, Some(exponent)) => SourceProfile::Gamma {
            exponent,
            primaries,
        },
        _ => SourceProfile::Srgb,
    }
}

/// Returns the file without `iCCP` chunks after the first one, and without that if it inflates to more
/// than a profile may have. The decoder inflates the first chunk with a right checksum up to its limit
/// for a whole picture, without a reservation of that memory.
pub(crate) fn remove_oversized_profile(bytes: &[u8]) -> Cow<'_, [u8]> {
    let profiles = || list_header_chunks(bytes).filter(|chunk| chunk.name == b"iCCP");
    let keeps_first = profiles()
        .next()
        .is_some_and(|chunk| inflate_profile(chunk.data).is_ok());
    let mut removed = profiles().skip(usize::from(keeps_first)).peekable();
    if removed.peek().is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut kept = Vec::with_capacity(bytes.len());
    let mut end = 0;
    for chunk in removed {
        kept.extend_from_slice(&bytes[end..chunk.place.start]);
        // The last checksum may be cut off.
        end = chunk.place.end.min(bytes.len());
    }
    kept.extend_from_slice(&bytes[end..]);
    Cow::Owned(kept)
}

/// The profile inflates to more than [`MAX_PROFILE_BYTES`].
struct OversizedProfile;

/// Returns the profile, or `None` if it is damaged.
fn inflate_profile(data: &[u8]) -> Result<Option<Vec<u8>>, OversizedProfile> {
    // A name of 1 to 79 bytes, a zero, and the method, which is zero.
    let name_end = data.iter().take(80).position(|byte| *byte == 0);
    let Some(compressed) = name_end.and_then(|end| data.get(end + 2..)) else {
        return Ok(None);
    };
    match fdeflate::decompress_to_vec_bounded(compressed, MAX_PROFILE_BYTES) {
        Ok(profile) => Ok(Some(profile)),
        Err(fdeflate::BoundedDecompressionError::OutputTooLarge { .. }) => Err(OversizedProfile),
        Err(fdeflate::BoundedDecompressionError::DecompressionError { .. }) => Ok(None),
    }
}

fn read_coded_colors(data: &[u8]) -> Option<SourceProfile> {
    match *data {
        // Only whole ranges of RGB are stored in practice. The numbers above 15 are for high dynamic
        // range, for which other chunks have a fallback.
        [primaries, transfer @ 0..=15, 0, 1] => Some(SourceProfile::Coded {
            primaries,
            transfer,
        }),
        _ => None,
    }
}

/// Returns the exponent that makes samples linear.
fn read_gamma(data: &[u8]) -> Option<f32> {
    let stored = u32::from_be_bytes(data.try_into().ok()?);
    (stored > 0).then(|| 100_000.0 / stored as f32)
}

fn read_primaries(data: &[u8]) -> Option<[f32; 8]> {
    if data.len() != 32 {
        return None;
    }
    let mut primaries = [0.0; 8];
    for (number, bytes) in primaries.iter_mut().zip(data.chunks_exact(4)) {
        *number = u32::from_be_bytes(bytes.try_into().ok()?) as f32 / 100_000.0;
    }
    Some(primaries)
}

/// How a PNG is animated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PngAnimation {
    None,
    /// The first frame is the picture that programs without animation show.
    StartsWithPicture,
    /// The picture for programs without animation is not part of the animation.
    SeparatePicture,
}

pub(crate) fn read_animation(bytes: &[u8]) -> PngAnimation {
    let (mut is_animated, mut has_frame) = (false, false);
    for chunk in list_header_chunks(bytes) {
        is_animated |= chunk.name == b"acTL";
        has_frame |= chunk.name == b"fcTL";
    }
    match (is_animated, has_frame) {
        (false, _) => PngAnimation::None,
        (true, true) => PngAnimation::StartsWithPicture,
        (true, false) => PngAnimation::SeparatePicture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE_BYTES: usize = 8;

    fn make_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], name, data, &[0; 4]].concat()
    }

    /// Returns a profile chunk whose data inflates to this many bytes.
    fn make_profile(bytes: usize) -> Vec<u8> {
        let compressed = fdeflate::compress_to_vec(&vec![7; bytes]);
        make_chunk(b"iCCP", &[b"name\0\0", &compressed[..]].concat())
    }

    #[test]
    fn oversized_profiles_are_removed_together() {
        let oversized = make_profile(MAX_PROFILE_BYTES + 1);
        let rest = [make_chunk(b"gAMA", &[0; 4]), make_chunk(b"IDAT", &[1; 9])].concat();
        let signature = [0; SIGNATURE_BYTES];
        let file = [&signature[..], &oversized, &oversized, &rest].concat();
        assert_eq!(
            *remove_oversized_profile(&file),
            [&signature[..], &rest].concat()
        );
        let small = make_profile(50);
        let doubled = [&signature[..], &small, &oversized, &rest].concat();
        let small = [&signature[..], &small, &rest].concat();
        assert_eq!(*remove_oversized_profile(&doubled), small);
        assert!(matches!(remove_oversized_profile(&small), Cow::Borrowed(_)));
        // The file ends within the checksum of a removed chunk.
        let cut = &[&signature[..], &oversized].concat();
        assert_eq!(*remove_oversized_profile(&cut[..cut.len() - 3]), signature);
    }

    #[test]
    fn only_the_first_profile_counts() {
        let damaged = make_chunk(b"iCCP", b"name\0\0damaged");
        let file = [&[0; SIGNATURE_BYTES][..], &damaged, &make_profile(50)].concat();
        assert!(matches!(read_png_profile(&file), SourceProfile::Srgb));
    }
}
