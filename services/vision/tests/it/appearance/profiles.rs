//! Colour profiles in every format that has them. The expected values come from LittleCMS, and those
//! of Display P3 from its definition.

use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, tiff::TiffEncoder, webp::WebPEncoder},
};
use lookalike_vision::{Limits, decode_image};
use moxcms::ColorProfile;

use super::{assert_same_picture, decode_thumbnail, decode_whole, encode_as, read_case};
use crate::memory::{measure_peak, run_alone};

const PATCHES: [[u8; 3]; 4] = [
    [200, 100, 50],
    [10, 200, 30],
    [128, 128, 128],
    [30, 60, 220],
];
const PATCHES_FROM_P3: [[u8; 3]; 4] = [[215, 93, 31], [0, 204, 0], [128, 128, 128], [17, 61, 229]];
const PATCHES_FROM_ADOBE_RGB: [[u8; 3]; 4] =
    [[227, 100, 42], [0, 201, 0], [129, 129, 129], [0, 57, 225]];
const PATCHES_FROM_PROPHOTO: [[u8; 3]; 4] =
    [[255, 80, 46], [0, 230, 0], [146, 146, 146], [0, 82, 241]];
const PATCHES_FROM_LINEAR: [[u8; 3]; 4] = [
    [229, 168, 122],
    [56, 229, 96],
    [188, 188, 188],
    [96, 133, 239],
];

/// Four patches of 16 × 16 pixels in a row.
fn draw_patches() -> RgbImage {
    RgbImage::from_fn(64, 16, |x, _| Rgb(PATCHES[(x / 16) as usize]))
}

fn encode_with_profile(format: ImageFormat, image: &DynamicImage, profile: &[u8]) -> Vec<u8> {
    fn write(mut encoder: impl ImageEncoder, image: &DynamicImage, profile: &[u8]) {
        encoder.set_icc_profile(profile.to_vec()).unwrap();
        let (width, height) = (image.width(), image.height());
        let color = ExtendedColorType::from(image.color());
        encoder
            .write_image(image.as_bytes(), width, height, color)
            .unwrap();
    }
    let mut file = std::io::Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => write(JpegEncoder::new_with_quality(&mut file, 98), image, profile),
        ImageFormat::Png => write(PngEncoder::new(&mut file), image, profile),
        ImageFormat::Tiff => write(TiffEncoder::new(&mut file), image, profile),
        _ => write(WebPEncoder::new_lossless(&mut file), image, profile),
    }
    file.into_inner()
}

#[track_caller]
fn assert_patches(file: &[u8], expected: [[u8; 3]; 4], tolerance: u8, what: &str) {
    for image in [decode_whole(file).0, decode_thumbnail(file)] {
        for (index, expected) in expected.into_iter().enumerate() {
            let found = image.get_pixel(index as u32 * 16 + 8, 8).0;
            let worst = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            // The thumbnail is a JPEG.
            assert!(
                worst <= Some(tolerance + 4),
                "{what}: {found:?} is not {expected:?}"
            );
        }
    }
}

#[test]
fn profiles_are_applied_in_every_format() {
    let _alone = run_alone();
    let image = DynamicImage::ImageRgb8(draw_patches());
    for (profile, expected) in [
        (ColorProfile::new_display_p3(), PATCHES_FROM_P3),
        (ColorProfile::new_adobe_rgb(), PATCHES_FROM_ADOBE_RGB),
        (ColorProfile::new_pro_photo_rgb(), PATCHES_FROM_PROPHOTO),
        (ColorProfile::new_srgb(), PATCHES),
    ] {
        let profile = profile.encode().unwrap();
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::WebP,
        ] {
            let file = encode_with_profile(format, &image, &profile);
            assert_patches(&file, expected, 2, &format!("{format:?}"));
        }
        for deep in [
            DynamicImage::ImageRgb16(image.to_rgb16()),
            DynamicImage::ImageRgba16(image.to_rgba16()),
            DynamicImage::ImageRgba8(image.to_rgba8()),
        ] {
            let file = encode_with_profile(ImageFormat::Png, &deep, &profile);
            assert_patches(&file, expected, 2, &format!("{:?}", deep.color()));
        }
    }
}

#[test]
fn a_reduced_jpeg_is_converted_as_well() {
    let _alone = run_alone();
    let large = RgbImage::from_fn(1024, 256, |x, _| Rgb(PATCHES[(x / 256) as usize]));
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let file = encode_with_profile(ImageFormat::Jpeg, &large.into(), &profile);
    let (picture, _) = decode_image(&file, 20, &Limits::default()).unwrap();
    assert_eq!((picture.width, picture.height), (128, 32));
    for (index, expected) in PATCHES_FROM_P3.into_iter().enumerate() {
        let found = &picture.rgb[(16 * 128 + index * 32 + 16) * 3..][..3];
        let worst = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
        assert!(worst <= Some(3), "{found:?} is not {expected:?}");
    }
}

#[test]
fn photos_with_wide_and_linear_profiles_equal_their_srgb_copies() {
    let _alone = run_alone();
    assert_same_picture(&read_case("prophoto.jpg"), &read_case("srgb.jpg"), 4.0);
    let (linear, srgb) = (
        read_case("linear_kodim03.jpg"),
        read_case("srgb_kodim03.jpg"),
    );
    // Eight bits of linear light leave few dark tones.
    assert_same_picture(&linear, &srgb, 6.0);
}

#[test]
fn gray_profiles_are_applied() {
    let _alone = run_alone();
    let profile = ColorProfile::new_gray_with_gamma(1.8).encode().unwrap();
    let image = DynamicImage::ImageLuma8(GrayImage::from_fn(64, 16, |x, _| {
        Luma([[20, 77, 128, 200][(x / 16) as usize]])
    }));
    let expected = [[26; 3], [96; 3], [146; 3], [210; 3]];
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Tiff] {
        let file = encode_with_profile(format, &image, &profile);
        assert_patches(&file, expected, 1, &format!("{format:?}"));
    }
    let deep = DynamicImage::ImageLuma16(image.to_luma16());
    let file = encode_with_profile(ImageFormat::Png, &deep, &profile);
    assert_patches(&file, expected, 1, "16 bits");
    let with_alpha = DynamicImage::ImageLumaA8(image.to_luma_alpha8());
    let file = encode_with_profile(ImageFormat::Png, &with_alpha, &profile);
    assert_patches(&file, expected, 1, "with alpha");
}

/// The expected values are those of LittleCMS for this file.
#[test]
fn inks_are_converted_with_their_profile() {
    let _alone = run_alone();
    let file = read_case("own_inks.jpg");
    // Some profiles have only the table for another rendering intent.
    let mut other_intent = file.clone();
    let at = file
        .windows(4)
        .position(|window| window == b"A2B0")
        .unwrap();
    other_intent[at + 3] = b'1';
    for file in [file, other_intent] {
        let (image, _) = decode_whole(&file);
        // The last patch is between the points of the table, where LittleCMS interpolates over other
        // neighbours.
        for ((x, y), expected, tolerance) in [
            ((8, 8), [255, 134, 79], 4),
            ((24, 8), [255, 163, 188], 4),
            ((8, 24), [92, 92, 92], 4),
            ((24, 24), [201, 167, 67], 12),
        ] {
            let found = image.get_pixel(x, y).0;
            let worst = found.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            assert!(worst <= Some(tolerance), "{found:?} is not {expected:?}");
        }
    }
}

/// Inserts chunks after the header of a PNG.
fn insert_chunks(png: &[u8], chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let header_end = 8 + 25;
    let mut file = png[..header_end].to_vec();
    for (name, data) in chunks {
        let body = [&name[..], data].concat();
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        file.extend(&body);
        file.extend(crc32(&body).to_be_bytes());
    }
    file.extend(&png[header_end..]);
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

fn big_endian(numbers: &[u32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

#[test]
fn the_chunks_of_a_png_have_an_order() {
    let _alone = run_alone();
    let plain = encode_as(&draw_patches().into(), ImageFormat::Png);
    let linear = || (b"gAMA", big_endian(&[100_000]));
    let usual = || (b"gAMA", big_endian(&[45_455]));
    let p3_primaries = || {
        let xy = [
            31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000,
        ];
        (b"cHRM", big_endian(&xy))
    };
    let p3 = || (b"cICP", vec![12, 13, 0, 1]);
    let hdr = || (b"cICP", vec![9, 16, 0, 1]);
    let srgb = || (b"sRGB", vec![0]);
    let check = |chunks: &[(&[u8; 4], Vec<u8>)], expected, what| {
        assert_patches(&insert_chunks(&plain, chunks), expected, 2, what);
    };
    check(&[linear()], PATCHES_FROM_LINEAR, "linear");
    check(&[usual()], PATCHES, "the usual gamma");
    check(&[usual(), p3_primaries()], PATCHES_FROM_P3, "primaries");
    check(&[p3()], PATCHES_FROM_P3, "coded P3");
    check(&[p3(), linear()], PATCHES_FROM_P3, "coded before gamma");
    check(&[srgb(), linear()], PATCHES, "sRGB before gamma");
    check(&[hdr(), srgb()], PATCHES, "high dynamic range is not used");
    let nonsense = (b"gAMA", big_endian(&[1]));
    check(&[nonsense], PATCHES, "a senseless gamma is ignored");
    let flat = (b"cHRM", big_endian(&[0; 8]));
    check(&[usual(), flat], PATCHES, "senseless primaries are ignored");
}

#[test]
fn a_bmp_can_have_a_profile() {
    let _alone = run_alone();
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let mut file = b"BM".to_vec();
    let pixels_at = 14 + 124;
    let pixels = 64 * 16 * 3;
    let mut number = |value: u32| file.extend(value.to_le_bytes());
    for value in [pixels_at + pixels + profile.len() as u32, 0, pixels_at] {
        number(value);
    }
    for value in [124, 64, 16, 24 << 16 | 1, 0, pixels] {
        number(value);
    }
    for _ in 6..14 {
        number(0);
    }
    number(0x4d42_4544);
    for _ in 15..28 {
        number(0);
    }
    for value in [124 + pixels, profile.len() as u32, 0] {
        number(value);
    }
    for _ in 0..16 {
        for x in 0..64 {
            let [r, g, b] = PATCHES[x / 16];
            file.extend([b, g, r]);
        }
    }
    file.extend(&profile);
    assert_patches(&file, PATCHES_FROM_P3, 2, "bmp");
}

#[test]
fn profiles_that_cannot_be_used_are_ignored() {
    let _alone = run_alone();
    let image = DynamicImage::ImageRgb8(draw_patches());
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let mut zeroed = p3.clone();
    zeroed[132..].fill(0);
    let mut black = p3.clone();
    // All colorants are zero, so every colour would be black.
    for name in [b"rXYZ", b"gXYZ", b"bXYZ"] {
        let entry = p3.windows(4).position(|window| window == name).unwrap();
        let at = u32::from_be_bytes(p3[entry + 4..entry + 8].try_into().unwrap()) as usize;
        black[at + 8..at + 20].fill(0);
    }
    let unusable = [
        ("empty", Vec::new()),
        ("text", b"this is not a profile at all".repeat(20)),
        ("cut in its header", p3[..100].to_vec()),
        ("cut in its tags", p3[..160].to_vec()),
        ("cut in its data", p3[..p3.len() / 2].to_vec()),
        ("without tags", zeroed),
        ("that makes all black", black),
        (
            "for gray",
            ColorProfile::new_gray_with_gamma(1.0).encode().unwrap(),
        ),
        (
            "larger than allowed",
            [p3.clone(), vec![0; 4 << 20]].concat(),
        ),
    ];
    for (what, profile) in unusable {
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::WebP,
        ] {
            let file = encode_with_profile(format, &image, &profile);
            assert_patches(
                &file,
                PATCHES,
                2,
                &format!("{format:?} with a profile {what}"),
            );
        }
    }
    for at in 0..p3.len() {
        let mut damaged = p3.clone();
        damaged[at] ^= 0xff;
        let file = encode_with_profile(ImageFormat::Png, &image, &damaged);
        decode_whole(&file);
    }
}

#[test]
fn the_parts_of_a_profile_in_a_jpeg_are_joined() {
    let _alone = run_alone();
    let image = DynamicImage::ImageRgb8(draw_patches());
    let plain = encode_with_profile(ImageFormat::Jpeg, &image, &[]);
    let profile = ColorProfile::new_display_p3().encode().unwrap();
    let parts: Vec<&[u8]> = profile.chunks(profile.len().div_ceil(3)).collect();
    let segment = |number: u8, part: &[u8]| {
        let body = [b"ICC_PROFILE\0", &[number, 3][..], part].concat();
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&[0xff, 0xe2], &length[..], &body].concat()
    };
    let with = |numbers: &[u8]| {
        let segments = numbers
            .iter()
            .map(|number| segment(*number, parts[*number as usize - 1]));
        [
            &plain[..2],
            &segments.collect::<Vec<_>>().concat(),
            &plain[2..],
        ]
        .concat()
    };
    assert_patches(&with(&[1, 2, 3]), PATCHES_FROM_P3, 2, "in order");
    assert_patches(&with(&[3, 1, 2]), PATCHES_FROM_P3, 2, "in another order");
    assert_patches(&with(&[1, 3]), PATCHES, 2, "one part is missing");
}

/// 100 kB in a file inflate to 100 MB.
#[test]
fn a_profile_that_inflates_to_much_costs_little() {
    let _alone = run_alone();
    let mut compressed = Vec::new();
    // The image crate compresses with zlib, as the chunk needs it: borrow the data of a black PNG.
    let black = GrayImage::new(10_000, 10_000);
    let png = encode_as(&DynamicImage::ImageLuma8(black), ImageFormat::Png);
    let mut rest = &png[8..];
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if &head[4..] == b"IDAT" {
            compressed.extend(&tail[..length]);
        }
        rest = &tail[length + 4..];
    }
    let plain = encode_as(&draw_patches().into(), ImageFormat::Png);
    let chunk = [b"name\0\0", &compressed[..]].concat();
    let file = insert_chunks(&plain, &[(b"iCCP", chunk)]);
    let (image, peak) = measure_peak(|| decode_whole(&file).0);
    assert_eq!(image, draw_patches());
    assert!(peak < 32 << 20, "{peak} bytes");
}
