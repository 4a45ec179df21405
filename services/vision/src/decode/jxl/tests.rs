//! Drawn JPEG XL files in `tests/samples/jxl`: written with libjxl. In `turned.jxl`, the header was
//! changed by hand.

use std::time::Duration;

use image::{DynamicImage, GenericImageView as _};

use super::decode_jxl;
use crate::decode::deadline::{CpuDeadline, DecodeMonitor};
use crate::decode::decoded::DecoderOutput;
use crate::decode::tests::drawn_samples::{
    BLUE, GREEN, RED, WHITE, check_corner_colors, read_sample, sample_folder,
};
use crate::decode::{decode_image, limits::Limits};
use crate::error::DecodeError;

fn decode(bytes: &[u8], limits: &Limits) -> Result<DecoderOutput, DecodeError> {
    let monitor = DecodeMonitor::default();
    let deadline = CpuDeadline::start(&monitor, limits.decode_timeout);
    decode_jxl(bytes, limits, &deadline)
}

/// Checks the size and the colours near the corners: left and right above, left and right below.
#[track_caller]
fn check_corners(name: &str, size: (u32, u32), expected: [[u8; 3]; 4]) {
    let output = decode(&read_sample(name), &Limits::default()).unwrap();
    assert_eq!(output.image.dimensions(), size, "{name}");
    check_corner_colors(name, size, expected, 3, |x, y| {
        output.image.get_pixel(x, y).0.to_vec()
    });
}

#[test]
fn single_pictures_are_read() {
    for name in [
        "rgb.jxl",
        "lossless.jxl",
        "container.jxl",
        "from_jpeg.jxl",
        "alpha.jxl",
        "sixteen_bit.jxl",
    ] {
        check_corners(name, (64, 48), [RED, GREEN, BLUE, WHITE]);
    }
    for name in ["gray.jxl", "gray_alpha.jxl"] {
        check_corners(name, (64, 48), [[80; 3], [102; 3], [53; 3], [250; 3]]);
    }
}

#[test]
fn the_orientation_of_the_header_is_applied() {
    check_corners("turned.jxl", (48, 64), [BLUE, RED, WHITE, GREEN]);
    let (picture, attributes) =
        decode_image(&read_sample("turned.jxl"), 16, &Limits::default()).unwrap();
    assert_eq!((picture.width, picture.height), (48, 64));
    assert_eq!((attributes.width, attributes.height), (48, 64));
}

#[test]
fn attributes_and_alpha_are_read() {
    for name in ["exif_xmp.jxl", "exif_xmp_brotli.jxl"] {
        let (_, attributes) = decode_image(&read_sample(name), 16, &Limits::default()).unwrap();
        assert_eq!(attributes.format, "jxl");
        assert_eq!(attributes.camera.as_deref(), Some("Maker Model 5"));
        assert_eq!(attributes.taken_at, Some(1_622_865_782));
        assert_eq!(attributes.tags, ["harbour"]);
        // The orientation in EXIF is 6. It does not count in this format.
        assert_eq!((attributes.width, attributes.height), (64, 48));
    }
    for name in ["alpha.jxl", "gray_alpha.jxl"] {
        let output = decode(&read_sample(name), &Limits::default()).unwrap();
        assert!(output.image.color().has_alpha());
        assert_eq!(output.image.to_rgba8().get_pixel(4, 4).0[3], 128);
        assert_eq!(output.image.to_rgba8().get_pixel(60, 4).0[3], 255);
    }
}

/// The first two of three frames are nearly black.
#[test]
fn the_first_frame_that_is_not_one_color_is_shown() {
    check_corners("animated.jxl", (64, 48), [RED, GREEN, BLUE, WHITE]);
    let bytes = read_sample("animated.jxl");
    let cut = decode(&bytes[..bytes.len() - 8], &Limits::default()).unwrap();
    assert!(
        matches!(cut.image, DynamicImage::ImageRgb8(image) if image.pixels().all(|p| p.0[0] < 5))
    );
}

#[test]
fn cut_files_are_truncated() {
    for name in [
        "rgb.jxl",
        "lossless.jxl",
        "alpha.jxl",
        "turned.jxl",
        "gray.jxl",
    ] {
        let bytes = read_sample(name);
        for length in 2..bytes.len() {
            let error = decode(&bytes[..length], &Limits::default())
                .err()
                .unwrap_or_else(|| panic!("{name} cut at {length} is read"));
            assert_eq!(error.code(), "truncated", "{name} cut at {length}: {error}");
        }
    }
    // The end was reserved and never written.
    let mut bytes = read_sample("rgb.jxl");
    let length = bytes.len();
    bytes[length / 2..].fill(0);
    bytes.resize(length + 4096, 0);
    let error = decode_image(&bytes, 16, &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "truncated", "{error}");
}

#[test]
fn sizes_are_limited_before_anything_is_decoded() {
    let code = |change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        decode_image(&read_sample("lossless.jxl"), 16, &limits)
            .err()
            .map_or("fine", |error| error.code())
    };
    assert_eq!(code(&|_| {}), "fine");
    assert_eq!(code(&|limits| limits.max_pixels = 64 * 48), "fine");
    assert_eq!(
        code(&|limits| limits.max_pixels = 64 * 48 - 1),
        "too_many_pixels"
    );
    assert_eq!(code(&|limits| limits.max_side = 63), "too_many_pixels");
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
    for entry in std::fs::read_dir(sample_folder("jxl")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut damaged = bytes.clone();
        for index in (0..bytes.len()).step_by(5) {
            for mask in [0x11, 0xff] {
                damaged[index] = bytes[index] ^ mask;
                let outcome = decode(&damaged, &limits);
                assert!(!matches!(outcome, Err(DecodeError::TooSlow { .. })));
            }
            damaged[index] = bytes[index];
        }
    }
}
