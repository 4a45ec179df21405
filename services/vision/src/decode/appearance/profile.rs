//! Opens the colour profile of a file.
//!
//! A profile is not trusted. It is ignored, and the picture is read as sRGB, if it is damaged, larger
//! than [`MAX_PROFILE_BYTES`], or made for other pixels (a CMYK profile in an RGB file). Viewers do the
//! same: the pixels are good, and a picture with slightly wrong colours is better than none.

use std::panic::AssertUnwindSafe;

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile,
    MatrixCoefficients, ParsingOptions, ToneReprCurve, TransferCharacteristics, XyY, Xyzd,
};

use crate::decode::encoding::SourceProfile;

/// The largest profile that is read. Profiles of screens and cameras have a few kilobytes, those of
/// printers up to about three megabytes.
pub(crate) const MAX_PROFILE_BYTES: usize = 4 << 20;

const HEADER_BYTES: usize = 128;
const TAG_BYTES: usize = 12;
/// Real profiles have about 20 tags.
const MAX_TAGS: usize = 200;

/// The tags that determine colours. Others are not read: they would cost time (the tables for
/// printing are the largest part of a profile), and a damaged text must not cost the colours.
const COLOR_TAGS: [&[u8; 4]; 7] = [
    b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC",
];
/// The tables from the device's colours, in order of preference; the perceptual one is what viewers
/// use for photos.
const TABLE_TAGS: [&[u8; 4]; 3] = [b"A2B0", b"A2B1", b"A2B2"];

/// Returns the profile, or `None` if there is nothing to convert or the profile cannot be used.
pub(super) fn open_profile(source: &SourceProfile) -> Option<ColorProfile> {
    match source {
        SourceProfile::Srgb => None,
        SourceProfile::Icc(bytes) => parse_icc_profile(bytes),
        SourceProfile::Gamma {
            exponent,
            primaries,
        } => build_gamma_profile(*exponent, *primaries),
        SourceProfile::Coded {
            primaries,
            transfer,
        } => build_coded_profile(*primaries, *transfer),
    }
}

fn parse_icc_profile(bytes: &[u8]) -> Option<ColorProfile> {
    if bytes.len() > MAX_PROFILE_BYTES {
        return None;
    }
    let reduced = keep_color_tags(bytes)?;
    // Unwind safe: the closure only reads the bytes.
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        let options = ParsingOptions {
            max_profile_size: 2 * MAX_PROFILE_BYTES,
            ..ParsingOptions::default()
        };
        let profile = ColorProfile::new_from_slice_with_options(&reduced, options).ok()?;
        (!is_srgb(&profile)).then_some(profile)
    }))
    .ok()?
}

/// Returns whether this is sRGB, as most profiles in photos are. To find it here saves the tables that a
/// transform needs: 0.2 ms, a tenth of what a small photo takes.
fn is_srgb(profile: &ColorProfile) -> bool {
    if !profile.is_matrix_shaper() || profile.lut_a_to_b_perceptual.is_some() {
        return false;
    }
    let srgb = ColorProfile::new_srgb();
    let is_near = |first: Xyzd, second: Xyzd| {
        [first.x - second.x, first.y - second.y, first.z - second.z]
            .into_iter()
            .all(|difference| difference.abs() < 0.002)
    };
    is_near(profile.red_colorant, srgb.red_colorant)
        && is_near(profile.green_colorant, srgb.green_colorant)
        && is_near(profile.blue_colorant, srgb.blue_colorant)
        && [&profile.red_trc, &profile.green_trc, &profile.blue_trc]
            .into_iter()
            .flatten()
            .all(is_srgb_curve)
}

/// Returns whether a curve differs from that of sRGB by at most two of 255 levels.
fn is_srgb_curve(curve: &ToneReprCurve) -> bool {
    const STEPS: u16 = 32;
    let encode = |linear: f32| match linear {
        ..=0.003_130_8 => linear * 12.92,
        _ => 1.055 * linear.powf(1.0 / 2.4) - 0.055,
    };
    curve.make_linear_evaluator().is_ok_and(|curve| {
        (0..=STEPS).all(|step| {
            let sample = f32::from(step) / f32::from(STEPS);
            (encode(curve.evaluate_value(sample)) - sample).abs() <= 2.0 / 255.0
        })
    })
}

/// Returns a copy of the profile whose table of tags has only the tags that determine colours. The
/// data of the tags stays where it is.
fn keep_color_tags(bytes: &[u8]) -> Option<Vec<u8>> {
    let count = bytes.get(HEADER_BYTES..HEADER_BYTES + 4)?;
    let count = u32::from_be_bytes(count.try_into().ok()?);
    let count = usize::try_from(count).ok()?.min(MAX_TAGS);
    let table_at = HEADER_BYTES + 4;
    let table = bytes.get(table_at..table_at + count * TAG_BYTES)?;
    let entries = || table.chunks_exact(TAG_BYTES);
    let mut kept: Vec<&[u8]> = entries()
        .filter(|entry| COLOR_TAGS.iter().any(|tag| entry.starts_with(&tag[..])))
        .collect();
    let conversion = TABLE_TAGS
        .iter()
        .find_map(|tag| entries().find(|entry| entry.starts_with(&tag[..])));
    // The parser reads only the perceptual table; another one is renamed.
    let renamed = conversion.map(|entry| [&TABLE_TAGS[0][..], &entry[4..]].concat());
    kept.extend(renamed.as_deref());
    let mut reduced = bytes.to_vec();
    reduced[HEADER_BYTES..table_at].copy_from_slice(&u32::try_from(kept.len()).ok()?.to_be_bytes());
    for (place, entry) in reduced[table_at..].chunks_exact_mut(TAG_BYTES).zip(kept) {
        place.copy_from_slice(entry);
    }
    Some(reduced)
}

fn build_gamma_profile(exponent: f32, primaries: Option<[f32; 8]>) -> Option<ColorProfile> {
    // Values beyond are mistakes of old programs. 1 is linear light.
    if !(0.2..=5.0).contains(&exponent) {
        return None;
    }
    let mut profile = ColorProfile::new_srgb();
    profile.cicp = None;
    if let Some(
        [
            white_x,
            white_y,
            red_x,
            red_y,
            green_x,
            green_y,
            blue_x,
            blue_y,
        ],
    ) = primaries
    {
        let ys = [white_y, red_y, green_y, blue_y];
        if ys.iter().any(|y| !(0.001..=1.0).contains(y)) {
            return None;
        }
        profile.update_rgb_colorimetry(
            XyY::new(white_x.into(), white_y.into(), 1.0),
            ColorPrimaries {
                red: Chromaticity::new(red_x, red_y),
                green: Chromaticity::new(green_x, green_y),
                blue: Chromaticity::new(blue_x, blue_y),
            },
        );
    }
    // 1/2.2 is what programs write for sRGB; its curve differs only in the darkest tones.
    if (exponent - 2.2).abs() > 0.02 {
        let curve = ToneReprCurve::Parametric(vec![exponent]);
        profile.red_trc = Some(curve.clone());
        profile.green_trc = Some(curve.clone());
        profile.blue_trc = Some(curve);
    }
    Some(profile)
}

/// Builds a profile from the numbers of ITU-T H.273. Those for high dynamic range are not used: they
/// need tone mapping, and without it the picture would be nearly black.
fn build_coded_profile(primaries: u8, transfer: u8) -> Option<ColorProfile> {
    let transfer = match transfer {
        // Viewers show the camera curves of television as they show sRGB.
        1 | 6 | 13 | 14 | 15 => TransferCharacteristics::Srgb,
        4 => TransferCharacteristics::Bt470M,
        5 => TransferCharacteristics::Bt470Bg,
        8 => TransferCharacteristics::Linear,
        _ => return None,
    };
    let primaries = match primaries {
        1 | 4..=9 | 11 | 12 | 22 => CicpColorPrimaries::try_from(primaries).ok()?,
        _ => return None,
    };
    let profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: primaries,
        transfer_characteristics: transfer,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    });
    profile.is_matrix_shaper().then_some(profile)
}
