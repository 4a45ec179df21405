//! Transparent pictures in every format that has them.

use image::{
    DynamicImage, ExtendedColorType, GrayAlphaImage, ImageEncoder, ImageFormat, LumaA, Rgb,
    RgbImage, Rgba, RgbaImage, codecs::webp::WebPEncoder,
};

use super::{
    assert_same_picture, decode_thumbnail, decode_whole, encode_as, mean_difference, read_case,
};
use crate::memory::run_alone;

/// A disc of one colour with a soft edge. Where it is transparent, the file has a noisy colour that
/// no viewer shows.
fn draw_disc(color: [u8; 3], hidden: u8) -> RgbaImage {
    RgbaImage::from_fn(64, 48, |x, y| {
        let distance = (f32::from(x as i16 - 30).powi(2) + f32::from(y as i16 - 22).powi(2)).sqrt();
        let alpha = ((16.0 - distance).clamp(0.0, 1.0) * 255.0) as u8;
        match alpha {
            0 => Rgba([hidden, (x * 4) as u8 ^ hidden, (y * 5) as u8, 0]),
            _ => Rgba([color[0], color[1], color[2], alpha]),
        }
    })
}

/// Returns the picture over a ground, as a viewer with that ground shows it.
fn flatten_on(image: &RgbaImage, ground: u8) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0.map(f32::from);
        let blend = |color: f32| (color * a + f32::from(ground) * (255.0 - a)) / 255.0;
        Rgb([r, g, b].map(|color| blend(color).round() as u8))
    })
}

#[test]
fn a_black_figure_is_compared_as_flattened_on_white() {
    let _alone = run_alone();
    let star = read_case("star_black_on_transparent.png");
    let cross = read_case("cross_black_on_transparent.png");
    assert_same_picture(&star, &read_case("star_flattened_on_white.png"), 0.6);
    let (star, attributes) = decode_whole(&star);
    let difference = mean_difference(&star, &decode_whole(&cross).0);
    assert!(difference > 10.0, "{difference}");
    assert!(attributes.colors.contains(&"white".to_owned()));
}

#[test]
fn a_white_figure_is_visible() {
    let _alone = run_alone();
    let file = read_case("white_on_transparent.png");
    let (image, attributes) = decode_whole(&file);
    for image in [image, decode_thumbnail(&file)] {
        let (lowest, highest) = (image.iter().min().unwrap(), image.iter().max().unwrap());
        assert!(highest - lowest > 150, "{lowest} to {highest}");
    }
    assert!(attributes.colors.contains(&"white".to_owned()));
    assert!(attributes.colors.len() > 1, "{:?}", attributes.colors);
}

#[test]
fn hidden_colours_have_no_influence_in_any_format() {
    let _alone = run_alone();
    for (color, ground) in [([200, 40, 30], 255), ([250, 250, 250], 48)] {
        let expected = flatten_on(&draw_disc(color, 0), ground);
        for hidden in [0, 90, 255] {
            let rgba = DynamicImage::ImageRgba8(draw_disc(color, hidden));
            let deep = DynamicImage::ImageRgba16(rgba.to_rgba16());
            let files = [
                ("png", encode_as(&rgba, ImageFormat::Png)),
                ("png, 16 bits", encode_as(&deep, ImageFormat::Png)),
                ("webp", encode_as(&rgba, ImageFormat::WebP)),
                ("tiff", encode_as(&rgba, ImageFormat::Tiff)),
                ("tiff, 16 bits", encode_as(&deep, ImageFormat::Tiff)),
                ("tga", encode_as(&rgba, ImageFormat::Tga)),
                ("bmp", encode_as(&rgba, ImageFormat::Bmp)),
                ("ico", encode_as(&rgba, ImageFormat::Ico)),
                ("qoi", encode_as(&rgba, ImageFormat::Qoi)),
            ];
            for (name, file) in files {
                let difference = mean_difference(&decode_whole(&file).0, &expected);
                assert!(difference <= 0.5, "{name}, {color:?}: {difference}");
            }
        }
    }
}

#[test]
fn gray_with_alpha_is_shown_over_the_same_ground() {
    let _alone = run_alone();
    for (gray, ground) in [(30, 255), (255, 48)] {
        let expected = flatten_on(&draw_disc([gray; 3], 0), ground);
        let disc = draw_disc([gray; 3], 120);
        let image = GrayAlphaImage::from_fn(64, 48, |x, y| {
            let [color, _, _, alpha] = disc.get_pixel(x, y).0;
            LumaA([color, alpha])
        });
        let image = DynamicImage::ImageLumaA8(image);
        let deep = DynamicImage::ImageLumaA16(image.to_luma_alpha16());
        for image in [image, deep] {
            let file = encode_as(&image, ImageFormat::Png);
            let difference = mean_difference(&decode_whole(&file).0, &expected);
            assert!(difference <= 0.5, "{gray}: {difference}");
        }
    }
}

#[test]
fn palettes_with_a_transparent_colour_are_shown_over_the_same_ground() {
    let _alone = run_alone();
    for (gray, ground) in [(0, 255), (255, 48)] {
        // GIF has no partial transparency.
        let mut hard = draw_disc([gray; 3], 77);
        hard.pixels_mut()
            .for_each(|pixel| pixel[3] = if pixel[3] > 127 { 255 } else { 0 });
        let file = encode_as(&DynamicImage::ImageRgba8(hard.clone()), ImageFormat::Gif);
        let difference = mean_difference(&decode_whole(&file).0, &flatten_on(&hard, ground));
        assert!(difference <= 2.0, "{gray}: {difference}");
    }
}

#[test]
fn premultiplied_colours_of_a_tiff_are_divided() {
    let _alone = run_alone();
    let straight = draw_disc([200, 40, 30], 0);
    let mut multiplied = straight.clone();
    for pixel in multiplied.pixels_mut() {
        let alpha = u32::from(pixel[3]);
        for channel in 0..3 {
            pixel[channel] = ((u32::from(pixel[channel]) * alpha + 127) / 255) as u8;
        }
    }
    let difference_to_white =
        |file: &[u8]| mean_difference(&decode_whole(file).0, &flatten_on(&straight, 255));
    let difference = difference_to_white(&encode_rgba_tiff(&multiplied, 1));
    assert!(difference <= 0.5, "{difference}");
    let difference = difference_to_white(&encode_rgba_tiff(&straight, 2));
    assert!(difference <= 0.5, "{difference}");
}

/// Encodes an uncompressed TIFF. `extra_samples` is 1 for premultiplied and 2 for straight alpha.
fn encode_rgba_tiff(image: &RgbaImage, extra_samples: u32) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 4, 150),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 158),
        (277, 3, 1, 4),
        (278, 4, 1, height),
        (279, 4, 1, width * height * 4),
        (338, 3, 1, extra_samples),
    ];
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend(u16::to_le_bytes(tag));
        file.extend(u16::to_le_bytes(kind));
        file.extend(u32::to_le_bytes(count));
        file.extend(u32::to_le_bytes(value));
    }
    file.resize(150, 0);
    file.extend([8, 0, 8, 0, 8, 0, 8, 0]);
    file.extend(image.as_raw());
    file
}

#[test]
fn an_alpha_channel_that_is_zero_everywhere_is_unused_in_formats_without_a_rule() {
    let _alone = run_alone();
    let image = RgbaImage::from_fn(40, 30, |x, y| Rgba([(x * 6) as u8, (y * 8) as u8, 90, 0]));
    let opaque = DynamicImage::ImageRgba8(image.clone()).into_rgb8();
    let image = DynamicImage::ImageRgba8(image);
    for format in [ImageFormat::Tga, ImageFormat::Bmp] {
        let (decoded, _) = decode_whole(&encode_as(&image, format));
        assert_eq!(decoded, opaque, "{format:?}");
    }
    let (decoded, _) = decode_whole(&encode_as(&image, ImageFormat::Png));
    assert!(decoded.iter().all(|sample| *sample == 255));
}

#[test]
fn a_figure_with_a_dark_outline_stays_on_white() {
    let _alone = run_alone();
    let mut image = draw_disc([255; 3], 0);
    for y in 0..48_i16 {
        for x in 0..64_i16 {
            let distance = f32::from(x - 30).hypot(f32::from(y - 22));
            if (14.5..16.5).contains(&distance) {
                image.put_pixel(x as u32, y as u32, Rgba([20, 20, 20, 255]));
            }
        }
    }
    let (decoded, _) = decode_whole(&encode_as(
        &DynamicImage::ImageRgba8(image.clone()),
        ImageFormat::Png,
    ));
    assert!(mean_difference(&decoded, &flatten_on(&image, 255)) < 0.5);
}

#[test]
fn opaque_pictures_with_alpha_are_unchanged() {
    let _alone = run_alone();
    let image = RgbaImage::from_fn(40, 30, |x, y| {
        Rgba([(x * 6) as u8, (y * 8) as u8, 250, 255])
    });
    let mut file = Vec::new();
    WebPEncoder::new_lossless(&mut file)
        .write_image(&image, 40, 30, ExtendedColorType::Rgba8)
        .unwrap();
    let opaque = DynamicImage::ImageRgba8(image).into_rgb8();
    assert_eq!(decode_whole(&file).0, opaque);
}
