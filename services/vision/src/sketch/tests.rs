use super::*;
use crate::decode::decoded::DecodedImage;
use crate::model::description::ResampleFilter;
use crate::preprocess::resample_image;
use crate::{Limits, decode_image, encode_jpeg};

type Rgb = [u8; 3];

fn draw(width: u32, height: u32, pixel: impl Fn(u32, u32) -> Rgb) -> DecodedImage {
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = rows.flat_map(|(x, y)| pixel(x, y)).collect();
    DecodedImage { width, height, rgb }
}

fn pixel_of(image: &DecodedImage, x: u32, y: u32) -> Rgb {
    let at = (y * image.width + x) as usize * 3;
    [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
}

fn resize(image: &DecodedImage, width: u32, height: u32) -> DecodedImage {
    let rgb = resample_image(image, None, width, height, ResampleFilter::Bicubic);
    DecodedImage { width, height, rgb }
}

fn scale(image: &DecodedImage, share: f64) -> DecodedImage {
    let side = |side: u32| (f64::from(side) * share).round() as u32;
    resize(image, side(image.width), side(image.height))
}

fn crop(image: &DecodedImage, left: u32, top: u32, width: u32, height: u32) -> DecodedImage {
    draw(width, height, |x, y| pixel_of(image, left + x, top + y))
}

fn store_again(image: &DecodedImage, quality: u8) -> DecodedImage {
    let file = encode_jpeg(&image.rgb, image.width, image.height, quality);
    decode_image(&file, 2000, &Limits::default()).unwrap().0
}

fn quarter_turn(image: &DecodedImage) -> DecodedImage {
    let height = image.height;
    draw(height, image.width, |x, y| {
        pixel_of(image, y, height - 1 - x)
    })
}

fn mirror(image: &DecodedImage) -> DecodedImage {
    let width = image.width;
    draw(width, image.height, |x, y| {
        pixel_of(image, width - 1 - x, y)
    })
}

fn hash(seed: u32, x: u32, y: u32) -> u32 {
    let mut value =
        seed.wrapping_mul(0x9e37_79b9) ^ x.wrapping_mul(0x85eb_ca6b) ^ y.wrapping_mul(0xc2b2_ae35);
    for _ in 0..3 {
        value = (value ^ (value >> 15)).wrapping_mul(0x2c1b_3c6d);
    }
    value ^ (value >> 16)
}

/// Draws lines of words: `line_seed` gives the text of each line.
fn page(line_seed: impl Fn(u32) -> u32) -> DecodedImage {
    let (width, height) = (620, 877);
    draw(width, height, |x, y| {
        let (line, letter) = (y / 26, x / 9);
        let in_text = (60..width - 60).contains(&x) && (2..31).contains(&line) && y % 26 < 14;
        // Words of different lengths, and letters of different weights.
        let is_space = hash(line_seed(line), letter, 1).is_multiple_of(6);
        let has_ink = hash(line_seed(line), x / 2, y / 2).is_multiple_of(3);
        [if in_text && !is_space && has_ink {
            0
        } else {
            255
        }; 3]
    })
}

/// Draws sixty lines that fill a page of 1,240 × 1,754 pixels.
fn dense_page(line_seed: impl Fn(u32) -> u32) -> DecodedImage {
    draw(1240, 1754, |x, y| {
        let (line, below) = (y.saturating_sub(146) / 24, y.saturating_sub(146) % 24);
        let in_text = (124..1116).contains(&x) && y >= 146 && line < 60 && below < 13;
        let letter = x / 11;
        let is_space = hash(line_seed(line), letter, 1).is_multiple_of(7);
        // Strokes of letters, with gaps between the letters.
        let stroke = hash(line_seed(line), letter, (x % 11) / 3 + 4 * (below / 5));
        let has_ink = x % 11 < 9 && stroke.is_multiple_of(2);
        [if in_text && !is_space && has_ink {
            0
        } else {
            255
        }; 3]
    })
}

/// Draws a dark sky with fifty stars.
fn night(seed: u32, width: u32, height: u32) -> DecodedImage {
    let mut sky = draw(width, height, |_, _| [4, 4, 7]);
    for star in 0..50 {
        let (x, y) = (
            hash(seed, star, 1) % (width - 2),
            hash(seed, star, 2) % (height - 2),
        );
        for (right, below) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let at = ((y + below) * width + x + right) as usize * 3;
            sky.rgb[at..at + 3].fill(230);
        }
    }
    sky
}

/// Draws a white sheet with one thin line at this height.
fn ruled_sheet(line: u32) -> DecodedImage {
    draw(1240, 1754, |x, y| {
        let is_line = (150..700).contains(&x) && (line..line + 2).contains(&y);
        [if is_line { 20 } else { 255 }; 3]
    })
}

fn icon(glyph: impl Fn(i32, i32) -> bool, ground: Rgb) -> DecodedImage {
    draw(128, 128, |x, y| {
        let (x, y) = (x as i32 - 64, y as i32 - 64);
        if x * x + y * y > 60 * 60 {
            [255; 3]
        } else if glyph(x, y) {
            [250; 3]
        } else {
            ground
        }
    })
}

fn photos() -> Vec<DecodedImage> {
    let files: [&[u8]; 3] = [
        include_bytes!("../../../../images/objects/cat-4.jpg"),
        include_bytes!("../../../../images/objects/fish-1.jpg"),
        include_bytes!("../../../../images/landscapes/hills-1.jpg"),
    ];
    files
        .into_iter()
        .map(|file| decode_image(file, 2000, &Limits::default()).unwrap().0)
        .collect()
}

fn sketch_of(image: &DecodedImage) -> Sketch {
    Sketch::from_image(image, image.width, image.height)
}

/// Whether two pictures are the same, turned copies, and altered copies.
fn compare(a: &DecodedImage, b: &DecodedImage) -> (bool, bool, bool) {
    let (a, b) = (sketch_of(a), sketch_of(b));
    let both = |is: fn(&Sketch, &Sketch) -> bool| {
        assert_eq!(is(&a, &b), is(&b, &a), "symmetric");
        is(&a, &b)
    };
    (
        both(Sketch::is_same_picture),
        both(Sketch::is_turned_copy),
        both(|a, b| AlterationSearch::new(a.clone()).is_altered_copy(b)),
    )
}

#[track_caller]
fn assert_same(a: &DecodedImage, b: &DecodedImage) {
    assert!(compare(a, b).0);
}

#[track_caller]
fn assert_not_same(a: &DecodedImage, b: &DecodedImage) {
    assert!(!compare(a, b).0);
}

#[test]
fn text_stores_a_whole_sketch() {
    for image in photos()
        .iter()
        .chain([&night(1, 320, 240), &ruled_sheet(200)])
    {
        let sketch = sketch_of(image);
        let text = sketch.to_text();
        assert!(text.len() <= MAX_SKETCH_BYTES);
        assert_eq!(Sketch::from_text(&text), Some(sketch));
        assert_eq!(Sketch::from_text(&text[1..]), None);
        assert_eq!(
            Sketch::from_text(&format!("B{}", &text[1..])),
            None,
            "version"
        );
    }
    for text in [
        "",
        "AQ",
        "no sketch",
        &"A".repeat(306),
        &"Ag".repeat(282),
        &"A".repeat(100_000),
    ] {
        assert_eq!(Sketch::from_text(text), None);
    }
}

#[test]
fn every_size_has_a_sketch() {
    let extremes = [[0; 3], [255; 3], [255, 0, 0], [0, 0, 255], [255, 255, 0]];
    for (width, height) in [(1, 1), (1, 40), (3, 2), (15, 17), (65_000, 1), (1, 65_000)] {
        for color in extremes {
            let sketch = sketch_of(&draw(width, height, |_, _| color));
            assert_eq!(Sketch::from_text(&sketch.to_text()), Some(sketch.clone()));
            assert!(sketch.is_same_picture(&sketch));
        }
    }
    // The means of cells do not depend on the resolution.
    let small = draw(5, 3, |x, y| [(x * 50) as u8, (y * 90) as u8, 9]);
    let large = draw(500, 300, |x, y| pixel_of(&small, x / 100, y / 100));
    let sketch = |image: &DecodedImage| Sketch::from_image(image, 500, 300);
    assert_eq!(sketch(&small), sketch(&large));
}

#[test]
fn a_picture_saved_again_is_the_same() {
    let pictures =
        photos()
            .into_iter()
            .chain([page(|line| line), ruled_sheet(200), night(3, 800, 600)]);
    for picture in pictures {
        // Lower qualities blot out letters of strokes of two pixels.
        for quality in [60, 75, 95] {
            assert_same(&picture, &store_again(&picture, quality));
        }
        for share in [0.5, 0.8, 1.5] {
            assert_same(&picture, &scale(&picture, share));
        }
        assert_same(&picture, &store_again(&scale(&picture, 0.8), 75));
    }
}

#[test]
fn pictures_with_little_in_them_are_told_apart() {
    assert_not_same(&ruled_sheet(200), &ruled_sheet(290));
    assert_not_same(&ruled_sheet(200), &draw(1240, 1754, |_, _| [255; 3]));
    let first_page = page(|line| line);
    let other_page = page(|line| line + 1000);
    assert_eq!(compare(&first_page, &other_page), (false, false, false));
    let edited_page = page(|line| if line == 12 { 77 } else { line });
    assert_eq!(compare(&first_page, &edited_page), (false, false, true));
    for (width, height) in [(320, 240), (800, 600), (1600, 1200)] {
        let sky = night(1, width, height);
        assert_eq!(
            compare(&sky, &night(2, width, height)),
            (false, false, false)
        );
        assert_same(&sky, &store_again(&sky, 75));
    }
    let solid = |color: Rgb| draw(200, 200, move |_, _| color);
    assert_same(&solid([200, 30, 30]), &solid([201, 30, 31]));
    for (a, b) in [
        ([200, 30, 30], [30, 30, 200]),
        ([250, 250, 250], [5, 5, 5]),
        ([120, 120, 120], [140, 140, 140]),
        // Of equal brightness.
        ([200, 0, 0], [0, 102, 0]),
    ] {
        assert_eq!(compare(&solid(a), &solid(b)), (false, false, false));
    }
    let dot = |x: i32, y: i32| x * x + y * y < 400;
    let bar = |x: i32, y: i32| x.abs() < 8 && y.abs() < 40;
    let icons = (icon(dot, [20, 90, 200]), icon(bar, [20, 90, 200]));
    assert_eq!(compare(&icons.0, &icons.1), (false, false, false));
    assert_same(&icons.0, &store_again(&scale(&icons.0, 0.5), 75));
    let darker = draw(128, 128, |x, y| pixel_of(&icons.0, x, y).map(|v| v / 5 * 4));
    assert!(compare(&icons.0, &darker).2);
    let (blue, red) = (icon(dot, [20, 90, 200]), icon(dot, [200, 40, 60]));
    assert_eq!(compare(&blue, &red), (false, false, false));
}

#[test]
fn one_other_line_of_a_page_is_noticed() {
    let first = dense_page(|line| line);
    for changed in [0, 22] {
        let edited = dense_page(|line| if line == changed { 700 } else { line });
        assert_not_same(&first, &store_again(&edited, 75));
    }
    assert_same(&first, &store_again(&first, 30));
    assert_same(&first, &scale(&first, 0.5));
    // A line that moves within a cell, by more than a strip.
    assert_not_same(&ruled_sheet(120), &ruled_sheet(160));
}

#[test]
fn altered_copies_are_no_same_picture() {
    for photo in photos() {
        let (width, height) = (photo.width, photo.height);
        let [eighth_width, eighth_height] = [width / 8, height / 8];
        let altered = [
            crop(&photo, 0, 0, width * 9 / 10, height * 9 / 10),
            crop(
                &photo,
                width / 10,
                height / 10,
                width * 8 / 10,
                height * 8 / 10,
            ),
            resize(&photo, width * 8 / 10, height),
            draw(width, height, |x, y| {
                pixel_of(&photo, x, y).map(|v| v.saturating_add(v / 5))
            }),
            // A caption.
            draw(width, height, |x, y| {
                if y < height - eighth_height {
                    pixel_of(&photo, x, y)
                } else {
                    [0; 3]
                }
            }),
            // A frame.
            draw(width + eighth_width, height + eighth_height, |x, y| {
                let (x, y) = (
                    x.wrapping_sub(eighth_width / 2),
                    y.wrapping_sub(eighth_height / 2),
                );
                if x < width && y < height {
                    pixel_of(&photo, x, y)
                } else {
                    [255; 3]
                }
            }),
        ];
        for (number, copy) in altered.iter().enumerate() {
            assert_eq!(
                compare(&photo, copy),
                (false, false, true),
                "change {number}"
            );
        }
        let gray = draw(width, height, |x, y| {
            let [red, green, blue] = pixel_of(&photo, x, y).map(u32::from);
            [((299 * red + 587 * green + 114 * blue) / 1000) as u8; 3]
        });
        assert!(compare(&photo, &gray).2);
    }
}

#[test]
fn turned_and_mirrored_copies_are_recognised() {
    for photo in photos() {
        let mut turned = photo.clone();
        for _ in 0..3 {
            turned = quarter_turn(&turned);
            assert!(compare(&photo, &store_again(&turned, 75)).1);
            assert!(compare(&photo, &mirror(&scale(&turned, 0.5))).1);
        }
        let mirrored = compare(&photo, &mirror(&photo));
        assert_eq!((mirrored.0, mirrored.1), (false, true));
    }
    let [cat, fish, hills] = &photos()[..] else {
        panic!("three photos")
    };
    for (a, b) in [(cat, fish), (cat, hills), (fish, hills)] {
        assert_eq!(compare(a, b), (false, false, false));
        assert_eq!(compare(a, &quarter_turn(b)), (false, false, false));
    }
}

#[test]
fn panoramas_with_a_common_part_are_different() {
    let view = |seed: u32| {
        draw(600, 120, move |x, y| {
            let seed = if (240..360).contains(&x) { 9 } else { seed };
            let shade = hash(seed, x / 40, y / 40) % 200;
            [shade as u8, (255 - shade) as u8, 90]
        })
    };
    assert_eq!(compare(&view(1), &view(2)), (false, false, false));
}
