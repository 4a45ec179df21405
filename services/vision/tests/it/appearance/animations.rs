//! Animations that begin with an empty or black frame.

use super::{assert_same_picture, decode_whole, read_case};
use crate::memory::run_alone;

#[test]
fn a_gif_that_begins_black_is_its_first_picture() {
    let _alone = run_alone();
    assert_same_picture(
        &read_case("black_first_frame.gif"),
        &read_case("still.png"),
        8.0,
    );
}

/// The files have four frames: black, nearly black, a red square on it, and a blue one next to it.
#[test]
fn the_first_frame_with_a_picture_is_used_in_every_format() {
    let _alone = run_alone();
    for name in ["late.gif", "late.png", "late.webp"] {
        let (image, attributes) = decode_whole(&read_case(name));
        assert_eq!((attributes.width, attributes.height), (48, 32), "{name}");
        let [r, g, b] = image.get_pixel(15, 15).0;
        assert!(r > 200 && g < 50 && b < 50, "{name}: {r} {g} {b}");
        // The canvas of the frames before it, and not yet the blue square.
        for (x, y) in [(2, 2), (40, 15)] {
            let pixel = image.get_pixel(x, y).0;
            assert!(pixel.iter().all(|sample| *sample < 12), "{name}: {pixel:?}");
        }
    }
}

#[test]
fn an_animation_without_a_picture_is_its_first_frame() {
    let _alone = run_alone();
    // Black, nearly black, dark red, black: each is one colour.
    let (image, attributes) = decode_whole(&read_case("dark.png"));
    assert!(image.iter().all(|sample| *sample == 0));
    assert_eq!(attributes.colors, ["black"]);
}

/// The picture for programs without animation shows both squares, and the animation only the red one.
#[test]
fn a_picture_apart_from_the_animation_is_not_used() {
    let _alone = run_alone();
    let (image, _) = decode_whole(&read_case("separate.png"));
    assert!(image.get_pixel(15, 15).0[0] > 200);
    assert!(image.get_pixel(40, 15).0[2] < 50);
}

#[test]
fn a_damaged_later_frame_costs_nothing() {
    let _alone = run_alone();
    for name in ["late.gif", "late.png", "late.webp"] {
        let whole = read_case(name);
        for length in (whole.len() / 3..whole.len()).step_by(7) {
            let mut cut = whole.clone();
            let rest = cut.len() - length;
            cut[length..].copy_from_slice(&vec![0x5a; rest]);
            // It decodes or fails with a code, and never panics.
            let result = lookalike_vision::decode_image(&cut, 16, &Default::default());
            if let Err(error) = result {
                assert_ne!(error.code(), "decoder_panic", "{name}, {length}: {error}");
            }
        }
    }
}
