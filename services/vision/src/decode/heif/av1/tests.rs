//! Drawn AVIF files in `tests/samples/avif`: written with libavif and aom.

use std::time::Duration;

use crate::decode::tests::drawn_samples::{
    BLUE, GREEN, RED, WHITE, check_corner_colors, read_sample, sample_folder,
};
use crate::decode::{DecodedImage, decode_image, limits::Limits};
use crate::error::DecodeError;

fn decode(bytes: &[u8], limits: &Limits) -> Result<DecodedImage, DecodeError> {
    decode_image(bytes, 16, limits).map(|(image, attributes)| {
        assert_eq!(attributes.format, "avif");
        image
    })
}

/// Checks the size and the colours near the corners: left and right above, left and right below.
#[track_caller]
fn check_corners(name: &str, size: (u32, u32), expected: [[u8; 3]; 4]) {
    let image = decode(&read_sample(name), &Limits::default()).unwrap();
    assert_eq!((image.width, image.height), size, "{name}");
    check_corner_colors(name, size, expected, 4, |x, y| {
        let at = (y * image.width + x) as usize * 3;
        image.rgb[at..at + 3].to_vec()
    });
}

#[test]
fn single_pictures_are_read() {
    for name in [
        "rgb.avif",
        "rgb_444.avif",
        "rgb_422.avif",
        "limited.avif",
        "ten_bit.avif",
        "twelve_bit.avif",
        "exif_xmp.avif",
    ] {
        check_corners(name, (64, 48), [RED, GREEN, BLUE, WHITE]);
    }
    let grays = [[80; 3], [102; 3], [53; 3], [250; 3]];
    check_corners("gray.avif", (64, 48), grays);
    check_corners("grid.avif", (128, 128), [RED, GREEN, BLUE, WHITE]);
    // Over the ground that transparent pictures get.
    check_corners(
        "alpha.avif",
        (64, 48),
        [[237, 137, 137], GREEN, BLUE, WHITE],
    );
}

#[test]
fn pictures_are_turned_and_mirrored_once() {
    check_corners("turned.avif", (48, 64), [BLUE, RED, WHITE, GREEN]);
    check_corners("mirrored.avif", (64, 48), [GREEN, RED, WHITE, BLUE]);
}

/// The first two of three frames are nearly black.
#[test]
fn the_first_frame_that_is_not_one_color_is_shown() {
    check_corners("animated.avif", (64, 48), [RED, GREEN, BLUE, WHITE]);
}

#[test]
fn attributes_are_read() {
    let bytes = read_sample("exif_xmp.avif");
    let (_, attributes) = decode_image(&bytes, 16, &Limits::default()).unwrap();
    assert_eq!(attributes.camera.as_deref(), Some("Maker Model 5"));
    assert_eq!(attributes.taken_at, Some(1_622_865_782));
    assert_eq!(attributes.tags, ["harbour"]);
}

#[test]
fn cut_files_are_truncated() {
    for name in ["rgb.avif", "gray.avif", "ten_bit.avif"] {
        let bytes = read_sample(name);
        for length in 40..bytes.len() {
            let error = decode(&bytes[..length], &Limits::default())
                .err()
                .unwrap_or_else(|| panic!("{name} cut at {length} is read"));
            assert!(
                matches!(error.code(), "truncated" | "corrupt"),
                "{name} cut at {length}: {error}"
            );
        }
        let error = decode(&bytes[..bytes.len() - 9], &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "truncated", "{name}");
    }
}

#[test]
fn sizes_are_limited_before_anything_is_decoded() {
    let code = |change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        decode(&read_sample("rgb.avif"), &limits)
            .err()
            .map_or("fine", |error| error.code())
    };
    assert_eq!(code(&|_| {}), "fine");
    assert_eq!(
        code(&|limits| limits.max_pixels = 64 * 48 - 1),
        "too_many_pixels"
    );
    assert_eq!(
        code(&|limits| limits.max_decode_bytes = 9999),
        "too_much_memory"
    );
    assert_eq!(
        code(&|limits| limits.decode_timeout = Duration::ZERO),
        "too_slow"
    );
}

/// Changes bytes of every sample: nothing panics, takes long or needs more memory than allowed.
#[test]
fn damaged_files_only_fail() {
    let mut limits = Limits::default();
    limits.max_decode_bytes = 32 << 20;
    limits.max_pixels = 1 << 16;
    limits.decode_timeout = Duration::from_secs(10);
    for entry in std::fs::read_dir(sample_folder("avif")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut damaged = bytes.clone();
        for index in (0..bytes.len()).step_by(5) {
            damaged[index] ^= 0x11;
            if let Err(error) = decode_image(&damaged, 16, &limits) {
                assert!(
                    !matches!(error.code(), "too_slow" | "decoder_panic"),
                    "{error}"
                );
            }
            damaged[index] = bytes[index];
        }
    }
}
