//! Drawn TIFF files of every kind that scanners and programs write, in `tests/samples/tiff`. They were
//! written with tifffile, Pillow (libtiff) and by hand, and all show four quarters.

use std::path::Path;

use image::RgbaImage;

use super::decode_tiff;
use crate::decode::deadline::{CpuDeadline, DecodeMonitor};
use crate::decode::limits::Limits;
use crate::error::DecodeError;

const WIDTH: u32 = 32;
const HEIGHT: u32 = 24;
const COLORS: [[u8; 3]; 4] = [[220, 20, 20], [20, 160, 20], [20, 40, 210], [250, 250, 250]];
const GRAYS: [[u8; 3]; 4] = [[0; 3], [85; 3], [170; 3], [255; 3]];

pub(crate) fn decode_with(bytes: &[u8], limits: &Limits) -> Result<RgbaImage, DecodeError> {
    let monitor = DecodeMonitor::default();
    let deadline = CpuDeadline::start(&monitor, limits.decode_timeout);
    Ok(decode_tiff(bytes, limits, &deadline)?.image.into_rgba8())
}

fn sample_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/tiff")
}

fn read_sample(name: &str) -> Vec<u8> {
    std::fs::read(sample_folder().join(name)).unwrap()
}

/// Calls `check` with the name and the content of each sample whose name begins with `prefix`.
fn for_each_sample(prefix: &str, mut check: impl FnMut(&str, &[u8])) {
    let mut count = 0;
    for entry in std::fs::read_dir(sample_folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with(prefix) {
            check(&name, &read_sample(&name));
            count += 1;
        }
    }
    assert!(count > 0, "there is no sample {prefix}");
}

#[track_caller]
fn assert_quarters(name: &str, image: &RgbaImage, expected: [[u8; 3]; 4], tolerance: u8) {
    assert_eq!(image.dimensions(), (WIDTH, HEIGHT), "{name}");
    // JPEG mixes the colours at the border of the quarters.
    for (x, y) in (0..WIDTH).flat_map(|x| (0..HEIGHT).map(move |y| (x, y))) {
        let is_border = x.abs_diff(WIDTH / 2) < 9 || y.abs_diff(HEIGHT / 2) < 9;
        if is_border && tolerance > 2 {
            continue;
        }
        let quarter = usize::from(x >= WIDTH / 2) + 2 * usize::from(y >= HEIGHT / 2);
        let pixel = &image.get_pixel(x, y).0[..3];
        let is_near = pixel
            .iter()
            .zip(expected[quarter])
            .all(|(value, expected)| value.abs_diff(expected) <= tolerance);
        assert!(
            is_near,
            "{name} at {x}, {y}: {pixel:?}, not {:?}",
            expected[quarter]
        );
    }
}

#[track_caller]
fn check_quarters(prefix: &str, expected: [[u8; 3]; 4], tolerance: u8) {
    for_each_sample(prefix, |name, bytes| {
        match decode_with(bytes, &Limits::default()) {
            Ok(image) => assert_quarters(name, &image, expected, tolerance),
            Err(error) => panic!("{name}: {error}"),
        }
    });
}

#[test]
fn rgb_of_every_depth_compression_and_order_is_read() {
    check_quarters("rgb_none", COLORS, 0);
    check_quarters("rgb_lzw", COLORS, 0);
    check_quarters("rgb_deflate", COLORS, 0);
    check_quarters("rgb_packbits", COLORS, 0);
    check_quarters("rgb_zstd", COLORS, 0);
    check_quarters("rgb_webp", COLORS, 0);
    check_quarters("rgb_tiles.tif", COLORS, 0);
    check_quarters("rgb_planes", COLORS, 0);
    check_quarters("rgb_big", COLORS, 0);
    check_quarters("rgb_16", COLORS, 0);
    check_quarters("rgb_32", COLORS, 1);
    check_quarters("rgb_float", COLORS, 1);
    check_quarters("rgb_four_bands", COLORS, 0);
    check_quarters("rgb12", COLORS, 0);
    check_quarters("rgb5", COLORS, 5);
    check_quarters("rgb_reversed_bits", COLORS, 0);
    check_quarters("pages_thumbnail_first", COLORS, 0);
}

#[test]
fn jpeg_strips_and_tiles_are_read() {
    check_quarters("rgb_jpeg", COLORS, 16);
    check_quarters("rgb_tiles_jpeg", COLORS, 16);
    check_quarters("cmyk_jpeg", COLORS, 16);
    check_quarters("old_jpeg", COLORS, 16);
    check_quarters("gray_jpeg", GRAYS, 16);
}

#[test]
fn other_colors_are_converted() {
    check_quarters("palette", COLORS, 0);
    check_quarters("ycbcr", COLORS, 2);
    check_quarters("cmyk.tif", COLORS, 0);
    check_quarters("cmyk_planes", COLORS, 0);
    check_quarters("cielab", COLORS, 4);
    check_quarters("icclab", COLORS, 4);
}

#[test]
fn gray_of_every_depth_is_read() {
    for prefix in [
        "gray1", "gray2", "gray3", "gray4", "gray6", "gray8", "gray_int",
    ] {
        check_quarters(prefix, GRAYS, 1);
    }
    check_quarters("gray_float", GRAYS, 1);
    check_quarters("gray_alpha", GRAYS, 0);
}

#[test]
fn fax_and_other_black_and_white_is_read() {
    let mut expected = RgbaImage::new(WIDTH, HEIGHT);
    for (x, y, pixel) in expected.enumerate_pixels_mut() {
        let is_white = (x >= WIDTH / 2) != (y >= HEIGHT / 2)
            || ((3..7).contains(&x) && (2..5).contains(&y))
            || ((20..29).contains(&x) && (15..17).contains(&y));
        pixel.0 = if is_white { [255; 4] } else { [0, 0, 0, 255] };
    }
    for_each_sample("bilevel", |name, bytes| {
        match decode_with(bytes, &Limits::default()) {
            Ok(image) => assert!(image == expected, "{name} differs"),
            Err(error) => panic!("{name}: {error}"),
        }
    });
}

#[test]
fn alpha_is_kept_and_premultiplied_colors_are_divided() {
    let image = decode_with(&read_sample("rgba_straight.tif"), &Limits::default()).unwrap();
    assert_quarters("straight", &image, COLORS, 0);
    assert_eq!(image.get_pixel(0, 0).0[3], 255);
    let image = decode_with(&read_sample("rgba_premultiplied.tif"), &Limits::default()).unwrap();
    assert_quarters("premultiplied", &image, COLORS, 2);
    assert_eq!(image.get_pixel(0, 0).0[3], 128);
}

#[test]
fn what_is_not_read_is_named() {
    for (name, words) in [
        ("unread_lzma.tif", "TIFF with compression LZMA"),
        ("unread_lerc.tif", "TIFF with compression LERC"),
        ("unread_jpeg2000.tif", "TIFF with compression JPEG 2000"),
    ] {
        let error = decode_with(&read_sample(name), &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "unsupported_feature", "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

/// A file that was cut, or preallocated and never filled, is not half a picture.
#[test]
fn cut_and_empty_files_are_truncated() {
    for prefix in [
        "rgb_lzw.tif",
        "rgb_deflate.tif",
        "rgb_zstd.tif",
        "bilevel_group4.tif",
    ] {
        for_each_sample(prefix, |name, bytes| {
            let whole = decode_with(bytes, &Limits::default()).unwrap();
            let mut cut = 0;
            for length in 8..bytes.len() {
                match decode_with(&bytes[..length], &Limits::default()) {
                    Err(error) if error.code() == "truncated" => cut += 1,
                    Err(error) => assert_eq!(error.code(), "corrupt", "{name}: {error}"),
                    // Tags and marks that are not needed may be missing.
                    Ok(image) => assert!(image == whole, "{name} cut at {length}"),
                }
            }
            assert!(cut * 2 > bytes.len(), "{name}: {cut} of {}", bytes.len());
        });
    }
    let mut zeros = read_sample("rgb_lzw.tif");
    let length = zeros.len();
    zeros[length - 200..].fill(0);
    let error = decode_with(&zeros, &Limits::default()).unwrap_err();
    assert!(matches!(error.code(), "truncated" | "corrupt"), "{error}");
    let empty = [&b"II*\0\x08\0\0\0"[..], &[0; 4000]].concat();
    let error = decode_with(&empty, &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "truncated", "{error}");
}

/// Changes bytes of every sample: nothing panics, takes long or needs more memory than allowed.
#[test]
fn damaged_files_only_fail() {
    let mut limits = Limits::default();
    limits.max_decode_bytes = 16 << 20;
    limits.max_pixels = 1 << 14;
    limits.decode_timeout = std::time::Duration::from_secs(2);
    for_each_sample("", |_, bytes| {
        let mut damaged = bytes.to_vec();
        for index in (4..bytes.len().min(300)).step_by(3) {
            for value in [0xff, bytes[index] ^ 1] {
                damaged[index] = value;
                let result = decode_with(&damaged, &limits);
                assert!(!matches!(result, Err(DecodeError::TooSlow { .. })));
            }
            damaged[index] = bytes[index];
        }
    });
}

/// A table with one entry of `values` values after the entries that every image has.
pub(crate) fn sample_tiff(tag: u16, values: u32) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    let entries = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (262, 3, 1, 1),
        (tag, 3, values, 200),
    ];
    bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(u16::to_le_bytes(kind));
        bytes.extend(u32::to_le_bytes(count));
        bytes.extend(u32::to_le_bytes(value));
    }
    bytes.resize(300, 0);
    bytes
}

/// Found by fuzzing another decoder: 387 bytes made it ask for 218 MB.
#[test]
fn tags_that_claim_much_allocate_nothing() {
    let mut limits = Limits::default();
    limits.max_decode_bytes = 1 << 20;
    for tag in [258, 273, 279, 320, 339] {
        let error = decode_with(&sample_tiff(tag, 6_815_745), &limits).unwrap_err();
        assert!(
            matches!(
                error.code(),
                "corrupt" | "unsupported_feature" | "truncated"
            ),
            "{error}"
        );
    }
}

#[test]
fn chunks_that_claim_much_are_refused() {
    let mut bytes = read_sample("rgb_tiles.tif");
    let at = bytes
        .windows(4)
        .position(|window| window == [0x42, 1, 3, 0] || window == [0x42, 1, 4, 0])
        .unwrap();
    let mut limits = Limits::default();
    limits.max_decode_bytes = 16 << 20;
    bytes[at + 2..at + 12].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0xf0, 0xff, 0xff, 0x7f]);
    let error = decode_with(&bytes, &limits).unwrap_err();
    assert_eq!(error.code(), "too_much_memory", "{error}");
}

/// The page reserves memory for a picture of the size of the strip.
#[test]
fn a_jpeg_larger_than_its_strip_is_refused() {
    let mut bytes = read_sample("rgb_jpeg_ycbcr.tif");
    let at = bytes
        .windows(4)
        .position(|window| window == [0, 1, 3, 0] || window == [0, 1, 4, 0])
        .unwrap();
    bytes[at + 8] = 8;
    let error = decode_with(&bytes, &Limits::default()).unwrap_err();
    assert_eq!(error.code(), "corrupt");
    assert!(
        error.to_string().contains("larger than its strip or tile"),
        "{error}"
    );
}
