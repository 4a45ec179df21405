//! Photos are laid on their altered copies, and never on other photos.

use lookalike_vision::{
    AffineMap, ComparedPicture, DecodedImage, Limits, decode_image, encode_jpeg,
};

use crate::memory::run_alone;
use crate::shared::{read_files, shared_folder};

/// Photos of the test, which takes about a second for each.
const MAX_PHOTOS: usize = 8;

fn read_photos() -> Option<Vec<DecodedImage>> {
    let folder = shared_folder("data/photos/kodak")?;
    let files = read_files(&folder).into_iter().take(MAX_PHOTOS);
    let photos = files.map(|(name, bytes)| {
        let decoded = decode_image(&bytes, 1 << 14, &Limits::default());
        decoded.unwrap_or_else(|error| panic!("{name}: {error}")).0
    });
    Some(photos.collect())
}

fn compared(image: &DecodedImage) -> ComparedPicture {
    let jpeg = encode_jpeg(&image.rgb, image.width, image.height, 80);
    ComparedPicture::decode(&jpeg, &Limits::default()).unwrap()
}

/// Makes a picture, pixel by pixel.
fn redrawn(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> DecodedImage {
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    DecodedImage {
        width,
        height,
        rgb: rows.flat_map(|(x, y)| pixel(x, y)).collect(),
    }
}

fn pixel_of(image: &DecodedImage, x: u32, y: u32) -> [u8; 3] {
    let at = ((y * image.width + x) * 3) as usize;
    [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
}

/// Returns altered copies with the map from the photo to each.
fn altered_copies(photo: &DecodedImage) -> Vec<(&'static str, DecodedImage, [f64; 6])> {
    let (width, height) = (photo.width, photo.height);
    let (wide, high) = (f64::from(width), f64::from(height));
    let mut copies = Vec::new();
    let (left, top) = (width / 10, height / 8);
    let middle = redrawn(width - 2 * left, height - 2 * top, |x, y| {
        pixel_of(photo, left + x, top + y)
    });
    let shift = [1.0, 0.0, -f64::from(left), 0.0, 1.0, -f64::from(top)];
    copies.push(("middle", middle, shift));
    let corner = redrawn(width / 2, height / 2, |x, y| {
        pixel_of(photo, width - width / 2 + x, y)
    });
    let shift = [1.0, 0.0, -f64::from(width - width / 2), 0.0, 1.0, 0.0];
    copies.push(("corner", corner, shift));
    let mirrored = redrawn(width, height, |x, y| pixel_of(photo, width - 1 - x, y));
    copies.push(("mirrored", mirrored, [-1.0, 0.0, wide, 0.0, 1.0, 0.0]));
    let turned = redrawn(height, width, |x, y| pixel_of(photo, y, height - 1 - x));
    copies.push(("turned", turned, [0.0, -1.0, high, 1.0, 0.0, 0.0]));
    let brighter = redrawn(width, height, |x, y| {
        pixel_of(photo, x, y).map(|value| value.saturating_add(value / 4))
    });
    copies.push(("brighter", brighter, AffineMap::IDENTITY.matrix));
    let half = redrawn(width / 2, height / 2, |x, y| {
        let corners = [(0, 0), (1, 0), (0, 1), (1, 1)];
        let pixels = corners.map(|(dx, dy)| pixel_of(photo, 2 * x + dx, 2 * y + dy));
        std::array::from_fn(|of| {
            let sum: u16 = pixels.iter().map(|pixel| u16::from(pixel[of])).sum();
            (sum / 4) as u8
        })
    });
    copies.push(("half", half, [0.5, 0.0, 0.0, 0.0, 0.5, 0.0]));
    let captioned = redrawn(width, height, |x, y| match y < height * 4 / 5 {
        true => pixel_of(photo, x, y),
        false => [255; 3],
    });
    copies.push(("captioned", captioned, AffineMap::IDENTITY.matrix));
    copies
}

#[test]
fn altered_copies_of_photos_are_aligned() {
    let _alone = run_alone();
    let Some(photos) = read_photos() else {
        return;
    };
    for (number, photo) in photos.iter().enumerate() {
        let picture = compared(photo);
        for (name, copy, matrix) in altered_copies(photo) {
            let aligned = picture.align_to(&compared(&copy));
            let aligned = aligned.unwrap_or_else(|| panic!("photo {number}, {name}"));
            let expected = AffineMap { matrix };
            let (x, y) = (f64::from(photo.width) / 2.0, f64::from(photo.height) / 2.0);
            for (x, y) in [(x, y), (x * 1.5, y * 0.5), (x * 0.5, y)] {
                let (found, wanted) = (aligned.map.apply(x, y), expected.apply(x, y));
                let distance = (found.0 - wanted.0).hypot(found.1 - wanted.1);
                let most = 0.01 * f64::from(copy.width.max(copy.height));
                assert!(distance < most, "photo {number}, {name}: {aligned:?}");
            }
        }
    }
}

#[test]
fn other_photos_are_not_aligned() {
    let _alone = run_alone();
    let Some(photos) = read_photos() else {
        return;
    };
    let pictures: Vec<ComparedPicture> = photos.iter().map(compared).collect();
    for (number, picture) in pictures.iter().enumerate() {
        for (other_number, other) in pictures.iter().enumerate().skip(number + 1) {
            let aligned = picture.align_to(other);
            assert_eq!(aligned, None, "photos {number} and {other_number}");
        }
    }
}
