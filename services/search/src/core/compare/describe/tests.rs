//! Differences in words and numbers.

use lookalike_vision::MeanLook;

use super::*;

const LOOK: MeanLook = MeanLook {
    brightness: 100.0,
    contrast: 50.0,
    saturation: 20.0,
    blue: 0.0,
    red: 0.0,
};

fn image(width: i32, height: i32) -> IndexedImage {
    IndexedImage {
        width,
        height,
        format: "jpeg".into(),
        bytes: 1000,
        ..IndexedImage::default()
    }
}

fn aligned(matrix: [f64; 6], size: (f64, f64), other: (f64, f64)) -> Alignment {
    let map = AffineMap { matrix };
    let inside = |map: &AffineMap, frame: (f64, f64), size: (f64, f64)| {
        let part = ShownPart::new(map, frame, size);
        (part.right - part.left) * (part.bottom - part.top)
    };
    Alignment {
        map,
        overlap: inside(&map.inverse().unwrap(), other, size),
        other_overlap: inside(&map, size, other),
        correlation: 1.0,
        changed: 0.0,
    }
}

#[track_caller]
fn check(
    b: &IndexedImage,
    matrix: [f64; 6],
    look: MeanLook,
    expected: &[(ImageDifferenceKind, &str)],
) {
    let a = image(400, 300);
    let other = (f64::from(b.width), f64::from(b.height));
    let looks = ComparedLooks {
        alignment: Some(aligned(matrix, (400.0, 300.0), other)),
        look: LookDifference {
            first: LOOK,
            second: look,
        },
    };
    let found = describe_differences(&a, b, Some(Band::NearDuplicate), &looks);
    let found: Vec<(ImageDifferenceKind, &str)> = found
        .iter()
        .map(|difference| (difference.kind, difference.detail.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn sizes_and_crops_are_described() {
    use ImageDifferenceKind::{Crop, Size};
    check(
        &image(200, 150),
        [0.5, 0.0, 0.0, 0.0, 0.5, 0.0],
        LOOK,
        &[(Size, "b is 0.50 × a: 200 × 150 instead of 400 × 300 pixels")],
    );
    check(
        &image(200, 300),
        [0.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        LOOK,
        &[(
            Size,
            "b is 0.50 × as wide and 1.00 × as high as a: 200 × 300 instead of 400 × 300 pixels",
        )],
    );
    check(
        &image(320, 225),
        [1.0, 0.0, -40.0, 0.0, 1.0, -37.5],
        LOOK,
        &[(Crop, "b shows the middle 80 % × 75 % of a")],
    );
    check(
        &image(200, 300),
        [1.0, 0.0, -200.0, 0.0, 1.0, 0.0],
        LOOK,
        &[(Crop, "b shows the right 50 % × 100 % of a")],
    );
    check(
        &image(400, 400),
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        LOOK,
        &[(Crop, "b shows more than a: a is the top 100 % × 75 % of b")],
    );
}

#[test]
fn orientations_are_described() {
    use ImageDifferenceKind::{Crop, Mirror, Rotation};
    for (b, matrix, expected) in [
        (
            image(400, 300),
            [-1.0, 0.0, 400.0, 0.0, 1.0, 0.0],
            vec![(Mirror, "b is mirrored left to right")],
        ),
        (
            image(400, 300),
            [1.0, 0.0, 0.0, 0.0, -1.0, 300.0],
            vec![(Mirror, "b is mirrored top to bottom")],
        ),
        (
            image(300, 400),
            [0.0, -1.0, 300.0, 1.0, 0.0, 0.0],
            vec![(Rotation, "b is turned by 90° clockwise")],
        ),
        (
            image(300, 400),
            [0.0, 1.0, 0.0, 1.0, 0.0, 0.0],
            vec![
                (Mirror, "b is mirrored left to right"),
                (Rotation, "b is then turned by 90° counterclockwise"),
            ],
        ),
        (
            image(400, 300),
            [-1.0, 0.0, 400.0, 0.0, -1.0, 300.0],
            vec![(Rotation, "b is turned by 180°")],
        ),
    ] {
        check(&b, matrix, LOOK, &expected);
    }
    let (sin, cos) = 10_f64.to_radians().sin_cos();
    let matrix = [cos, -sin, 29.1, sin, cos, -32.4];
    let looks = ComparedLooks {
        alignment: Some(Alignment {
            overlap: 0.9,
            other_overlap: 0.9,
            ..aligned(matrix, (400.0, 300.0), (400.0, 300.0))
        }),
        look: LookDifference {
            first: LOOK,
            second: LOOK,
        },
    };
    let found = describe_differences(&image(400, 300), &image(400, 300), None, &looks);
    let kinds: Vec<_> = found.iter().map(|difference| difference.kind).collect();
    assert_eq!(kinds, [Crop, Crop, Rotation], "{found:?}");
    assert_eq!(found[0].detail, "b shows 90 % of a");
    assert_eq!(found[2].detail, "b is turned by 10.0° clockwise");
}

#[test]
fn light_and_colours_are_described() {
    use ImageDifferenceKind::{Colour, Format, Light};
    let same = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let brighter = MeanLook {
        brightness: 112.0,
        contrast: 40.0,
        ..LOOK
    };
    let expected = [
        (Light, "b is 12 % brighter"),
        (Light, "b has 20 % less contrast"),
    ];
    check(&image(400, 300), same, brighter, &expected);
    let gray = MeanLook {
        saturation: 0.2,
        ..LOOK
    };
    check(
        &image(400, 300),
        same,
        gray,
        &[(Colour, "b has no colours")],
    );
    let warm = MeanLook {
        saturation: 30.0,
        blue: -7.0,
        red: 3.0,
        ..LOOK
    };
    let expected = [
        (Colour, "the colours of b are 50 % more saturated"),
        (Colour, "b is yellower by 7 of 255 levels"),
    ];
    check(&image(400, 300), same, warm, &expected);
    let mut small = image(400, 300);
    small.bytes = 400;
    let expected = [(
        Format,
        "both are jpeg; the file of b has 0.40 × the bytes of a",
    )];
    check(&small, same, LOOK, &expected);
    small.format = "webp".into();
    check(&small, same, LOOK, &[(Format, "b is webp, a is jpeg")]);
    let expected = [(
        Format,
        "both are jpeg and look the same; only the files differ",
    )];
    check(&image(400, 300), same, LOOK, &expected);
}

#[test]
fn other_pictures_differ_in_their_content() {
    let looks = ComparedLooks {
        alignment: None,
        look: LookDifference {
            first: LOOK,
            second: MeanLook::default(),
        },
    };
    let details = |band: Option<Band>| {
        let found = describe_differences(&image(400, 300), &image(40, 30), band, &looks);
        found
            .into_iter()
            .map(|difference| difference.detail)
            .collect::<Vec<_>>()
    };
    for band in [None, Some(Band::Similar), Some(Band::VerySimilar)] {
        assert_eq!(
            details(band),
            [
                "b has 40 × 30 pixels, a has 400 × 300",
                "a and b are different pictures"
            ]
        );
    }
    // The sketches say that it is a copy, although no position was found.
    assert!(
        details(Some(Band::Same))
            .iter()
            .all(|detail| !detail.contains("different"))
    );
}
