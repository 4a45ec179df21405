//! Orientations of every type, count, byte order and format.

use image::RgbImage;

use super::build::{
    BuiltEntry, ExifBlockBuilder, draw_picture, jpeg_with, png_chunk, png_with, turn_for_storage,
    webp_with, xmp_packet,
};
use crate::decode::{decode_image, limits::Limits};

const ORIENTATION: u16 = 0x0112;

/// Decodes the file and compares it with the upright picture.
#[track_caller]
fn check_upright(file: &[u8], upright: &RgbImage, what: &str) {
    // A side that is larger than all pictures, so that no decoder reduces them.
    let (decoded, attributes) = decode_image(file, 1000, &Limits::default()).unwrap();
    let sides = (upright.width(), upright.height());
    assert_eq!((attributes.width, attributes.height), sides, "{what}");
    assert_eq!((decoded.width, decoded.height), sides, "{what}");
    let differs = decoded
        .rgb
        .iter()
        .zip(upright.as_raw())
        .any(|(a, b)| a.abs_diff(*b) > 40);
    assert!(!differs, "{what}: it is not upright");
}

fn exif_segment(block: &[u8]) -> Vec<u8> {
    [b"Exif\0\0", block].concat()
}

/// All eight orientations, stored by `build` from the turned pixels.
fn check_all_orientations(what: &str, scale: u32, build: impl Fn(&RgbImage, u8) -> Vec<u8>) {
    let upright = draw_picture(scale);
    for orientation in 1..=8 {
        let stored = turn_for_storage(&upright, orientation);
        let file = build(&stored, orientation);
        check_upright(&file, &upright, &format!("{what}, {orientation}"));
    }
}

#[test]
fn orientations_of_all_types_are_applied() {
    for is_little in [true, false] {
        for kind in 1..=12_u16 {
            for count in [1, 2, 5] {
                if kind == 7 && count > 1 {
                    continue;
                }
                let what = format!("type {kind}, count {count}, little endian: {is_little}");
                let block = |orientation| {
                    let value =
                        BuiltEntry::any_type(ORIENTATION, kind, orientation, count, is_little);
                    ExifBlockBuilder::new(is_little).with_first(value)
                };
                check_all_orientations(&format!("JPEG, {what}"), 2, |picture, orientation| {
                    let exif = exif_segment(&block(orientation).build());
                    jpeg_with(picture, &[(0xe1, &exif)])
                });
                check_all_orientations(&format!("PNG, {what}"), 1, |picture, orientation| {
                    let chunk = png_chunk(b"eXIf", &block(orientation).build());
                    png_with(picture, &chunk, count > 1)
                });
                check_all_orientations(&format!("WebP, {what}"), 1, |picture, orientation| {
                    webp_with(picture, &[(b"EXIF", &block(orientation).build())])
                });
                check_all_orientations(&format!("TIFF, {what}"), 1, |picture, orientation| {
                    block(orientation).build_tiff(picture)
                });
            }
        }
    }
}

#[test]
fn orientations_of_big_tiff_are_applied() {
    for is_little in [true, false] {
        for kind in (1..=12).chain([16, 17]) {
            let what = format!("BigTIFF, type {kind}, little endian: {is_little}");
            check_all_orientations(&what, 1, |picture, orientation| {
                let value = BuiltEntry::any_type(ORIENTATION, kind, orientation, 1, is_little);
                let mut block = ExifBlockBuilder::new(is_little).with_first(value);
                block.is_big_tiff = true;
                block.build_tiff(picture)
            });
        }
    }
}

#[test]
fn only_the_first_directory_turns_the_picture() {
    let picture = draw_picture(2);
    let turned = BuiltEntry::numbers(ORIENTATION, 3, &[6]);
    let mut of_thumbnail = ExifBlockBuilder::new(true);
    of_thumbnail.thumbnail.push(turned.clone());
    let of_exif = ExifBlockBuilder::new(true).with_exif(turned.clone());
    for block in [of_thumbnail, of_exif] {
        let file = jpeg_with(&picture, &[(0xe1, &exif_segment(&block.build()))]);
        check_upright(&file, &picture, "another directory");
    }
    // The thumbnail's orientation differs.
    let mut both =
        ExifBlockBuilder::new(false).with_first(BuiltEntry::numbers(ORIENTATION, 3, &[3]));
    both.thumbnail.push(turned);
    let stored = turn_for_storage(&picture, 3);
    let file = jpeg_with(&stored, &[(0xe1, &exif_segment(&both.build()))]);
    check_upright(&file, &picture, "both directories");
}

#[test]
fn impossible_orientations_turn_nothing() {
    let picture = draw_picture(1);
    let entries = [
        BuiltEntry::numbers(ORIENTATION, 3, &[0]),
        BuiltEntry::numbers(ORIENTATION, 3, &[9]),
        BuiltEntry::numbers(ORIENTATION, 3, &[0x0600]),
        BuiltEntry::numbers(ORIENTATION, 4, &[u64::from(u32::MAX)]),
        BuiltEntry::numbers(ORIENTATION, 8, &[0xfffa]),
        BuiltEntry::numbers(ORIENTATION, 5, &[6, 0]),
        BuiltEntry::numbers(ORIENTATION, 5, &[13, 2]),
        BuiltEntry::numbers(ORIENTATION, 11, &[u64::from(f32::NAN.to_bits())]),
        BuiltEntry::numbers(ORIENTATION, 77, &[6]),
        BuiltEntry::text(ORIENTATION, 2, b"right-top\0"),
        BuiltEntry::numbers(ORIENTATION, 3, &[]),
    ];
    for entry in entries {
        let what = format!("{entry:?}");
        let block = ExifBlockBuilder::new(true).with_first(entry).build();
        check_upright(
            &png_with(&picture, &png_chunk(b"eXIf", &block), false),
            &picture,
            &what,
        );
    }
}

#[test]
fn xmp_turns_the_picture_where_exif_does_not() {
    let exif_with = |orientation: Option<u64>| {
        let mut block =
            ExifBlockBuilder::new(true).with_first(BuiltEntry::text(0x010f, 2, b"Maker\0"));
        if let Some(orientation) = orientation {
            block = block.with_first(BuiltEntry::numbers(ORIENTATION, 3, &[orientation]));
        }
        block
    };
    let xmp_with = |orientation| xmp_packet(&format!("tiff:Orientation=\"{orientation}\""));
    let xmp_segment = |packet: Vec<u8>| [&b"http://ns.adobe.com/xap/1.0/\0"[..], &packet].concat();
    for (exif, what) in [
        (exif_with(None), "no orientation"),
        (exif_with(Some(0)), "an impossible orientation"),
    ] {
        check_all_orientations(&format!("JPEG, {what}"), 2, |picture, orientation| {
            let exif = exif_segment(&exif.build());
            let xmp = xmp_segment(xmp_with(orientation));
            jpeg_with(picture, &[(0xe1, &xmp), (0xe1, &exif)])
        });
        check_all_orientations(&format!("WebP, {what}"), 1, |picture, orientation| {
            let (exif, xmp) = (exif.build(), xmp_with(orientation));
            webp_with(picture, &[(b"EXIF", &exif), (b"XMP ", &xmp)])
        });
        check_all_orientations(&format!("PNG, {what}"), 1, |picture, orientation| {
            let text = [&b"XML:com.adobe.xmp\0\0\0\0\0"[..], &xmp_with(orientation)].concat();
            let chunks = [png_chunk(b"iTXt", &text), png_chunk(b"eXIf", &exif.build())].concat();
            png_with(picture, &chunks, false)
        });
        check_all_orientations(&format!("TIFF, {what}"), 1, |picture, orientation| {
            let packet = BuiltEntry::text(0x02bc, 1, &xmp_with(orientation));
            exif.clone().with_first(packet).build_tiff(picture)
        });
    }
    let picture = draw_picture(2);
    let stored = turn_for_storage(&picture, 6);
    let exif = exif_segment(&exif_with(Some(6)).build());
    let xmp = xmp_segment(xmp_with(3));
    for segments in [
        [(0xe1, &xmp[..]), (0xe1, &exif[..])],
        [(0xe1, &exif[..]), (0xe1, &xmp[..])],
    ] {
        check_upright(
            &jpeg_with(&stored, &segments),
            &picture,
            "EXIF has precedence",
        );
    }
}
