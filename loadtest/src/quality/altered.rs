//! Altered copies of a photo, as users make them.
//!
//! The service returns photos as JPEG. They are decoded with `zune-jpeg`, because loadtest sees lookalike
//! from outside and does not use its decoder.

use anyhow::Context as _;
use jpeg_encoder::{ColorType, Encoder};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use lookalike_painter::paint::Random;

/// JPEG quality of all copies except [`Alteration::Quality30`].
const COPY_JPEG_QUALITY: u8 = 95;

/// A change of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alteration {
    /// 80 % of the area, at a corner.
    CornerCrop,
    /// 80 % of each side, in the middle.
    MiddleCrop,
    /// Stored at JPEG quality 30.
    Quality30,
    /// Half of each side.
    HalfSize,
    /// Left and right swapped.
    Mirror,
    /// Every value times 1.2.
    Brighter,
}

impl Alteration {
    /// All alterations, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::CornerCrop,
        Self::MiddleCrop,
        Self::Quality30,
        Self::HalfSize,
        Self::Mirror,
        Self::Brighter,
    ];

    pub fn display_label(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop: 80 % of the area, a corner",
            Self::MiddleCrop => "crop: 80 % of each side, the middle",
            Self::Quality30 => "JPEG quality 30",
            Self::HalfSize => "half size",
            Self::Mirror => "mirrored",
            Self::Brighter => "20 % brighter",
        }
    }

    pub fn json_key(self) -> &'static str {
        match self {
            Self::CornerCrop => "crop_80_area_corner",
            Self::MiddleCrop => "crop_80_sides_middle",
            Self::Quality30 => "jpeg_quality_30",
            Self::HalfSize => "half_size",
            Self::Mirror => "mirror",
            Self::Brighter => "brighter_20",
        }
    }

    /// Returns the altered copy as a JPEG file.
    pub fn apply_to(self, photo: &PhotoPixels, random: &mut Random) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::CornerCrop => {
                let side = |of: usize| scaled_side(of, 0.8_f64.sqrt());
                let (width, height) = (side(photo.width), side(photo.height));
                let (right, low) = (random.next_bool(0.5), random.next_bool(0.5));
                let left = if right { photo.width - width } else { 0 };
                let top = if low { photo.height - height } else { 0 };
                photo
                    .crop_to(left, top, width, height)
                    .encode_jpeg(COPY_JPEG_QUALITY)
            }
            Self::MiddleCrop => {
                let (width, height) = (
                    scaled_side(photo.width, 0.8),
                    scaled_side(photo.height, 0.8),
                );
                let left = (photo.width - width) / 2;
                let top = (photo.height - height) / 2;
                photo
                    .crop_to(left, top, width, height)
                    .encode_jpeg(COPY_JPEG_QUALITY)
            }
            Self::Quality30 => photo.encode_jpeg(30),
            Self::HalfSize => photo.halve_size().encode_jpeg(COPY_JPEG_QUALITY),
            Self::Mirror => photo.mirror_horizontally().encode_jpeg(COPY_JPEG_QUALITY),
            Self::Brighter => photo.brighten_by_fifth().encode_jpeg(COPY_JPEG_QUALITY),
        }
    }
}

/// Returns a share of a side, at least one pixel.
fn scaled_side(side: usize, share: f64) -> usize {
    ((side as f64 * share).round() as usize).clamp(1, side)
}

/// 8-bit RGB, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoPixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl PhotoPixels {
    pub fn decode_jpeg(jpeg: &[u8]) -> anyhow::Result<Self> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        let rgb = decoder.decode().context("not a readable JPEG")?;
        let info = decoder.info().context("a JPEG without a size")?;
        let (width, height) = (usize::from(info.width), usize::from(info.height));
        anyhow::ensure!(
            width > 0 && height > 0 && rgb.len() == width * height * 3,
            "a JPEG of {width} × {height} pixels decoded to {} bytes",
            rgb.len()
        );
        Ok(Self { width, height, rgb })
    }

    fn encode_jpeg(&self, quality: u8) -> anyhow::Result<Vec<u8>> {
        let (width, height) = (u16::try_from(self.width)?, u16::try_from(self.height)?);
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, quality).encode(&self.rgb, width, height, ColorType::Rgb)?;
        Ok(jpeg)
    }

    fn from_fn(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = rows.flat_map(|(x, y)| pixel(x, y)).collect();
        Self { width, height, rgb }
    }

    fn pixel_at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    fn crop_to(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        Self::from_fn(width, height, |x, y| self.pixel_at(left + x, top + y))
    }

    fn mirror_horizontally(&self) -> Self {
        Self::from_fn(self.width, self.height, |x, y| {
            self.pixel_at(self.width - 1 - x, y)
        })
    }

    /// Averages every four pixels; an odd last row or column is dropped.
    fn halve_size(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let (right, below) = (self.width.min(2) - 1, self.height.min(2) - 1);
        Self::from_fn(width, height, |x, y| {
            let (x, y) = (x * 2, y * 2);
            let four = [(0, 0), (right, 0), (0, below), (right, below)];
            let four = four.map(|(right, below)| self.pixel_at(x + right, y + below));
            std::array::from_fn(|channel| {
                let sum: u16 = four.iter().map(|rgb| u16::from(rgb[channel])).sum();
                ((sum + 2) / 4) as u8
            })
        })
    }

    fn brighten_by_fifth(&self) -> Self {
        let more = |value: &u8| (f32::from(*value) * 1.2).round().min(255.0) as u8;
        Self {
            rgb: self.rgb.iter().map(more).collect(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a picture whose pixels encode their position: red grows to the right, green downwards.
    fn ramp_photo(width: usize, height: usize) -> PhotoPixels {
        PhotoPixels::from_fn(width, height, |x, y| [(x * 2) as u8, (y * 2) as u8, 90])
    }

    fn alter_and_decode(change: Alteration, photo: &PhotoPixels) -> PhotoPixels {
        let jpeg = change.apply_to(photo, &mut Random::new(1, 1)).unwrap();
        PhotoPixels::decode_jpeg(&jpeg).unwrap()
    }

    #[track_caller]
    fn assert_near(actual: [u8; 3], expected: [u8; 3]) {
        let off = actual
            .iter()
            .zip(expected)
            .map(|(a, b)| a.abs_diff(b))
            .max();
        assert!(off <= Some(6), "{actual:?} should be {expected:?}");
    }

    #[test]
    fn copies_have_the_size_and_the_pixels_that_they_should() {
        let photo = ramp_photo(100, 60);
        let mirrored = alter_and_decode(Alteration::Mirror, &photo);
        assert_eq!((mirrored.width, mirrored.height), (100, 60));
        assert_near(mirrored.pixel_at(90, 10), photo.pixel_at(9, 10));
        let half = alter_and_decode(Alteration::HalfSize, &photo);
        assert_eq!((half.width, half.height), (50, 30));
        assert_near(half.pixel_at(20, 10), photo.pixel_at(40, 20));
        let middle = alter_and_decode(Alteration::MiddleCrop, &photo);
        assert_eq!((middle.width, middle.height), (80, 48));
        assert_near(middle.pixel_at(20, 10), photo.pixel_at(30, 16));
        let corner = alter_and_decode(Alteration::CornerCrop, &photo);
        assert_eq!((corner.width, corner.height), (89, 54));
        let brighter = alter_and_decode(Alteration::Brighter, &photo);
        assert_near(brighter.pixel_at(80, 20), [192, 48, 108]);
        let stored = alter_and_decode(Alteration::Quality30, &photo);
        assert_eq!((stored.width, stored.height), (100, 60));
    }

    #[test]
    fn every_corner_has_its_turn() {
        let photo = ramp_photo(100, 60);
        let mut random = Random::new(1, 1);
        let mut corners = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let jpeg = Alteration::CornerCrop
                .apply_to(&photo, &mut random)
                .unwrap();
            let first = PhotoPixels::decode_jpeg(&jpeg).unwrap().pixel_at(1, 1);
            corners.insert((first[0] > 12, first[1] > 8));
        }
        assert_eq!(corners.len(), 4);
    }

    #[test]
    fn the_smallest_pictures_can_be_altered() {
        for photo in [
            ramp_photo(1, 1),
            ramp_photo(1, 3),
            ramp_photo(3, 1),
            ramp_photo(3, 3),
        ] {
            for change in Alteration::ALL {
                alter_and_decode(change, &photo);
            }
        }
    }

    #[test]
    fn what_is_no_jpeg_is_an_error() {
        assert!(PhotoPixels::decode_jpeg(b"").is_err());
        assert!(PhotoPixels::decode_jpeg(b"no picture").is_err());
    }
}
