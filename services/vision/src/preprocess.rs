//! Converts an upright image to the square of pixels that a network takes, and resizes images.
//!
//! The short side is resized to the model's size by an antialiased convolution (like Pillow's), the
//! long side in proportion, or to the same size if the model requires that; then the middle is
//! cropped. Models whose long side is [`LongSide::Squeezed`] see all of a panorama. Only the pixels of the crop are computed: for the resampling filter, a crop of the result
//! equals a box in the source. The cost therefore stays small even for an image of 65,000 × 1.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use lookalike_chassis::metrics::STAGE_SECONDS;

use crate::{
    decode::decoded::DecodedImage,
    model::description::{CropOffset, Description, LongSide, Preprocessing, ResampleFilter},
    turn::PictureTurn,
};

/// Input of a network: `side * side * 3` bytes of 8-bit RGB, row by row from the top. The message
/// field `EmbedRequest.pixels` has the same content.
pub type Input = Box<[u8]>;

/// Resizes and crops an image as the model's description requires.
///
/// # Panics
/// Panics if the length of `image.rgb` is not `width * height * 3`, which never happens to images
/// from [`decode_image`](crate::decode_image).
pub fn preprocess_image(description: &Description, image: &DecodedImage) -> Input {
    preprocess_turned(description, image, PictureTurn::NONE)
}

/// Returns what [`preprocess_image`] would return for the image in another orientation. Only the pixels of
/// the input are turned, so it costs no more memory. If rows and columns are swapped, they are resampled in
/// the other order, which changes hard edges a little.
///
/// # Panics
/// As [`preprocess_image`].
pub fn preprocess_turned(
    description: &Description,
    image: &DecodedImage,
    turn: PictureTurn,
) -> Input {
    let _timer = STAGE_SECONDS
        .with_label_values(&["preprocess"])
        .start_timer();
    let preprocessing = &description.preprocessing;
    let [crop_width, crop_height] = preprocessing.crop;
    let [turned_width, turned_height] = turn.turn_size(image.width, image.height);
    let turned_box = find_source_box(preprocessing, turned_width, turned_height);
    let source_box = turn.find_upright_box(turned_box, image.width, image.height);
    let [width, height] = turn.turn_size(crop_width, crop_height);
    let filter = preprocessing.filter;
    let upright = resample_image(image, Some(source_box), width, height, filter);
    if turn == PictureTurn::NONE {
        return upright.into_boxed_slice();
    }
    turn.turn_pixels(&upright, width, height).into_boxed_slice()
}

/// Returns the part of a picture of this size that the network sees: left, top, width and height in pixels.
fn find_source_box(preprocessing: &Preprocessing, width: u32, height: u32) -> [f64; 4] {
    let [crop_width, crop_height] = preprocessing.crop;
    let short = width.min(height);
    // For each axis: offset and length of the crop, converted from resized to source pixels.
    let axis = |side: u32, crop: u32| {
        let resized = resized_side(
            side,
            short,
            preprocessing.resize_short_side,
            preprocessing.long_side,
        );
        let offset = crop_offset(resized, crop, preprocessing.crop_offset);
        let scale = f64::from(side) / f64::from(resized);
        (f64::from(offset) * scale, f64::from(crop) * scale)
    };
    let (left, box_width) = axis(width, crop_width);
    let (top, box_height) = axis(height, crop_height);
    let wholeness = wholeness(width.max(height), short);
    if preprocessing.long_side == LongSide::Squeezed && wholeness > 0.0 {
        let zoom = f64::from(crop_width) / f64::from(preprocessing.resize_short_side);
        return squeezed_box(width, height, zoom, wholeness);
    }
    [left, top, box_width, box_height]
}

/// Returns how much of what a crop would remove is kept: nothing up to a shape of 3:2, all from 3:1 on.
fn wholeness(long: u32, short: u32) -> f64 {
    let shape = f64::from(long) / f64::from(short);
    ((shape - 1.5) / 1.5).clamp(0.0, 1.0)
}

/// Returns the box in the middle that keeps this share of what the crop of an image of 3:2 removes. `zoom`
/// is the share of the short side that the crop keeps.
fn squeezed_box(width: u32, height: u32, zoom: f64, wholeness: f64) -> [f64; 4] {
    let (width, height) = (f64::from(width), f64::from(height));
    let kept = |share: f64| share + (1.0 - share) * wholeness;
    let (kept_long, kept_short) = (kept(zoom / 1.5), kept(zoom));
    let (kept_width, kept_height) = if width > height {
        (kept_long, kept_short)
    } else {
        (kept_short, kept_long)
    };
    [
        width * (1.0 - kept_width) / 2.0,
        height * (1.0 - kept_height) / 2.0,
        width * kept_width,
        height * kept_height,
    ]
}

/// Returns a side of the resized image in pixels; both sides follow from the short one.
fn resized_side(side: u32, short: u32, resize: u32, rule: LongSide) -> u32 {
    if side == short {
        return resize;
    }
    let side = match rule {
        // The order of operations and the rounding are those of Pillow and Python, so that no pixel
        // differs.
        LongSide::Round | LongSide::Squeezed => {
            (f64::from(side) * (f64::from(resize) / f64::from(short))).round_ties_even()
        }
        LongSide::Truncate => (f64::from(resize) * f64::from(side) / f64::from(short)).floor(),
        LongSide::Same => f64::from(resize),
    };
    (side as u32).max(resize)
}

fn crop_offset(side: u32, crop: u32, rule: CropOffset) -> u32 {
    let spare = side - crop;
    match rule {
        CropOffset::Floor => spare / 2,
        CropOffset::Round => (f64::from(spare) / 2.0).round_ties_even() as u32,
    }
}

/// Resamples a box of the image to `width` × `height`. The box is left, top, width and height in
/// source pixels; `None` means the whole image.
pub(crate) fn resample_image(
    image: &DecodedImage,
    source_box: Option<[f64; 4]>,
    width: u32,
    height: u32,
    filter: ResampleFilter,
) -> Vec<u8> {
    let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.rgb)
        .expect("an image has width * height * 3 bytes");
    let mut resampled = vec![0; width as usize * height as usize * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut resampled)
        .expect("the vector has width * height * 3 bytes");
    let filter = match filter {
        ResampleFilter::Bicubic => FilterType::CatmullRom,
        ResampleFilter::Bilinear => FilterType::Bilinear,
    };
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    if let Some([left, top, box_width, box_height]) = source_box {
        // Rounding must not move the box beyond the edge.
        let box_width = box_width.min(f64::from(image.width) - left);
        let box_height = box_height.min(f64::from(image.height) - top);
        options = options.crop(left, top, box_width, box_height);
    }
    // Typed: the other method contains the code for all pixel types, 4 MB of it.
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .expect("the box is inside the source");
    resampled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws waves and edges, so that a shift by one pixel is detected.
    fn draw_image(width: u32, height: u32) -> DecodedImage {
        let rgb = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                let wave = |step: f32| 127.0 + 120.0 * ((x as f32 + 2.0 * y as f32) / step).sin();
                [
                    wave(9.0) as u8,
                    wave(23.0) as u8,
                    ((x / 8 + y / 8) % 2 * 255) as u8,
                ]
            })
            .collect();
        DecodedImage { width, height, rgb }
    }

    #[test]
    fn cropping_in_the_source_is_cropping_the_result() {
        let mut description = Description::find_bundled("lookalike-mini").unwrap();
        description.preprocessing.long_side = LongSide::Round;
        for (width, height) in [
            (300, 200),
            (200, 300),
            (147, 1000),
            (128, 128),
            (640, 481),
            (90, 60),
        ] {
            let image = draw_image(width, height);
            let input = preprocess_image(&description, &image);
            let short = width.min(height);
            let resized = |side| resized_side(side, short, 146, LongSide::Round);
            let (rw, rh) = (resized(width), resized(height));
            let whole = resample_image(&image, None, rw, rh, ResampleFilter::Bicubic);
            let (left, top) = ((rw - 128) / 2, (rh - 128) / 2);
            for y in 0..128 {
                let from = ((top + y) * rw + left) as usize * 3;
                let expected = &whole[from..from + 128 * 3];
                let found = &input[y as usize * 128 * 3..][..128 * 3];
                let worst = expected
                    .iter()
                    .zip(found)
                    .map(|(a, b)| a.abs_diff(*b))
                    .max();
                assert!(worst <= Some(1), "{width} x {height}, row {y}: {worst:?}");
            }
        }
    }

    /// Paints everything but the middle square black.
    fn hide_ends(image: &DecodedImage) -> DecodedImage {
        let (width, height) = (image.width, image.height);
        let short = width.min(height);
        let is_middle = |x: u32, side: u32| x.abs_diff(side / 2) <= short / 2;
        let mut image = image.clone();
        for (number, rgb) in image.rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = (number as u32 % width, number as u32 / width);
            if !is_middle(x, width) || !is_middle(y, height) {
                rgb.fill(0);
            }
        }
        image
    }

    fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
        let differences = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)));
        differences.sum::<f64>() / a.len() as f64
    }

    #[test]
    fn the_ends_of_long_images_are_seen() {
        let description = Description::find_bundled("lookalike-mini").unwrap();
        let input = |image: &DecodedImage| preprocess_image(&description, image);
        for (width, height) in [(600, 200), (200, 600), (1200, 200), (300, 2000)] {
            let image = draw_image(width, height);
            let difference = mean_difference(&input(&image), &input(&hide_ends(&image)));
            assert!(difference > 50.0, "{width} x {height}: {difference}");
        }
        for name in ["efficientnet-lite0", "efficientnet-lite2"] {
            let description = Description::find_bundled(name).unwrap();
            let image = draw_image(600, 200);
            let [whole, middle] = [image.clone(), hide_ends(&image)]
                .map(|image| preprocess_image(&description, &image));
            assert!(mean_difference(&whole, &middle) > 50.0, "{name}");
        }
    }

    #[test]
    fn ordinary_shapes_are_not_squeezed_and_the_change_is_gradual() {
        let squeezed = Description::find_bundled("lookalike-mini").unwrap();
        let mut cropped = squeezed.clone();
        cropped.preprocessing.long_side = LongSide::Round;
        for (width, height) in [(400, 300), (600, 400), (400, 600), (333, 333)] {
            let image = draw_image(width, height);
            let inputs = [&squeezed, &cropped].map(|model| preprocess_image(model, &image));
            assert_eq!(inputs[0], inputs[1], "{width} x {height}");
        }
        let image = draw_image(600, 399);
        let inputs = [&squeezed, &cropped].map(|model| preprocess_image(model, &image));
        let difference = mean_difference(&inputs[0], &inputs[1]);
        assert!(difference > 0.0 && difference < 20.0, "{difference}");
        assert_ne!(squeezed.fingerprint(), cropped.fingerprint());
    }

    #[test]
    fn turning_the_input_is_turning_the_picture() {
        for name in ["lookalike-mini", "efficientnet-lite0"] {
            let mut description = Description::find_bundled(name).unwrap();
            for (crop_offset, width, height) in [
                (CropOffset::Floor, 301, 200),
                (CropOffset::Round, 147, 1000),
                (CropOffset::Floor, 333, 334),
            ] {
                description.preprocessing.crop_offset = crop_offset;
                let image = draw_image(width, height);
                for turn in PictureTurn::ALL {
                    let expected = preprocess_image(&description, &image.turned(turn));
                    let input = preprocess_turned(&description, &image, turn);
                    let pairs = expected.iter().zip(&input);
                    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
                    let mean = mean_difference(&expected, &input);
                    let (max_worst, max_mean) = match turn.swaps_sides() {
                        // The two passes of the resampling round in the other order.
                        true => (25, 0.75),
                        false => (1, 0.1),
                    };
                    assert!(
                        worst <= Some(max_worst) && mean < max_mean,
                        "{width} x {height}, {turn:?}: {worst:?} {mean}"
                    );
                }
            }
        }
    }

    #[test]
    fn extreme_shapes_stay_cheap() {
        let description = Description::find_bundled("lookalike-mini").unwrap();
        for (width, height) in [(65_000, 1), (1, 65_000), (1, 1), (65_000, 2)] {
            let input = preprocess_image(&description, &draw_image(width, height));
            assert_eq!(input.len(), 128 * 128 * 3);
        }
    }

    #[test]
    fn sides_round_as_in_python() {
        // round(105 * (146 / 84)) is 182 (182.5 to even), int(146 * 105 / 84) is 182.
        assert_eq!(resized_side(84, 84, 146, LongSide::Round), 146);
        assert_eq!(resized_side(105, 84, 146, LongSide::Truncate), 182);
        assert_eq!(resized_side(640, 427, 235, LongSide::Truncate), 352);
        assert_eq!(resized_side(640, 427, 235, LongSide::Round), 352);
        assert_eq!(resized_side(640, 427, 224, LongSide::Same), 224);
        assert_eq!(crop_offset(235, 224, CropOffset::Round), 6);
        assert_eq!(crop_offset(235, 224, CropOffset::Floor), 5);
        assert_eq!(crop_offset(353, 224, CropOffset::Round), 64);
    }
}
