//! Shows transparent pictures over a ground that lets them be seen.
//!
//! The ground is white, as in browsers, file managers and on paper, so a transparent picture equals
//! its copy that was flattened on white. What is itself nearly white (white logos and captions) would
//! disappear, so it is shown over a dark ground.
//!
//! A drawing is visible on white if enough of it is not nearly white, or if enough of its outline is
//! not. The outline matters because a white figure with a dark contour is well visible on white, and a
//! page of text with transparent corners should stay a white page.

use image::{DynamicImage, RgbImage, RgbaImage};

const WHITE: u8 = 255;
/// Dark enough for anything that is nearly white, and black details are still visible on it.
const DARK: u8 = 48;

/// The least share of the drawn area that must be visible on white, in percent.
const MIN_VISIBLE_AREA_PERCENT: u64 = 10;
/// The least share of the outline that must be visible on white, in percent.
const MIN_VISIBLE_OUTLINE_PERCENT: u64 = 25;

/// Colours that differ from white by no more than this in any channel are invisible on it.
const INVISIBLE_CONTRAST: u8 = 24;
/// Colours that differ by at least this much more are clearly visible; between both, partly.
const CONTRAST_RAMP: u8 = 48;

/// Returns the picture without alpha. Colours of fully transparent pixels have no influence.
pub(super) fn flatten_over_ground(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    if rgba.chunks_exact(4).all(|pixel| pixel[3] == 255) {
        return DynamicImage::ImageRgba8(rgba).into_rgb8();
    }
    let ground = choose_ground(&rgba);
    let rgb = rgba
        .chunks_exact(4)
        .flat_map(|pixel| blend_over(pixel, ground))
        .collect();
    RgbImage::from_raw(rgba.width(), rgba.height(), rgb)
        .expect("three samples were collected for each pixel")
}

/// Removes an alpha channel that is zero everywhere.
pub(super) fn drop_unused_alpha(image: DynamicImage) -> DynamicImage {
    match image {
        DynamicImage::ImageRgba8(rgba) if rgba.chunks_exact(4).all(|pixel| pixel[3] == 0) => {
            DynamicImage::ImageRgba8(rgba).into_rgb8().into()
        }
        DynamicImage::ImageLumaA8(gray) if gray.chunks_exact(2).all(|pixel| pixel[1] == 0) => {
            DynamicImage::ImageLumaA8(gray).into_luma8().into()
        }
        image => image,
    }
}

/// Returns whether a viewer sees a single colour, whatever the ground. Colours may differ by
/// `tolerance` in each channel, as lossy formats make them.
pub(crate) fn is_one_color(image: &DynamicImage, tolerance: u8) -> bool {
    if let Some(rgb) = image.as_rgb8() {
        return is_even(rgb.pixels().map(|pixel| pixel.0), tolerance);
    }
    let converted;
    let rgba = match image.as_rgba8() {
        Some(rgba) => rgba,
        None => {
            converted = image.to_rgba8();
            &converted
        }
    };
    [WHITE, DARK].into_iter().all(|ground| {
        let pixels = rgba.chunks_exact(4);
        is_even(pixels.map(|pixel| blend_over(pixel, ground)), tolerance)
    })
}

fn is_even(mut pixels: impl Iterator<Item = [u8; 3]>, tolerance: u8) -> bool {
    let (mut lowest, mut highest) = ([255; 3], [0; 3]);
    pixels.all(|pixel| {
        (0..3).all(|channel| {
            lowest[channel] = pixel[channel].min(lowest[channel]);
            highest[channel] = pixel[channel].max(highest[channel]);
            highest[channel] - lowest[channel] <= tolerance
        })
    })
}

fn blend_over(rgba: &[u8], ground: u8) -> [u8; 3] {
    let alpha = u32::from(rgba[3]);
    let ground = u32::from(ground) * (255 - alpha) + 127;
    [rgba[0], rgba[1], rgba[2]].map(|color| ((u32::from(color) * alpha + ground) / 255) as u8)
}

fn choose_ground(rgba: &RgbaImage) -> u8 {
    let row_bytes = rgba.width() as usize * 4;
    let (mut area, mut visible_area) = (0_u64, 0_u64);
    let (mut outline, mut visible_outline) = (0_u64, 0_u64);
    let mut add_outline = |pixel: &[u8], neighbour: &[u8]| {
        let weight = u64::from(pixel[3].abs_diff(neighbour[3]));
        if weight > 0 {
            let drawn = if pixel[3] > neighbour[3] {
                pixel
            } else {
                neighbour
            };
            outline += weight;
            visible_outline += weight * visibility_on_white(drawn);
        }
    };
    let mut above: Option<&[u8]> = None;
    for row in rgba.chunks_exact(row_bytes.max(4)) {
        for pixel in row.chunks_exact(4) {
            let weight = u64::from(pixel[3]);
            area += weight;
            visible_area += weight * visibility_on_white(pixel);
        }
        for (left, pixel) in row.chunks_exact(4).zip(row.chunks_exact(4).skip(1)) {
            add_outline(pixel, left);
        }
        if let Some(above) = above {
            for (above, pixel) in above.chunks_exact(4).zip(row.chunks_exact(4)) {
                add_outline(pixel, above);
            }
        }
        above = Some(row);
    }
    let is_visible = |visible: u64, drawn: u64, percent: u64| {
        visible * 100 >= drawn * u64::from(CONTRAST_RAMP) * percent
    };
    let is_area_visible = is_visible(visible_area, area, MIN_VISIBLE_AREA_PERCENT);
    let is_outline_visible =
        outline > 0 && is_visible(visible_outline, outline, MIN_VISIBLE_OUTLINE_PERCENT);
    if is_area_visible || is_outline_visible {
        WHITE
    } else {
        DARK
    }
}

/// Returns how visible a colour is on white, from 0 to [`CONTRAST_RAMP`].
fn visibility_on_white(pixel: &[u8]) -> u64 {
    let darkest = pixel[0].min(pixel[1]).min(pixel[2]);
    let contrast = (255 - darkest).saturating_sub(INVISIBLE_CONTRAST);
    u64::from(contrast.min(CONTRAST_RAMP))
}
