//! A part of a picture, as a picture of its own.

use crate::{
    decode::{decode_image, decoded::DecodedImage, limits::Limits},
    error::DecodeError,
};

/// A rectangle of an upright picture, in fractions of its width and height: from 0 to 1, from the left and
/// from the top.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureRegion {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A decoded region.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedRegion {
    /// The pixels, reduced as [`decode_image`] reduces those of a whole picture.
    pub image: DecodedImage,
    /// The width and the height in pixels of the file, after rotation to the upright position.
    pub file_size: [u32; 2],
}

impl PictureRegion {
    /// Creates a region. The part beyond the edge of the picture is cut off. Returns `None` if a number is
    /// not finite, or the region has no area within the picture.
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Option<Self> {
        let clip = |start: f64, length: f64| {
            let is_inside = (0.0..1.0).contains(&start) && length > 0.0 && length.is_finite();
            is_inside.then(|| length.min(1.0 - start))
        };
        Some(Self {
            x,
            y,
            width: clip(x, width)?,
            height: clip(y, height)?,
        })
    }

    /// Returns the left edge, the top edge, the width and the height.
    pub fn fractions(&self) -> [f64; 4] {
        [self.x, self.y, self.width, self.height]
    }

    /// Decodes the region of a file, with enough pixels for a network that takes pictures with this shorter
    /// side.
    ///
    /// # Errors
    /// As [`decode_image`].
    pub fn decode(
        &self,
        bytes: &[u8],
        min_short_side: u32,
        limits: &Limits,
    ) -> Result<DecodedRegion, DecodeError> {
        // The shorter side of the region is at least this share of that of the picture.
        let share = self.width.min(self.height);
        let whole_side = (f64::from(min_short_side) / share).ceil() as u32;
        let (whole, attributes) = decode_image(bytes, whole_side, limits)?;
        let (width, height) = (attributes.width, attributes.height);
        let [_, _, file_width, file_height] = self.find_pixels(width, height);
        Ok(DecodedRegion {
            image: whole.crop(self),
            file_size: [file_width, file_height],
        })
    }

    /// Returns the left edge, the top edge, the width and the height in pixels: at least one pixel.
    fn find_pixels(&self, width: u32, height: u32) -> [u32; 4] {
        let axis = |start: f64, length: f64, side: u32| {
            let pixels = f64::from(side);
            let first = (start * pixels).round().min(pixels - 1.0);
            let end = ((start + length) * pixels).round().min(pixels);
            (first as u32, (end - first).max(1.0) as u32)
        };
        let (left, box_width) = axis(self.x, self.width, width);
        let (top, box_height) = axis(self.y, self.height, height);
        [left, top, box_width, box_height]
    }
}

impl DecodedImage {
    /// Returns a region of this picture.
    pub fn crop(&self, region: &PictureRegion) -> Self {
        let [left, top, width, height] = region.find_pixels(self.width, self.height);
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for y in top..top + height {
            let start = (y as usize * self.width as usize + left as usize) * 3;
            rgb.extend_from_slice(&self.rgb[start..start + width as usize * 3]);
        }
        Self { width, height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> DecodedImage {
        let rgb = (0..width * height).flat_map(|at| [(at % width) as u8, (at / width) as u8, 0]);
        DecodedImage {
            width,
            height,
            rgb: rgb.collect(),
        }
    }

    #[test]
    fn regions_are_inside_the_picture() {
        for (x, y, width, height, expected) in [
            (0.0, 0.0, 1.0, 1.0, [0, 0, 100, 40]),
            (0.25, 0.5, 0.5, 0.25, [25, 20, 50, 10]),
            (0.9, 0.9, 0.5, 7.0, [90, 36, 10, 4]),
            (0.999_999, 0.999_999, 1e-9, 1e-300, [99, 39, 1, 1]),
            (0.0, 0.0, 1e-9, 1.0, [0, 0, 1, 40]),
        ] {
            let region = PictureRegion::new(x, y, width, height).unwrap();
            assert_eq!(region.find_pixels(100, 40), expected, "{region:?}");
            let cropped = numbered(100, 40).crop(&region);
            let [left, top, width, height] = expected;
            assert_eq!((cropped.width, cropped.height), (width, height));
            assert_eq!(cropped.rgb[..3], [left as u8, top as u8, 0]);
            let last = [(left + width - 1) as u8, (top + height - 1) as u8, 0];
            assert_eq!(cropped.rgb[cropped.rgb.len() - 3..], last);
            // A picture of one pixel has one region.
            assert_eq!(region.find_pixels(1, 1), [0, 0, 1, 1]);
        }
        for (x, y, width, height) in [
            (1.0, 0.0, 1.0, 1.0),
            (-0.1, 0.0, 1.0, 1.0),
            (0.0, 0.0, 0.0, 1.0),
            (0.0, 0.0, 1.0, -1.0),
            (f64::NAN, 0.0, 1.0, 1.0),
            (0.0, 0.0, f64::INFINITY, 1.0),
            (0.0, f64::NEG_INFINITY, 1.0, f64::NAN),
        ] {
            let region = PictureRegion::new(x, y, width, height);
            assert_eq!(region, None, "{x} {y} {width} {height}");
        }
    }

    #[test]
    fn a_region_of_a_file_is_its_part() {
        let image = numbered(200, 100);
        let jpeg = crate::encode_jpeg(&image.rgb, 200, 100, 90);
        let region = PictureRegion::new(0.5, 0.1, 0.1, 0.2).unwrap();
        let decoded = region.decode(&jpeg, 128, &Limits::default()).unwrap();
        assert_eq!(decoded.file_size, [20, 20]);
        let (whole, _) = decode_image(&jpeg, 1000, &Limits::default()).unwrap();
        assert_eq!(decoded.image, whole.crop(&region));
        assert!(region.decode(&jpeg[..99], 128, &Limits::default()).is_err());
    }
}
