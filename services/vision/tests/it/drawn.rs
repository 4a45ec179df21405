//! Drawn images in every supported format.

use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage};
use lookalike_vision::{Limits, decode_image, encode_jpeg, encode_thumbnail};

use crate::memory::run_alone;

/// Draws quarters in red, green, blue and white, so that every rotation is visible.
pub fn draw_quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(match (x * 2 < width, y * 2 < height) {
            (true, true) => [220, 20, 20],
            (false, true) => [20, 160, 20],
            (true, false) => [20, 40, 210],
            (false, false) => [250, 250, 250],
        })
    })
}

pub fn encode_test_jpeg(image: &RgbImage) -> Vec<u8> {
    encode_jpeg(image.as_raw(), image.width(), image.height(), 95)
}

/// Encodes a JPEG with an EXIF block: orientation, maker, model and time.
pub fn jpeg_with_exif(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut values = Vec::new();
    let mut entries = Vec::new();
    let values_at = 8 + 2 + 4 * 12 + 4;
    let mut text = |tag: u16, text: &[u8]| {
        let offset = (values_at + values.len()) as u32;
        entries.push((tag, 2_u16, text.len() as u32, offset));
        values.extend_from_slice(text);
    };
    text(0x010f, b"Maker\0");
    text(0x0110, b"Maker Model 5\0");
    text(0x0132, b"2021:06:05 04:03:02\0");
    entries.insert(2, (0x0112, 3, 1, u32::from(orientation)));
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(count.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend(0_u32.to_le_bytes());
    tiff.extend(values);
    let plain = encode_test_jpeg(image);
    let mut file = plain[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend((tiff.len() as u16 + 8).to_be_bytes());
    file.extend(b"Exif\0\0");
    file.extend(tiff);
    file.extend(&plain[2..]);
    file
}

fn encode_image(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

#[track_caller]
fn assert_near(rgb: &[u8], expected: [u8; 3], tolerance: u8) {
    let near = rgb
        .iter()
        .zip(expected)
        .all(|(a, b)| a.abs_diff(b) <= tolerance);
    assert!(near, "{rgb:?} is not {expected:?}");
}

#[test]
fn every_format_is_read_by_its_content() {
    let _alone = run_alone();
    let image = DynamicImage::ImageRgb8(draw_quarters(64, 48));
    for (format, name) in [
        (ImageFormat::Jpeg, "jpeg"),
        (ImageFormat::Png, "png"),
        (ImageFormat::Gif, "gif"),
        (ImageFormat::WebP, "webp"),
        (ImageFormat::Bmp, "bmp"),
        (ImageFormat::Tiff, "tiff"),
        (ImageFormat::Ico, "ico"),
        (ImageFormat::Qoi, "qoi"),
        (ImageFormat::Pnm, "pnm"),
        (ImageFormat::Tga, "tga"),
    ] {
        let file = match format {
            // Icons support only RGBA.
            ImageFormat::Ico => encode_image(&DynamicImage::ImageRgba8(image.to_rgba8()), format),
            _ => encode_image(&image, format),
        };
        let (picture, attributes) = decode_image(&file, 16, &Limits::default()).unwrap();
        assert_eq!((attributes.width, attributes.height), (64, 48), "{name}");
        assert_eq!(attributes.format, name);
        assert_eq!(
            attributes.colors.len(),
            3,
            "{name}: {:?}",
            attributes.colors
        );
        assert_eq!(
            picture.rgb.len(),
            (picture.width * picture.height * 3) as usize
        );
        let small = encode_thumbnail(&file, 16, &Limits::default()).unwrap();
        let small = image::load_from_memory(&small).unwrap();
        assert_eq!(small.dimensions(), (16, 12), "{name}");
    }
}

#[test]
fn deep_and_gray_pictures_become_8_bit_rgb() {
    let _alone = run_alone();
    let image = DynamicImage::ImageRgb8(draw_quarters(64, 48));
    for image in [
        DynamicImage::ImageRgb16(image.to_rgb16()),
        DynamicImage::ImageRgba16(image.to_rgba16()),
    ] {
        let file = encode_image(&image, ImageFormat::Png);
        let (picture, _) = decode_image(&file, 16, &Limits::default()).unwrap();
        assert_near(&picture.rgb[..3], [220, 20, 20], 1);
    }
    let gray = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(20, 20, image::Luma([77])));
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let (picture, _) =
            decode_image(&encode_image(&gray, format), 5, &Limits::default()).unwrap();
        assert_near(&picture.rgb[..3], [77, 77, 77], 2);
    }
}

#[test]
fn every_exif_orientation_ends_upright() {
    let _alone = run_alone();
    let upright = DynamicImage::ImageRgb8(draw_quarters(160, 96));
    for orientation in 1..=8_u8 {
        // The inverse of the rotation that readers apply; 6 and 8 are inverse to each other.
        let stored = match orientation {
            2 => upright.fliph(),
            3 => upright.rotate180(),
            4 => upright.flipv(),
            5 => upright.rotate90().fliph(),
            6 => upright.rotate270(),
            7 => upright.rotate270().fliph(),
            8 => upright.rotate90(),
            _ => upright.clone(),
        };
        let file = jpeg_with_exif(&stored.into_rgb8(), orientation);
        // At full size, and reduced by the other decoder.
        for wanted in [96, 20] {
            let (picture, attributes) = decode_image(&file, wanted, &Limits::default()).unwrap();
            assert_eq!(
                (attributes.width, attributes.height),
                (160, 96),
                "{orientation}"
            );
            let (width, height) = (picture.width, picture.height);
            assert_eq!(width * 96, height * 160, "{orientation}");
            let at = |x: u32, y: u32| {
                let start = ((y * height / 4) * width + x * width / 4) as usize * 3;
                &picture.rgb[start..start + 3]
            };
            assert_near(at(1, 1), [220, 20, 20], 8);
            assert_near(at(3, 1), [20, 160, 20], 8);
            assert_near(at(1, 3), [20, 40, 210], 8);
            assert_near(at(3, 3), [250, 250, 250], 8);
        }
        let (_, attributes) = decode_image(&file, 20, &Limits::default()).unwrap();
        assert_eq!(attributes.camera.as_deref(), Some("Maker Model 5"));
        assert_eq!(attributes.taken_at, Some(1_622_865_782));
    }
}

#[test]
fn thumbnails_fit_and_never_grow() {
    let _alone = run_alone();
    let check = |width, height, size, expected| {
        let file = encode_image(
            &DynamicImage::ImageRgb8(draw_quarters(width, height)),
            ImageFormat::Png,
        );
        let small = encode_thumbnail(&file, size, &Limits::default()).unwrap();
        assert_eq!(
            image::load_from_memory(&small).unwrap().dimensions(),
            expected
        );
    };
    check(400, 300, 100, (100, 75));
    check(300, 400, 100, (75, 100));
    check(30, 20, 100, (30, 20));
    check(2000, 1, 100, (100, 1));
    check(1, 2000, 100, (1, 100));
    check(1, 1, 0, (1, 1));
}
