//! Names the main colours of an image with the eleven basic colour terms of English.
//!
//! The names serve as a search filter ("something red"), so they follow everyday use instead of
//! colorimetry.

use crate::decode::decoded::DecodedImage;

/// Every value of [`DecodedAttributes::colors`](crate::DecodedAttributes::colors).
pub const COLOR_TERMS: [&str; 11] = [
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
];

/// The least share of the image that a colour must cover to be named.
const MIN_SHARE: f32 = 0.15;
/// Colours that one image has at most.
pub const MAX_COLOR_NAMES: usize = 3;
/// Approximate number of pixels that are sampled, on a grid.
const SAMPLE_PIXELS: u32 = 4096;

/// Returns up to three terms with a share of at least 15 %, largest first.
pub(crate) fn name_colors(image: &DecodedImage) -> Vec<String> {
    let pixels = u64::from(image.width) * u64::from(image.height);
    let step = ((pixels / u64::from(SAMPLE_PIXELS)) as f64).sqrt().max(1.0) as usize;
    let mut counts = [0_u32; COLOR_TERMS.len()];
    let mut sampled_pixels = 0;
    for y in (step / 2..image.height as usize).step_by(step) {
        let row = &image.rgb[y * image.width as usize * 3..][..image.width as usize * 3];
        for pixel in row.chunks_exact(3).skip(step / 2).step_by(step) {
            counts[color_term_index(pixel[0], pixel[1], pixel[2])] += 1;
            sampled_pixels += 1;
        }
    }
    let mut named: Vec<(u32, &str)> = counts
        .into_iter()
        .zip(COLOR_TERMS)
        .filter(|(count, _)| *count as f32 >= MIN_SHARE * sampled_pixels as f32 && *count > 0)
        .collect();
    named.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    named
        .into_iter()
        .take(MAX_COLOR_NAMES)
        .map(|(_, term)| term.to_owned())
        .collect()
}

/// Returns the index into [`COLOR_TERMS`].
fn color_term_index(r: u8, g: u8, b: u8) -> usize {
    let [r, g, b] = [r, g, b].map(|value| f32::from(value) / 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    let saturation = if max > 0.0 { chroma / max } else { 0.0 };
    if max < 0.16 {
        return 0;
    }
    if saturation < 0.14 || chroma < 0.08 {
        return match max {
            0.86.. => 1,
            0.25.. => 2,
            _ => 0,
        };
    }
    let hue = 60.0
        * if max == r {
            ((g - b) / chroma).rem_euclid(6.0)
        } else if max == g {
            (b - r) / chroma + 2.0
        } else {
            (r - g) / chroma + 4.0
        };
    match hue {
        ..15.0 | 340.0.. if saturation < 0.5 && max > 0.7 => 9,
        ..15.0 | 345.0.. if max < 0.4 && hue > 8.0 && hue < 180.0 => 10,
        ..15.0 | 345.0.. => 3,
        15.0..45.0 if max < 0.75 || saturation < 0.45 => 10,
        15.0..45.0 => 4,
        45.0..70.0 if max < 0.45 => 10,
        45.0..70.0 => 5,
        70.0..170.0 => 6,
        170.0..255.0 => 7,
        255.0..295.0 => 8,
        _ if max > 0.7 => 9,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_color_term(rgb: [u8; 3], expected: &str) {
        assert_eq!(
            COLOR_TERMS[color_term_index(rgb[0], rgb[1], rgb[2])],
            expected,
            "{rgb:?}"
        );
    }

    #[test]
    fn pure_colours_have_their_names() {
        check_color_term([0, 0, 0], "black");
        check_color_term([255, 255, 255], "white");
        check_color_term([128, 128, 128], "gray");
        check_color_term([220, 20, 20], "red");
        check_color_term([120, 10, 10], "red");
        check_color_term([255, 140, 0], "orange");
        check_color_term([255, 225, 30], "yellow");
        check_color_term([40, 160, 40], "green");
        check_color_term([30, 60, 200], "blue");
        check_color_term([120, 190, 235], "blue");
        check_color_term([110, 40, 160], "purple");
        check_color_term([255, 150, 190], "pink");
        check_color_term([255, 60, 180], "pink");
        check_color_term([120, 70, 30], "brown");
        check_color_term([200, 160, 120], "brown");
    }

    #[test]
    fn small_shares_are_not_named() {
        let mut rgb = [30, 60, 200].repeat(100 * 80);
        rgb.extend([220, 20, 20].repeat(100 * 20));
        rgb[..100 * 10 * 3].copy_from_slice(&[255; 100 * 10 * 3]);
        let image = DecodedImage {
            width: 100,
            height: 100,
            rgb,
        };
        assert_eq!(name_colors(&image), ["blue", "red"]);
    }
}
