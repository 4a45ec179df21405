//! Drawn pictures and photos are found again after known changes, and others are not.

use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};

use super::*;

/// A picture with shapes of many sizes, without symmetry.
fn draw_scene(width: u32, height: u32, seed: u64) -> RgbImage {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(below.max(1))) as u32
    };
    let mut scene = RgbImage::from_fn(width, height, |x, y| {
        let (across, down) = (x * 90 / width, y * 110 / height);
        Rgb([(60 + across) as u8, (70 + down) as u8, (150 - down) as u8])
    });
    for _ in 0..60 {
        let (left, top) = (random(width), random(height));
        let (wide, high) = (8 + random(width / 5), 8 + random(height / 5));
        let color = Rgb([random(256) as u8, random(256) as u8, random(256) as u8]);
        let is_round = random(2) == 0;
        for y in top..(top + high).min(height) {
            for x in left..(left + wide).min(width) {
                let across = (f64::from(x - left) + 0.5) / f64::from(wide) * 2.0 - 1.0;
                let down = (f64::from(y - top) + 0.5) / f64::from(high) * 2.0 - 1.0;
                if !is_round || across.hypot(down) <= 1.0 {
                    scene.put_pixel(x, y, color);
                }
            }
        }
    }
    scene
}

fn compared(image: &RgbImage) -> ComparedPicture {
    let decoded = DecodedImage {
        width: image.width(),
        height: image.height(),
        rgb: image.as_raw().clone(),
    };
    ComparedPicture::from_image(&decoded, image.width(), image.height())
}

/// Checks that the alignment maps the corners and the middle of the first picture as the matrix does, within
/// a share of the side of the second one.
#[track_caller]
fn check_map(first: &RgbImage, second: &RgbImage, matrix: [f64; 6], overlap: f64) {
    let aligned = compared(first).align_to(&compared(second));
    let aligned = aligned.expect("the pictures show the same");
    let expected = AffineMap { matrix };
    let (width, height) = (f64::from(first.width()), f64::from(first.height()));
    let tolerance = 0.012 * f64::from(second.width().max(second.height()));
    for (x, y) in [
        (0.0, 0.0),
        (width, 0.0),
        (0.0, height),
        (width, height),
        (width / 2.0, height / 2.0),
    ] {
        let (found, wanted) = (aligned.map.apply(x, y), expected.apply(x, y));
        let distance = (found.0 - wanted.0).hypot(found.1 - wanted.1);
        // Points outside the second picture are extrapolated.
        let outside = wanted.0 < 0.0
            || wanted.1 < 0.0
            || wanted.0 > f64::from(second.width())
            || wanted.1 > f64::from(second.height());
        let most = if outside { 3.0 * tolerance } else { tolerance };
        assert!(distance <= most, "({x}, {y}): {distance:.2}: {aligned:?}");
    }
    assert!((aligned.overlap - overlap).abs() < 0.03, "{aligned:?}");
}

fn scaled(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    imageops::resize(image, width, height, FilterType::Triangle)
}

/// Turns a picture clockwise about its middle; corners outside become black.
fn turned(image: &RgbImage, degrees: f64) -> (RgbImage, [f64; 6]) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (image.width(), image.height());
    let (middle_x, middle_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let turned = RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) + 0.5 - middle_x, f64::from(y) + 0.5 - middle_y);
        let (x, y) = (cos * x + sin * y + middle_x, -sin * x + cos * y + middle_y);
        match (0.0..f64::from(width)).contains(&x) && (0.0..f64::from(height)).contains(&y) {
            true => *image.get_pixel(x as u32, y as u32),
            false => Rgb([0; 3]),
        }
    });
    let shift_x = middle_x - cos * middle_x + sin * middle_y;
    let shift_y = middle_y - sin * middle_x - cos * middle_y;
    (turned, [cos, -sin, shift_x, sin, cos, shift_y])
}

#[test]
fn sizes_are_found() {
    let scene = draw_scene(900, 600, 1);
    check_map(&scene, &scene, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 1.0);
    let half = scaled(&scene, 450, 300);
    check_map(&scene, &half, [0.5, 0.0, 0.0, 0.0, 0.5, 0.0], 1.0);
    check_map(&half, &scene, [2.0, 0.0, 0.0, 0.0, 2.0, 0.0], 1.0);
    let squeezed = scaled(&scene, 450, 400);
    let third = 2.0 / 3.0;
    check_map(&scene, &squeezed, [0.5, 0.0, 0.0, 0.0, third, 0.0], 1.0);
    let thumbnail = scaled(&scene, 96, 64);
    let small = 96.0 / 900.0;
    check_map(&scene, &thumbnail, [small, 0.0, 0.0, 0.0, small, 0.0], 1.0);
}

#[test]
fn crops_are_found() {
    let scene = draw_scene(900, 600, 2);
    for (left, top, width, height) in [
        (90, 75, 720, 450),
        (0, 0, 600, 600),
        (400, 250, 450, 300),
        (30, 10, 360, 240),
    ] {
        let crop = imageops::crop_imm(&scene, left, top, width, height).to_image();
        let shift = [1.0, 0.0, -f64::from(left), 0.0, 1.0, -f64::from(top)];
        let share = f64::from(width * height) / f64::from(900 * 600);
        check_map(&scene, &crop, shift, share);
        let back = [1.0, 0.0, f64::from(left), 0.0, 1.0, f64::from(top)];
        check_map(&crop, &scene, back, 1.0);
        // Cropped and then enlarged.
        let large = scaled(&crop, width * 2, height * 2);
        check_map(&scene, &large, shift.map(|number| number * 2.0), share);
    }
}

#[test]
fn orientations_are_found() {
    let scene = draw_scene(800, 600, 3);
    let picture = DynamicImage::ImageRgb8(scene.clone());
    for (changed, matrix) in [
        (picture.fliph(), [-1.0, 0.0, 800.0, 0.0, 1.0, 0.0]),
        (picture.flipv(), [1.0, 0.0, 0.0, 0.0, -1.0, 600.0]),
        (picture.rotate90(), [0.0, -1.0, 600.0, 1.0, 0.0, 0.0]),
        (picture.rotate180(), [-1.0, 0.0, 800.0, 0.0, -1.0, 600.0]),
        (picture.rotate270(), [0.0, 1.0, 0.0, -1.0, 0.0, 800.0]),
        (picture.rotate90().fliph(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
    ] {
        check_map(&scene, &changed.to_rgb8(), matrix, 1.0);
    }
}

#[test]
fn turns_by_any_angle_are_found() {
    let scene = draw_scene(800, 600, 4);
    for degrees in [3.0, -12.0, 25.0, 50.0, -100.0] {
        let (changed, matrix) = turned(&scene, degrees);
        let map = AffineMap { matrix };
        let overlap = map.common_area((800.0, 600.0), (800.0, 600.0)) / 480_000.0;
        check_map(&scene, &changed, matrix, overlap);
    }
}

#[test]
fn changes_of_light_do_not_hide_a_copy() {
    let scene = draw_scene(900, 600, 5);
    let crop = imageops::crop_imm(&scene, 90, 60, 720, 480).to_image();
    let shift = [1.0, 0.0, -90.0, 0.0, 1.0, -60.0];
    let brighter = imageops::brighten(&crop, 40);
    check_map(&scene, &brighter, shift, 0.64);
    let gray = DynamicImage::ImageRgb8(imageops::contrast(&crop, -30.0)).grayscale();
    check_map(&scene, &gray.to_rgb8(), shift, 0.64);
    let look = compared(&scene).measure_look(&compared(&gray.to_rgb8()), None);
    assert!(
        look.first.saturation > 10.0 && look.second.saturation < 1.0,
        "{look:?}"
    );
    assert!(look.second.contrast < 0.8 * look.first.contrast, "{look:?}");
}

#[test]
fn a_caption_is_a_changed_part() {
    let scene = draw_scene(900, 600, 6);
    let mut captioned = scene.clone();
    for y in 480..600 {
        for x in 0..900 {
            let is_text = (x / 9 + y / 14) % 3 == 0 && y % 28 < 14;
            captioned.put_pixel(x, y, Rgb(if is_text { [0; 3] } else { [255; 3] }));
        }
    }
    check_map(&scene, &captioned, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 1.0);
    let aligned = compared(&scene).align_to(&compared(&captioned)).unwrap();
    assert!((0.1..0.3).contains(&aligned.changed), "{aligned:?}");
    let same = compared(&scene).align_to(&compared(&scene)).unwrap();
    assert!(same.changed < 0.01, "{same:?}");
}

#[test]
fn other_pictures_are_not_aligned() {
    let scenes: Vec<ComparedPicture> = (10..16)
        .map(|seed| compared(&draw_scene(600, 400 + 10 * seed as u32, seed)))
        .collect();
    for (at, scene) in scenes.iter().enumerate() {
        for other in &scenes[at + 1..] {
            assert_eq!(scene.align_to(other), None);
        }
    }
    // Pictures of one colour have nothing to align.
    let flat = compared(&RgbImage::from_pixel(300, 200, Rgb([90; 3])));
    assert_eq!(flat.align_to(&flat), None);
    assert_eq!(scenes[0].align_to(&flat), None);
    let tiny = compared(&RgbImage::from_pixel(1, 1, Rgb([90; 3])));
    assert_eq!(tiny.align_to(&scenes[0]), None);
    assert_eq!(scenes[0].align_to(&tiny), None);
}
