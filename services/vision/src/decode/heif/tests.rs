//! Drawn HEIC files in `tests/samples/heic`: written with libheif and x265, the grids by hand.

use std::time::Duration;

use image::{DynamicImage, GenericImageView as _};

use super::{decode_heif, parameters::SequenceParameters};
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
    decode_heif(bytes, "heic", limits, &deadline)
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
    let upright = [RED, GREEN, BLUE, WHITE];
    check_corners("rgb.heic", (64, 48), upright);
    check_corners("rgb_444.heic", (64, 48), upright);
    check_corners("ten_bit.heic", (64, 48), upright);
    check_corners("alpha.heic", (64, 48), upright);
    check_corners(
        "gray.heic",
        (64, 48),
        [[80; 3], [102; 3], [53; 3], [250; 3]],
    );
}

#[test]
fn grids_are_joined_and_turned() {
    check_corners("grid.heic", (100, 80), [RED, GREEN, BLUE, WHITE]);
    check_corners("grid_turned.heic", (80, 100), [GREEN, WHITE, RED, BLUE]);
    check_corners("grid_mirrored.heic", (100, 80), [GREEN, RED, WHITE, BLUE]);
}

/// As phones write them: only the HEVC data says how YCbCr becomes RGB.
#[test]
fn colors_are_described_in_the_picture_itself() {
    check_corners("grid_unlabelled.heic", (100, 80), [RED, GREEN, BLUE, WHITE]);
}

#[test]
fn attributes_and_alpha_are_read() {
    let (_, attributes) = decode_image(&read_sample("exif.heic"), 16, &Limits::default()).unwrap();
    assert_eq!(attributes.format, "heic");
    assert_eq!(attributes.camera.as_deref(), Some("Maker Model 5"));
    assert_eq!(attributes.taken_at, Some(1_622_865_782));
    let (_, attributes) = decode_image(&read_sample("xmp.heic"), 16, &Limits::default()).unwrap();
    assert_eq!(attributes.tags, ["harbour"]);
    let output = decode(&read_sample("alpha.heic"), &Limits::default()).unwrap();
    let DynamicImage::ImageRgba8(image) = output.image else {
        panic!("it has alpha");
    };
    assert!(image.get_pixel(4, 4).0[3].abs_diff(128) < 4);
}

#[test]
fn cut_files_are_truncated() {
    for name in ["rgb.heic", "grid.heic"] {
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
        let half = decode(&bytes[..bytes.len() * 9 / 10], &Limits::default());
        assert_eq!(
            half.err().map(|error| error.code()),
            Some("truncated"),
            "{name}"
        );
    }
}

#[test]
fn sizes_are_limited_before_anything_is_decoded() {
    let code = |change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        decode(&read_sample("grid.heic"), &limits)
            .err()
            .map_or("fine", |error| error.code())
    };
    assert_eq!(code(&|_| {}), "fine");
    assert_eq!(code(&|limits| limits.max_pixels = 7999), "too_many_pixels");
    assert_eq!(
        code(&|limits| limits.max_decode_bytes = 9999),
        "too_much_memory"
    );
    assert_eq!(
        code(&|limits| limits.decode_timeout = Duration::ZERO),
        "too_slow"
    );
}

/// The container states 64 × 48 pixels, the HEVC data far more.
#[test]
fn sizes_in_the_compressed_data_are_limited_too() {
    let bytes = read_sample("rgb.heic");
    let at = bytes
        .windows(4)
        .position(|window| window == b"hvcC")
        .expect("the sample has a configuration");
    let sets = (at..bytes.len() - 2)
        .filter(|begin| bytes[*begin..].starts_with(&[0x42, 0x01]))
        .find_map(|begin| SequenceParameters::parse(&bytes[begin..bytes.len().min(begin + 60)]));
    let parameters = sets.expect("the sample has a sequence parameter set");
    assert_eq!(
        (parameters.width, parameters.height),
        (64, 64).min((64, parameters.height))
    );
    assert!(parameters.height >= 48);
    assert_eq!(parameters.chroma_format, 1);
    let signal = parameters.signal.expect("x265 writes a colour description");
    assert!(signal.is_full_range);
    assert_eq!(signal.matrix, 6);
}

/// Changes the bytes of every sample: nothing panics, takes long or needs more memory than allowed.
#[test]
fn damaged_files_only_fail() {
    let mut limits = Limits::default();
    limits.max_decode_bytes = 32 << 20;
    limits.max_pixels = 1 << 16;
    limits.decode_timeout = Duration::from_secs(2);
    for entry in std::fs::read_dir(sample_folder("heic")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut damaged = bytes.clone();
        for index in 0..bytes.len() {
            damaged[index] ^= 0x11;
            let outcome = decode(&damaged, &limits);
            assert!(!matches!(outcome, Err(DecodeError::TooSlow { .. })));
            damaged[index] = bytes[index];
        }
    }
}

/// Mutates the samples for minutes. Prints what happened, because a panic fails only one file.
#[test]
#[ignore = "runs for three minutes"]
fn mutated_files_only_fail() {
    let seeds: Vec<Vec<u8>> = std::fs::read_dir(sample_folder("heic"))
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let mut limits = Limits::default();
    limits.max_decode_bytes = 64 << 20;
    limits.max_pixels = 1 << 20;
    limits.decode_timeout = Duration::from_secs(5);
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let begun = std::time::Instant::now();
    let (mut outcomes, mut slowest) = (std::collections::BTreeMap::new(), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(180) {
        let mut bytes = seeds[random(seeds.len())].clone();
        for _ in 0..1 + random(6) {
            let index = random(bytes.len());
            match random(4) {
                0 => bytes[index] = random(256) as u8,
                1 => bytes[index] ^= 1 << random(8),
                2 => bytes.truncate(index.max(64)),
                _ => bytes.insert(index, random(256) as u8),
            }
        }
        let start = std::time::Instant::now();
        let outcome = match decode_image(&bytes, 64, &limits) {
            Ok(_) => "fine".to_owned(),
            Err(error @ DecodeError::DecoderPanic { .. }) => error.to_string(),
            Err(error) => error.code().to_owned(),
        };
        slowest = slowest.max(start.elapsed());
        *outcomes.entry(outcome).or_insert(0_u64) += 1;
    }
    eprintln!("slowest {slowest:?}: {outcomes:#?}");
    assert!(!outcomes.contains_key("too_slow"));
    assert!(slowest < Duration::from_secs(10));
}
