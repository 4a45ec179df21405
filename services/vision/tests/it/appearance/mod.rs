//! What people see is what is compared: transparency, colour profiles, animations.
//!
//! The files are small and drawn by programs. `own_inks.jpg` has a CMYK profile whose inks have
//! unusual colours, so that the usual formula cannot get them right.

mod animations;
mod profiles;
mod transparency;

use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use lookalike_vision::{DecodedAttributes, Limits, decode_image, encode_thumbnail};

fn read_case(name: &str) -> Vec<u8> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases"));
    std::fs::read(folder.join(name)).unwrap()
}

fn encode_as(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// Decodes at full size.
fn decode_whole(file: &[u8]) -> (RgbImage, DecodedAttributes) {
    let (picture, attributes) = decode_image(file, 60_000, &Limits::default()).unwrap();
    let image = RgbImage::from_raw(picture.width, picture.height, picture.rgb).unwrap();
    (image, attributes)
}

fn decode_thumbnail(file: &[u8]) -> RgbImage {
    let small = encode_thumbnail(file, 200, &Limits::default()).unwrap();
    image::load_from_memory(&small).unwrap().into_rgb8()
}

/// Returns the mean difference of the samples.
#[track_caller]
fn mean_difference(first: &RgbImage, second: &RgbImage) -> f64 {
    assert_eq!(first.dimensions(), second.dimensions());
    let sum: u64 = first
        .iter()
        .zip(second.iter())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / first.len() as f64
}

/// Checks that network, thumbnail and names of colours see the same picture in two files.
#[track_caller]
fn assert_same_picture(first: &[u8], second: &[u8], tolerance: f64) {
    let ((first_image, first_attributes), (second_image, second_attributes)) =
        (decode_whole(first), decode_whole(second));
    let difference = mean_difference(&first_image, &second_image);
    assert!(difference <= tolerance, "network: {difference}");
    let difference = mean_difference(&decode_thumbnail(first), &decode_thumbnail(second));
    assert!(difference <= tolerance + 1.0, "thumbnail: {difference}");
    // Colours with nearly the same share may change places.
    let sorted = |attributes: DecodedAttributes| {
        let mut colors = attributes.colors;
        colors.sort();
        colors
    };
    assert_eq!(sorted(first_attributes), sorted(second_attributes));
}
